"""Which classes and functions a configuration may name as `_target_`."""

import importlib
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
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
    except SyntaxError as error:
        where = f"{_shown(error.filename)}:{error.lineno}"
        message = f"{key}._target_: {module_name} is not valid Python: {where}: {error.msg}"
        raise ConfigError(message, hint="correct that line, or the one above it") from None
    except Exception as error:  # of the user's module, whatever it does when it is imported
        raise _not_imported(error, name, module_name, key) from None
    if not hasattr(module, attribute):
        raise ConfigError(
            f"{key}._target_: {module_name} has no {attribute!r}",
            hint=nearest(attribute, [n for n in vars(module) if not n.startswith("_")]),
        )
    return getattr(module, attribute)


def _not_imported(error: Exception, name: str, module_name: str, key: str) -> ConfigError:
    line = project_line(error)
    where = f" ({line})" if line else ""
    if isinstance(error, ModuleNotFoundError):
        if (
            error.name
            and module_name != error.name
            and not module_name.startswith(f"{error.name}.")
        ):
            return ConfigError(
                f"{key}._target_: {name} needs the package {error.name!r}{where}",
                hint=f"install {error.name} in this environment, or correct the import",
            )
        return ConfigError(
            f"{key}._target_: there is no module {module_name!r}",
            expected="the dotted path of a class, such as polymodal.models.mlp.NAME",
            hint="correct the path, and start the command in the folder of the project",
        )
    return ConfigError(
        f"{key}._target_: {module_name} cannot be imported: {type(error).__name__}: {error}{where}",
        hint="correct that line of the module",
    )


def project_line(error: BaseException) -> str | None:
    """Return file and line below the current folder that raised an error; None for none."""
    here, lines = Path.cwd(), []
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(here) and "site-packages" not in file.parts:
            lines.append(f"{_shown(str(file))}:{line}")
    return lines[-1] if lines else None


def _shown(file: str | None) -> str:
    path, here = Path(file or "?"), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _forbidden(name: str, key: str, ours: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"{key}._target_: {name} is not allowed",
        expected=f"something defined in {', '.join(ours)}, or a class of {', '.join(LIBRARIES)}",
        hint="wrap it in a class of your own project (a folder with configs/ and a package)",
    )
