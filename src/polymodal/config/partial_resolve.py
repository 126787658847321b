"""A configuration as plain types, as far as it can be known, and all that cannot."""

from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException


class Unresolved:
    """Takes the place of a value that cannot be known: it is missing, or leads nowhere."""

    def __repr__(self) -> str:
        return "???"


UNRESOLVED = Unresolved()


def resolve_partially(config: DictConfig) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a configuration as plain types, interpolations resolved.

    Returns:
        The tree, with `UNKNOWN` for missing values and broken references; and dotted key to
        reason. A value that only refers to a missing one has no reason of its own.

    Example:
        >>> tree = OmegaConf.create({"a": {"b": "???", "c": 1}, "d": "${a.b}"})
        >>> resolve_partially(tree)
        ({'a': {'b': ???, 'c': 1}, 'd': ???}, {'a.b': 'a.b has no value'})
    """
    reasons: dict[str, str] = {}
    values = _plain(config, "", reasons)
    assert isinstance(values, dict)
    return values, reasons


def _plain(node: Any, key: str, reasons: dict[str, str]) -> Any:
    if isinstance(node, DictConfig):
        below = f"{key}." if key else ""
        return {str(name): _value(node, name, f"{below}{name!s}", reasons) for name in node}
    if isinstance(node, ListConfig):
        return [_value(node, index, f"{key}[{index}]", reasons) for index in range(len(node))]
    return node


def _value(node: Any, name: Any, key: str, reasons: dict[str, str]) -> Any:
    if OmegaConf.is_missing(node, name):
        reasons[key] = f"{key} has no value"
        return UNRESOLVED
    try:
        return _plain(node[name], key, reasons)
    except InterpolationToMissingValueError:
        return UNRESOLVED
    except OmegaConfBaseException as error:
        reasons[key] = f"{key}: {str(error).strip().splitlines()[0]}"
        return UNRESOLVED
