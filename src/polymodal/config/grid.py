"""Options that an experiment is tried with: every combination, and the configuration of one."""

import copy
from collections.abc import Mapping
from itertools import product
from typing import Any

from polymodal.errors import ConfigError, nearest

# Sections that may vary within a run: what is trained, on the same data.
VARIABLE = ("model", "loss", "optimizer", "scheduler", "balance", "trainer")
EXPECTED = "an option of what is trained, with a list of the values to try"
REMEDY = "write it as 'selection.grid={optimizer.lr:[0.001,0.0003]}'"


def expand_grid(options: Any) -> list[dict[str, Any]]:
    """Return every combination of options.

    Args:
        options: Dotted key to the values to try; None for nothing to try.

    Returns:
        Dotted key to one value, for each combination.

    Raises:
        ConfigError: There are no keys, a key has no list of values, or one names what is built
            rather than an option.

    Example:
        >>> expand_grid({"optimizer.lr": [0.1, 0.2], "model.dropout": [0]})
        [{'optimizer.lr': 0.1, 'model.dropout': 0}, {'optimizer.lr': 0.2, 'model.dropout': 0}]
    """
    if not options:
        return []
    if not isinstance(options, Mapping):
        raise ConfigError(f"selection.grid={options!r}", expected=EXPECTED, hint=REMEDY)
    for key, values in options.items():
        if not isinstance(values, list) or not values or "_target_" in str(key).split("."):
            raise ConfigError(
                f"selection.grid.{key}={values!r}",
                expected=EXPECTED,
                hint=REMEDY,
            )
    return [dict(zip(options, values, strict=True)) for values in product(*options.values())]


def with_options(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with other options.

    Args:
        config: The configuration, resolved.
        options: Dotted key, such as `optimizer.lr`, to value.

    Raises:
        ConfigError: A key does not exist, or is none of what is trained.

    Example:
        >>> with_options({"optimizer": {"lr": 0.1}}, {"optimizer.lr": 0.2})
        {'optimizer': {'lr': 0.2}}
    """
    changed = copy.deepcopy(dict(config))
    for key, value in options.items():
        section, *path = key.split(".")
        if section not in VARIABLE or not path:
            raise ConfigError(
                f"selection.grid names {key!r}",
                expected=f"a key below {', '.join(VARIABLE)}",
            )
        node = changed[section]
        for word in path[:-1]:
            node = node.get(word) if isinstance(node, dict) else None
        if not isinstance(node, dict) or path[-1] not in node:
            siblings = node if isinstance(node, dict) else changed[section]
            raise ConfigError(f"selection.grid names {key!r}", hint=nearest(path[-1], siblings))
        node[path[-1]] = value
    return changed
