"""A configuration as plain types, as far as it can be known, and all that cannot."""

import re
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException


class Unresolved:
    """Takes the place of a value that cannot be known: it is missing, or leads nowhere."""

    def __repr__(self) -> str:
        return "???"


UNRESOLVED = Unresolved()


@dataclass(frozen=True)
class Reason:
    """Why a value cannot be known.

    Args:
        problem: What is wrong with it, to follow its key: `has no value`.
        hint: What to write instead; may be empty.
    """

    problem: str
    hint: str = ""


def resolve_partially(config: DictConfig) -> tuple[dict[str, Any], dict[str, Reason]]:
    """Return a configuration as plain types, interpolations resolved.

    Returns:
        The tree, with `UNRESOLVED` for missing values and broken references; and dotted key to
        reason. A value that only refers to a missing one has no reason of its own.

    Example:
        >>> tree = OmegaConf.create({"a": {"b": "???", "c": 1}, "d": "${a.b}"})
        >>> resolve_partially(tree)
        ({'a': {'b': ???, 'c': 1}, 'd': ???}, {'a.b': Reason(problem='has no value', hint='')})
    """
    reasons: dict[str, Reason] = {}
    values = _plain(config, "", reasons)
    assert isinstance(values, dict)
    return values, reasons


def _plain(node: Any, key: str, reasons: dict[str, Reason]) -> Any:
    if isinstance(node, DictConfig):
        below = f"{key}." if key else ""
        return {str(name): _value(node, name, f"{below}{name!s}", reasons) for name in node}
    if isinstance(node, ListConfig):
        return [_value(node, index, f"{key}[{index}]", reasons) for index in range(len(node))]
    return node


def _value(node: Any, name: Any, key: str, reasons: dict[str, Reason]) -> Any:
    if OmegaConf.is_missing(node, name):
        reasons[key] = Reason("has no value")
        return UNRESOLVED
    try:
        return _plain(node[name], key, reasons)
    except InterpolationToMissingValueError:
        return UNRESOLVED
    except OmegaConfBaseException as error:
        reasons[key] = broken_reference(error)
        return UNRESOLVED


def broken_reference(error: OmegaConfBaseException) -> Reason:
    """Return what OmegaConf says of a value that refers to another one, in our words."""
    text = str(error).strip().splitlines()[0]
    if match := re.search(r"Environment variable '([^']+)' not found", text):
        name = match[1]
        hint = f"set it with export {name}=…, or name a default: ${{oc.env:{name},DEFAULT}}"
        return Reason(f"needs the environment variable {name}, which is not set", hint)
    if match := re.search(r"Interpolation key '([^']+)' not found", text):
        hint = f"name a key of the configuration; an environment variable is ${{oc.env:{match[1]}}}"
        return Reason(f"refers to ${{{match[1]}}}, a key that does not exist", hint)
    if "Recursive interpolation" in text:
        return Reason("refers to itself, over other keys", "give one of these keys a value")
    if match := re.search(r"Unsupported interpolation type (\S+)", text):
        hint = "refer to a key as ${key}, to an environment variable as ${oc.env:NAME}"
        return Reason(f"refers to ${{{match[1]}:…}}, which is nothing known here", hint)
    return Reason(f"cannot be resolved: {text}", "correct what stands in ${…}")
