"""Binds every section of a configuration to the signature of what it names."""

import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from polymodal.config.instantiate import INJECTED
from polymodal.config.partial_resolve import UNRESOLVED
from polymodal.config.schema import SECTIONS, TOP_LEVEL, option_types
from polymodal.config.similar_keys import KnownKeys
from polymodal.diagnostics import Diagnostic, from_error
from polymodal.errors import ConfigError, nearest
from polymodal.security.targets import resolve_target
from polymodal.upgrade.removed import removed_from

# How a value of a type is written.
EXAMPLES = {int: "1", float: "0.1", bool: "true", str: "name"}
# What Hydra itself reads in a section.
SPECIAL = frozenset({"_target_", "_partial_", "_args_", "_recursive_", "_convert_"})


def check_signatures(config: Mapping[str, Any], projects: Sequence[str] = ()) -> None:
    """Reject keys, values and targets that cannot work, all at once.

    Args:
        config: The composed configuration, resolved.
        projects: Packages of the user's project.

    Raises:
        ConfigError: With one line for every problem.
    """
    faults = [finding.text() for finding in signature_findings(config, projects)]
    if faults:
        raise ConfigError("\n".join(faults))


def signature_findings(
    config: Mapping[str, Any], projects: Sequence[str] = ()
) -> Iterator[Diagnostic]:
    """Bind every section to the signature of what it names.

    Args:
        config: The composed configuration, resolved.
        projects: Packages of the user's project.

    Yields:
        A finding for each key, value and target that cannot work.
    """
    yield from _top_level(config)
    known_keys = KnownKeys(config, projects)
    for key, section in config.items():
        yield from _section(section, str(key), INJECTED.get(str(key), frozenset()), known_keys)


def expects_bool(config: Mapping[str, Any], key: str, *, projects: Sequence[str] = ()) -> bool:
    """Return whether an option is meant to be true or false.

    Args:
        config: The composed configuration, resolved.
        key: Its dotted key.
        projects: Packages of the user's project.
    """
    hint = annotation(config, key, projects)
    return hint is not Any and hint is not object and matches_type(True, hint)


def annotation(config: Mapping[str, Any], key: str, projects: Sequence[str] = ()) -> Any:
    """Return the type that an option's constructor asks for.

    Args:
        config: The composed configuration, resolved.
        key: Dotted key of the option.
        projects: Packages of the user's project.

    Returns:
        The annotation; `Any` where there is none.
    """
    *path, name = key.split(".")
    section: Any = config
    for word in path:
        section = section.get(word) if isinstance(section, Mapping) else None
    if not isinstance(section, Mapping) or "_target_" not in section:
        types_of = option_types(path[0]) if len(path) == 1 and path[0] in SECTIONS else TOP_LEVEL
        return types_of.get(name, Any)
    try:
        target = resolve_target(str(section["_target_"]), key, projects)
    except ConfigError:
        return Any
    return _hints(target).get(name, Any)


