"""Read the configurations of many runs once, and find in what they differ."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from polymodal.tracking.index_cache import IndexCache, Values

FILE = ".configs.json"  # in the folder of runs
LAYOUT = "configurations 1"
NEVER_TOLD = (
    "paths",
    "hydra",
    "tracker",
    "alert",
    "resume",
    "resume_state",
)  # how, not what


def read_configs(runs: Path, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Map runs to their configurations; a configuration is parsed only once.

    A configuration is empty if it is missing or broken. They share values: change none in place.
    """
    index = IndexCache(runs / FILE, "config.yaml", LAYOUT, is_shared=lambda key: True)
    return {name: config or {} for name, config in index.read(names, _read).items()}


def read_config(folder: Path) -> Mapping[str, Any]:
    """Return the stored configuration of a run; empty if it is missing or broken."""
    return _read(folder) or {}


def config_diff(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Map the dotted keys in which configurations differ to the value of each, None if it lacks it.

    Example:
        >>> config_diff([{"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}])
        {'a.b': [1, 3]}
    """
    if all(config is configs[0] for config in configs):
        return {}
    sections = dict.fromkeys(key for config in configs for key in config if key not in NEVER_TOLD)
    result: dict[str, list[Any]] = {}
    for section in sections:
        values = [config.get(section) for config in configs]
        if all(value is values[0] or value == values[0] for value in values):
            continue
        flat = [dict(flatten(value, section)) for value in values]
        for key in dict.fromkeys(key for options in flat for key in options):
            column = [options.get(key) for options in flat]
            if any(value != column[0] for value in column):
                result[key] = column
    return result


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys below a value with their values; a list is one value."""
    if isinstance(value, Mapping) and value:
        for name, nested in value.items():
            yield from flatten(nested, f"{key}.{name}" if key else str(name))
    elif key:
        yield key, value


def _read(folder: Path) -> Values | None:
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        values = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), Loader=loader)
        return _plain(values) if isinstance(values, dict) else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    """Convert to JSON types, so that cached and parsed values are equal."""
    if isinstance(value, dict):
        return {str(key): _plain(nested) for key, nested in value.items()}
    if isinstance(value, list | set | tuple):
        return [_plain(nested) for nested in value]
    return str(value) if isinstance(value, date | bytes) else value
