"""Turns a section of the configuration into an object; the only caller of Hydra's instantiate."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import hydra.utils
from hydra.errors import HydraException

from polymodal.errors import ConfigError, UserError
from polymodal.security.targets import project_line

# Arguments that a group's classes are given by the program, not by the YAML.
INJECTED: Mapping[str, frozenset[str]] = {
    "split": frozenset({"manifest"}),
    "model": frozenset({"feature_sizes", "num_outputs"}),
    "loss": frozenset({"classes", "class_counts", "num_targets"}),
    "optimizer": frozenset({"params"}),
    "scheduler": frozenset({"optimizer", "total_steps"}),
    "scores": frozenset({"task", "num_classes"}),
    "trainer": frozenset({"callbacks", "logger", "plugins", "args", "kwargs"}),
    "callbacks": frozenset({"dirpath"}),
    "ensemble": frozenset({"tables", "validation", "say"}),
}


def instantiate_partial(section: Mapping[str, Any]) -> Any:
    """Bind the options of a section to its `_target_` without calling it.

    Args:
        section: Options with a `_target_`, resolved.

    Returns:
        A callable that takes the arguments the program gives.

    Raises:
        ConfigError: Hydra rejects the target, or one nested in its options cannot be built.
        UserError: A nested target rejects its options.
    """
    try:
        return hydra.utils.instantiate(dict(section), _partial_=True, _convert_="all")
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        reason = str(cause or error).strip().splitlines()[0]
        target = section["_target_"]
        raise ConfigError(
            f"{target} cannot be built: {reason}", hint="correct its options"
        ) from None


def instantiate(
    section: Mapping[str, Any], key: str, *, optional: Mapping[str, Any] | None = None, **given: Any
) -> Any:
    """Build what a section describes.

    Args:
        section: Options with a `_target_`, resolved.
        key: Dotted key of the section, for messages.
        optional: Arguments passed only to targets that accept them.
        given: Arguments that the program gives.

    Raises:
        ConfigError: The constructor does not take these options.
        UserError: The constructor rejects them.
    """
    make = instantiate_partial(section)
    target = getattr(make, "func", make)
    given |= {
        name: value for name, value in (optional or {}).items() if takes_argument(target, name)
    }
    try:
        return make(**given)
    except (TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        line = project_line(error)
        where = f" ({line})" if line else ""
        hint = ""
        if any(repr(name) in str(error) for name in given):
            hint = f"its constructor is given {', '.join(given)}: let it take them"
        raise ConfigError(f"{key} cannot be built: {error}{where}", hint=hint) from None


def takes_argument(target: Callable[..., Any], name: str) -> bool:
    """Return whether a callable takes a keyword argument.

    A class that passes `**kwargs` on to its base takes what the base takes.

    Example:
        >>> class Base:
        ...     def __init__(self, dirpath): ...
        >>> class Child(Base):
        ...     def __init__(self, **kwargs): ...
        >>> takes_argument(Child, "dirpath"), takes_argument(print, "dirpath")
        (True, False)
    """
    if not isinstance(target, type):
        return name in inspect.signature(target).parameters
    for base in target.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters
            if name in parameters:
                return True
            if all(
                parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()
            ):
                return False
    return False
