"""Whether two built objects are alike in all they hold, so that an option made no difference."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

MAX_DEPTH = 12


def deep_equal(first: Any, second: Any, depth: int = 0) -> bool:
    """Compare two objects by what they hold: numbers, texts, arrays, modules, functions.

    Example:
        >>> deep_equal(nn.Dropout(0.1), nn.Dropout(0.2))
        False
    """
    if first is second:
        return True
    if type(first) is not type(second) or depth > MAX_DEPTH:
        return depth > MAX_DEPTH
    if isinstance(first, torch.Tensor):
        return first.shape == second.shape and first.dtype == second.dtype and _equal(first, second)
    if isinstance(first, np.ndarray):
        return first.shape == second.shape and bool(np.array_equal(first, second))
    if isinstance(first, Mapping):
        return _alike_mappings(first, second, depth)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(
            deep_equal(a, b, depth + 1) for a, b in zip(first, second, strict=True)
        )
    if isinstance(first, int | float | str | bytes | bool | set | frozenset):
        return bool(first == second)
    if isinstance(first, functools.partial):
        pairs = [
            (first.func, second.func),
            (first.args, second.args),
            (first.keywords, second.keywords),
        ]
        return all(deep_equal(a, b, depth + 1) for a, b in pairs)
    return _alike_objects(first, second, depth)


def _alike_mappings(first: Mapping[Any, Any], second: Mapping[Any, Any], depth: int) -> bool:
    return list(first) == list(second) and all(
        deep_equal(first[k], second[k], depth + 1) for k in first
    )


def _alike_objects(first: Any, second: Any, depth: int) -> bool:
    if callable(first) and hasattr(first, "__code__"):
        cells = [[cell.cell_contents for cell in f.__closure__ or ()] for f in (first, second)]
        return first.__code__ is second.__code__ and deep_equal(cells[0], cells[1], depth + 1)
    if isinstance(first, nn.Module) and first.extra_repr() != second.extra_repr():
        return False
    attributes, other_attributes = _held(first), _held(second)
    if attributes is None or other_attributes is None:
        return repr(first) == repr(second)
    return _alike_mappings(attributes, other_attributes, depth)


def _held(thing: Any) -> dict[str, Any] | None:
    """The attributes of an object."""
    held = dict(getattr(thing, "__dict__", {}))
    for name in getattr(type(thing), "__slots__", ()):
        if hasattr(thing, name):
            held[name] = getattr(thing, name)
    return held or None


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    if first.is_meta or second.is_meta:
        return first.is_meta and second.is_meta
    return bool(torch.equal(first, second))
