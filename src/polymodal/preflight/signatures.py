"""Binds every section of a configuration to the signature of what it names."""

import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from polymodal.assemble.build import INJECTED
from polymodal.errors import ConfigError, nearest
from polymodal.safety.targets import resolve_target

TOP_LEVEL: Mapping[str, Any] = {
    "seed": int,
    "stages": list[Literal["fit", "train", "test", "predict"]],
    "resume": str | None,
    "selection": dict[str, Any],
    "test_subsets": bool,
    "part": Literal["train", "val", "test", "all"],
}


def check_signatures(config: Mapping[str, Any], projects: Sequence[str] = ()) -> None:
    """Refuses keys, values and targets that cannot work, all at once.

    Args:
        config: The composed configuration, resolved.
        projects: Packages of the user's project.

    Raises:
        ConfigError: With one line for every fault.
    """
    faults = [*_top_level(config)]
    for key, section in config.items():
        faults += _section(section, str(key), INJECTED.get(str(key), frozenset()), projects)
    if faults:
        raise ConfigError("\n".join(faults))


def fits(value: Any, hint: Any) -> bool:
    """Tells whether a value from YAML fits a type annotation, as far as that can be told.

    Args:
        value: Plain value.
        hint: The annotation.

    Returns:
        False only where it surely does not fit.

    Example:
        >>> fits("abc", int | None), fits(3, float), fits(True, int), fits([1], list[str])
        (False, True, False, False)
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is Literal:
        return value in arguments
    if isinstance(hint, type) and hint in (int, float, bool, str, type(None)):
        return _plain(value, hint)
    if isinstance(hint, type) and issubclass(hint, Path):
        return isinstance(value, str)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(fits(one, arguments[1]) for one in value.values())
    if isinstance(origin, type) and issubclass(origin, Collection) and origin is not tuple:
        return isinstance(value, list) and all(fits(one, arguments[0]) for one in value)
    if isinstance(hint, type) and isinstance(value, str | int | float | bool):
        return hint is object
    return True


def _plain(value: Any, hint: type) -> bool:
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    if hint is float:
        return isinstance(value, int | float)
    return isinstance(value, hint)


def _top_level(config: Mapping[str, Any]) -> Iterator[str]:
    for key, hint in TOP_LEVEL.items():
        if key in config and not fits(config[key], hint):
            yield f"{key}={config[key]!r} has the wrong type\n  expected: {_words(hint)}"


def _section(
    section: Any, key: str, given: frozenset[str], projects: Sequence[str]
) -> Iterator[str]:
    if isinstance(section, list):
        for place, value in enumerate(section):
            yield from _section(value, f"{key}[{place}]", given, projects)
    if not isinstance(section, Mapping):
        return
    if "_target_" in section:
        try:
            target = resolve_target(str(section["_target_"]), key, projects)
        except ConfigError as error:
            yield str(error)
            return
        yield from _arguments(section, key, target, given)
    for name, value in section.items():
        yield from _section(value, f"{key}.{name}", given, projects)


def _arguments(
    section: Mapping[str, Any], key: str, target: Callable[..., Any], given: frozenset[str]
) -> Iterator[str]:
    parameters = _parameters(target)
    hints = _hints(target)
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    options = {k: v for k, v in section.items() if not (k.startswith("_") and k.endswith("_"))}
    for name, value in options.items():
        if name in given or (name not in parameters and not anything):
            known = sorted(set(parameters) - given)
            hint = nearest(name, known)
            yield f"{key}.{name} is unknown to {section['_target_']}\n  to do: {hint}"
        elif name in hints and not isinstance(value, Mapping) and not fits(value, hints[name]):
            yield f"{key}.{name}={value!r} has the wrong type\n  expected: {_words(hints[name])}"
    for name, parameter in parameters.items():
        required = parameter.default is parameter.empty
        variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if required and not variadic and name not in options and name not in given:
            yield f"{key}.{name} is missing\n  expected: {_words(hints.get(name, Any))}"


def _parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(target).parameters)
    except (TypeError, ValueError):  # some classes written in C have no signature
        return {"kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)}


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # a library's annotation may name what is not imported
        return {}


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is list:
        return f"a list of {_words(get_args(hint)[0])}"
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    return str(hint).replace("typing.", "").replace("collections.abc.", "")
