"""Whether two built objects are alike in all they hold, so that an option made no difference."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

MAX_DEPTH = 12


def deep_equal(one: Any, other: Any, depth: int = 0) -> bool:
    """Compare two objects by what they hold: numbers, texts, arrays, modules, functions.

    Args:
        one: An object.
        other: Another one.
        depth: How deep it lies in what is compared.

    Returns:
        Whether no difference was found.

    Example:
        >>> deep_equal(nn.Dropout(0.1), nn.Dropout(0.2))
        False
    """
    if one is other:
        return True
    if type(one) is not type(other) or depth > MAX_DEPTH:
        return depth > MAX_DEPTH
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and _equal(one, other)
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and bool(np.array_equal(one, other))
    if isinstance(one, Mapping):
        return _alike_mappings(one, other, depth)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(
            deep_equal(a, b, depth + 1) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, int | float | str | bytes | bool | set | frozenset):
        return bool(one == other)
    if isinstance(one, functools.partial):
        parts = [(one.func, other.func), (one.args, other.args), (one.keywords, other.keywords)]
        return all(deep_equal(a, b, depth + 1) for a, b in parts)
    return _alike_objects(one, other, depth)


def _alike_mappings(one: Mapping[Any, Any], other: Mapping[Any, Any], depth: int) -> bool:
    return list(one) == list(other) and all(deep_equal(one[k], other[k], depth + 1) for k in one)


def _alike_objects(one: Any, other: Any, depth: int) -> bool:
    if callable(one) and hasattr(one, "__code__"):
        cells = [[cell.cell_contents for cell in f.__closure__ or ()] for f in (one, other)]
        return one.__code__ is other.__code__ and deep_equal(cells[0], cells[1], depth + 1)
    if isinstance(one, nn.Module) and one.extra_repr() != other.extra_repr():
        return False
    mine, its = _held(one), _held(other)
    if mine is None or its is None:
        return repr(one) == repr(other)
    return _alike_mappings(mine, its, depth)


def _held(thing: Any) -> dict[str, Any] | None:
    """The attributes of an object."""
    held = dict(getattr(thing, "__dict__", {}))
    for name in getattr(type(thing), "__slots__", ()):
        if hasattr(thing, name):
            held[name] = getattr(thing, name)
    return held or None


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.is_meta or other.is_meta:
        return one.is_meta and other.is_meta
    return bool(torch.equal(one, other))
