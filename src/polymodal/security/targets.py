"""Which classes and functions a configuration may name as `_target_`."""

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from polymodal.errors import ConfigError, nearest

OURS = "polymodal"
LIBRARIES = ("torch.nn", "torch.optim", "torchmetrics", "pytorch_lightning")


def resolve_target(name: str, key: str, projects: Iterable[str] = ()) -> Callable[..., Any]:
    """Import what a `_target_` names, and reject what is not on the list.

    What counts is where the object itself was defined, not the name it was reached by. Of our own
    package and the user's project every class and function is allowed, of the libraries only
    classes.

    Args:
        name: Dotted path.
        key: Its dotted key, for the message.
        projects: Further packages that are allowed, such as the user's project.

    Returns:
        The class or function.

    Raises:
        ConfigError: Nothing has that name, or it is not allowed.

    Example:
        >>> resolve_target("polymodal.errors.nearest", "key").__name__
        'nearest'
    """
    ours = (OURS, *projects)
    if not _below(name, (*ours, *LIBRARIES)):
        raise _forbidden(name, key, ours)
    target: Callable[..., Any] = _find(name, key)
    home = getattr(target, "__module__", "") or ""
    if _below(home, ours) or (_below(home, LIBRARIES) and isinstance(target, type)):
        return target
    raise _forbidden(name, key, ours)


def _below(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def _find(name: str, key: str) -> Any:
    module_name, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        if error.name and not module_name.startswith(error.name):
            raise ConfigError(f"{key}._target_: {name} needs the package {error.name!r}") from None
        raise ConfigError(f"{key}._target_: there is no module {module_name!r}") from None
    if not hasattr(module, attribute):
        raise ConfigError(
            f"{key}._target_: {module_name} has no {attribute!r}",
            hint=nearest(attribute, [n for n in vars(module) if not n.startswith("_")]),
        )
    return getattr(module, attribute)


def _forbidden(name: str, key: str, ours: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"{key}._target_: {name} is not allowed",
        expected=f"something defined in {', '.join(ours)}, or a class of {', '.join(LIBRARIES)}",
        hint="wrap it in a class of your own project (a folder with configs/ and a package)",
    )