def matches_type(value: Any, hint: Any) -> bool:
    """Return whether a value from YAML fits a type annotation, as far as can be checked.

    Returns:
        False only where it surely does not fit.

    Example:
        >>> matches_type(3, float), matches_type(True, int), matches_type([1], list[str])
        (True, False, False)
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or value is UNRESOLVED:
        return True
    if origin in (Union, types.UnionType):
        return any(matches_type(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if isinstance(hint, type) and hint in (int, float, bool, str, type(None)):
        return _plain(value, hint)
    if isinstance(hint, type) and issubclass(hint, Path):
        return isinstance(value, str)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            matches_type(item, arguments[1]) for item in value.values()
        )
    if isinstance(origin, type) and issubclass(origin, Collection) and origin is not tuple:
        return isinstance(value, list) and all(matches_type(item, arguments[0]) for item in value)
    if origin is tuple and isinstance(value, list) and Ellipsis not in arguments:
        return len(value) == len(arguments) and all(map(matches_type, value, arguments))
    if isinstance(hint, type) and not isinstance(value, Mapping):
        return hint is object or isinstance(value, hint)  # no YAML writes objects of a library
    return True


def _plain(value: Any, hint: type) -> bool:
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    if hint is float:
        return isinstance(value, int | float)
    return isinstance(value, hint)


def _top_level(config: Mapping[str, Any]) -> Iterator[Diagnostic]:
    for key, hint in TOP_LEVEL.items():
        if key in config and not matches_type(config[key], hint):
            yield wrong_type(key, config[key], hint)


def _section(
    section: Any, key: str, given: frozenset[str], known_keys: KnownKeys
) -> Iterator[Diagnostic]:
    if isinstance(section, list):
        for index, value in enumerate(section):
            yield from _section(value, f"{key}[{index}]", given, known_keys)
    if not isinstance(section, Mapping):
        return
    if "_target_" in section:
        try:
            target = resolve_target(str(section["_target_"]), key, known_keys.projects)
        except ConfigError as error:
            yield from_error(error, "target", f"{key}._target_")
            return
        yield from check_against_signature(section, key, target, given, known_keys)
    for name, value in section.items():
        yield from _section(value, f"{key}.{name}", given, known_keys)


def check_against_signature(
    section: Mapping[str, Any],
    key: str,
    target: Callable[..., Any],
    given: frozenset[str] = frozenset(),
    known_keys: KnownKeys | None = None,
) -> Iterator[Diagnostic]:
    """Bind the options of one section to the signature of what it names.

    Args:
        section: The section, with its `_target_`.
        key: Its dotted key.
        target: What it names.
        given: Options that the program gives itself.
        known_keys: Of the whole configuration, to suggest a key; None for this section alone.

    Yields:
        A finding for each option that is unknown, missing, or of another type.
    """
    parameters = _parameters(target)
    hints = _hints(target)
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    options = {k: v for k, v in section.items() if k not in SPECIAL}
    for name, value in options.items():
        if name in given or (name not in parameters and not anything):
            yield _unknown(name, key, section, sorted(set(parameters) - given), known_keys)
        elif (
            name in hints
            and not isinstance(value, Mapping)
            and not _is_default(value, parameters.get(name))
            and not matches_type(value, hints[name])
        ):
            yield wrong_type(f"{key}.{name}", value, hints[name])
    positional = len(section.get("_args_") or ())
    for index, (name, parameter) in enumerate(parameters.items()):
        required = parameter.default is parameter.empty and index >= positional
        variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if required and not variadic and name not in options and name not in given:
            expected = _words(hints.get(name, Any))
            message = f"{key}.{name} is missing"
            hint = f"give it a value: {key}.{name}"
            yield Diagnostic("missing option", f"{key}.{name}", message, expected, hint)


def _unknown(
    name: str,
    key: str,
    section: Mapping[str, Any],
    parameters: Sequence[str],
    known_keys: KnownKeys | None,
) -> Diagnostic:
    """An option that its target does not take: removed by its library, or never there."""
    target, dotted = str(section["_target_"]), f"{key}.{name}"
    message = f"{dotted} is unknown to {target}"
    if (removed := removed_from(target, name)) is not None:
        return Diagnostic(
            "removed option", dotted, f"{message}: {removed.since}", hint=removed.replacement
        )
    if name.startswith("_"):
        parameters = sorted(SPECIAL)
    elif known_keys is not None and "[" not in key:
        hint = known_keys.without(dotted).hint(dotted)
        return Diagnostic("unknown option", dotted, message, hint=hint)
    return Diagnostic("unknown option", dotted, message, hint=nearest(name, parameters))


def wrong_type(key: str, value: Any, hint: Any) -> Diagnostic:
    """Return the finding for a value that does not fit the type of its option."""
    shown = {None: "null", True: "true", False: "false"}.get(value) if _is_word(value) else None
    message = f"{key}={shown or repr(value)} has the wrong type"
    remedy = _example(key, hint)
    if (
        isinstance(value, str)
        and (number := _number(value)) is not None
        and matches_type(number, hint)
    ):
        remedy = f"it is text; write the number {number!r}"
    elif isinstance(value, str) and (choices := [*_choices(hint)]):
        remedy = nearest(value, choices)
    return Diagnostic("wrong type", key, message, _words(hint), remedy)


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _example(key: str, hint: Any) -> str:
    """Return how a value of a type is written; nothing for a type that has no plain form."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for member in members:
        if member in EXAMPLES:
            return f"write it as in {key}={EXAMPLES[member]}"
        if get_origin(member) in (list, Sequence, Collection):
            return f"write it as in {key}=[…]"
        if isinstance(get_origin(member), type) and issubclass(get_origin(member), Mapping):
            return f"write it as in {key}={{name: …}}"
    return f"correct {key}, or leave it out"


def _is_default(value: Any, parameter: inspect.Parameter | None) -> bool:
    """Whether a value is the default itself, whatever the annotation says of it."""
    return parameter is not None and value is None and parameter.default is None


def _choices(hint: Any) -> Iterator[str]:
    """Yield the words that an annotation lists."""
    if get_origin(hint) is Literal:
        yield from (choice for choice in get_args(hint) if isinstance(choice, str))
    elif get_origin(hint) in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _choices(member)


def _number(text: str) -> float | int | None:
    """Return the number that a text represents, also with a decimal comma."""
    for kind in (int, float):
        try:
            return kind(text.strip().replace(",", "."))
        except ValueError:
            continue
    return None


@cache
def _parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(target).parameters)
    except (TypeError, ValueError):  # some classes written in C have no signature
        return {"kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)}


@cache
def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # a library's annotation may name a module that is not imported
        return {}


def _words(hint: Any) -> str:
    return " or ".join(dict.fromkeys(_each_word(hint)))


def _each_word(hint: Any) -> Iterator[str]:
    """What an annotation allows, member by member, in the words of a YAML file."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        plain = [argument for argument in arguments if not _is_object(argument)] or arguments
        for member in plain:
            yield from _each_word(member)
    elif origin is Literal:
        yield from map(str, arguments)
    elif hint is type(None):
        yield "null"
    elif origin in (list, Sequence, Collection):
        yield f"a list of {_words(arguments[0])}"
    elif isinstance(hint, type) and not arguments:
        yield hint.__name__
    else:
        yield str(hint).replace("typing.", "").replace("collections.abc.", "")


def _is_object(hint: Any) -> bool:
    """Whether it is a class of a library that no YAML can write, such as a tensor."""
    plain = (int, float, bool, str, dict, list, type(None), Path)
    return isinstance(hint, type) and not get_args(hint) and hint not in plain
