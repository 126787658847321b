"""Goes through a tree of files, and rewrites in memory what was written for older releases."""

import ast
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TypeVar

from ruamel.yaml.error import MarkedYAMLError, YAMLError

from polymodal.errors import ConfigError
from polymodal.upgrade.changes import Change, Facts, Rewrite
from polymodal.upgrade.python_files import gather_python, rewrite_python
from polymodal.upgrade.run_folders import is_run, rewrite_run
from polymodal.upgrade.yaml_files import gather_yaml, rewrite_yaml

YAML, PYTHON = (".yaml", ".yml"), (".py",)
# Folders of tools and of what programs have put out: nothing in them is written by hand.
SKIPPED = (
    *(".*", "__pycache__", "node_modules", "site-packages", "*.egg-info"),
    *("build", "dist", "outputs", "multirun", "wandb", "mlruns", "lightning_logs"),
)
MOST_BYTES = 250_000  # no configuration is as long, and reading YAML with positions is slow
T = TypeVar("T")
CONFLICT = re.compile(r"^<{7} .*?^={7}\s*$.*?^>{7} ", re.MULTILINE | re.DOTALL)
PASSES_CALLBACKS = re.compile(r"\b(instantiate|Trainer)\s*\([^#]*?\bcallbacks\s*=", re.DOTALL)


@dataclass(frozen=True)
class Fault:
    """A file that cannot be upgraded.

    Args:
        path: The file.
        found: What is wrong with it.
        line: Where; None where that is unknown.
        remedy: What to do.
    """

    path: Path
    found: str
    line: int | None = None
    remedy: str = "mend it, or leave it out with --skip"

    def __str__(self) -> str:
        return (
            f"{self.path}:{self.line}: {self.found}" if self.line else f"{self.path}: {self.found}"
        )


@dataclass(frozen=True)
class Upgraded:
    """A file and what became of it.

    Args:
        path: The file.
        old: Its bytes.
        text: Its text.
        rewritten: Its upgrade.
        bom: Whether a byte order mark stands before it.
    """

    path: Path
    old: bytes
    text: str
    rewritten: Rewrite = field(default_factory=lambda: Rewrite(""))
    bom: bool = False

    @property
    def new(self) -> bytes:
        """Its bytes after the upgrade."""
        return ("\ufeff" if self.bom else "").encode() + self.rewritten.text.encode()

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to write."""
        return self.rewritten.text != self.text


@dataclass(frozen=True)
class Tree:
    """What an upgrade makes of some paths.

    Args:
        files: Every file that was read, in the order of their names.
        faults: Files that cannot be upgraded.
        too_long: Files that are longer than any configuration, and were not read.
    """

    files: tuple[Upgraded, ...]
    faults: tuple[Fault, ...]
    too_long: tuple[Path, ...] = ()

    @property
    def changed(self) -> list[Upgraded]:
        """The files that are to be written."""
        return [one for one in self.files if one.is_changed]

    @property
    def changes(self) -> list[tuple[Path, Change]]:
        """What was changed or left alone, with its file."""
        return [(one.path, change) for one in self.files for change in one.rewritten.changes]


def upgrade_tree(paths: Sequence[Path], skip: Sequence[str] = ()) -> Tree:
    """Upgrades files in memory; nothing is written.

    Args:
        paths: Files and folders.
        skip: Patterns of paths that are left out, such as `configs/old/*`.

    Returns:
        Every file and what became of it.

    Raises:
        ConfigError: A path is not there.
    """
    faults: list[Fault] = []
    files = {file.resolve(): file for path in paths for file in _files(path, skip)}.values()
    too_long = tuple(one for one in files if one.stat().st_size > MOST_BYTES)
    read = [one for file in files if file not in too_long and (one := _read(file, faults))]
    facts = Facts()
    sound = [one for one, _ in _worked(read, partial(_gather, facts=facts), faults)]
    made = _worked(sound, partial(_rewrite, facts=facts), faults)
    done = tuple(replace(one, rewritten=new) for one, new in made)
    return Tree(done, tuple(faults), too_long)


def _files(path: Path, skip: Sequence[str]) -> Iterator[Path]:
    if not path.exists():
        raise ConfigError(f"there is no {path}", hint="name files or folders to upgrade")
    if path.is_file():
        yield path.resolve() if path.is_symlink() else path
        return
    for folder, folders, names in os.walk(path):
        here = Path(folder)
        folders[:] = sorted(one for one in folders if not _is_skipped(here, one, path, skip))
        if is_run(here):
            folders.clear()
        for name in sorted(names):
            file = here / name
            wanted = name in ("run.json",) if is_run(here) else name.endswith((*YAML, *PYTHON))
            wanted = wanted or (is_run(here) and name == "config.yaml")
            if wanted and not file.is_symlink() and not _named(file, path, skip):
                yield file


def _is_skipped(here: Path, name: str, root: Path, skip: Sequence[str]) -> bool:
    folder = here / name
    if folder.is_symlink() or (folder / "pyvenv.cfg").is_file() or _named(folder, root, skip):
        return True
    return any(fnmatch(name, one) for one in SKIPPED)


def _named(path: Path, root: Path, skip: Sequence[str]) -> bool:
    """Whether a pattern asks for a path to be left out: by its name, below the root, or whole."""
    names = (path.name, path.relative_to(root).as_posix(), path.as_posix())
    return any(fnmatch(name, one) for name in names for one in skip)


def _read(path: Path, faults: list[Fault]) -> Upgraded | None:
    try:
        old = path.read_bytes()
    except OSError as error:
        faults.append(Fault(path, f"cannot be read: {error.strerror}"))
        return None
    try:
        text = old.decode("utf-8")
    except UnicodeDecodeError as error:
        line = old.count(b"\n", 0, error.start) + 1
        remedy = "store it as UTF-8, or leave it out with --skip"
        faults.append(Fault(path, f"is not UTF-8: byte {old[error.start]:#04x}", line, remedy))
        return None
    conflict = CONFLICT.search(text)
    if conflict is not None:
        line = text.count("\n", 0, conflict.start()) + 1
        faults.append(Fault(path, "holds a merge conflict", line, "resolve it first"))
        return None
    return Upgraded(path, old, text.removeprefix("\ufeff"), bom=text.startswith("\ufeff"))


def _gather(one: Upgraded, facts: Facts) -> None:
    if one.path.suffix in PYTHON:
        facts.callbacks_in_code |= PASSES_CALLBACKS.search(one.text) is not None
        ast.parse(one.text)
        gather_python(one.text, facts, one.path)
    elif one.path.suffix in YAML and not is_run(one.path.parent):
        gather_yaml(one.text, facts)


def _rewrite(one: Upgraded, facts: Facts) -> Rewrite:
    if one.path.suffix in PYTHON:
        return rewrite_python(one.text, one.path, facts)
    if is_run(one.path.parent):
        return rewrite_run(one.text, one.path)
    return rewrite_yaml(one.text, one.path, facts)


def _worked(
    files: Iterable[Upgraded], action: Callable[[Upgraded], T], faults: list[Fault]
) -> Iterator[tuple[Upgraded, T]]:
    """Goes through the files for which an action works; what is wrong with the others is noted."""
    for one in files:
        try:
            yield one, action(one)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            words = ", ".join(word for word in (error.context, error.problem) if word)
            line = mark.line + 1 if mark else None
            faults.append(Fault(one.path, f"is no YAML: {words}", line))
        except YAMLError as error:
            faults.append(Fault(one.path, f"is no YAML: {' '.join(str(error).split())}"))
        except SyntaxError as error:
            faults.append(Fault(one.path, f"is no Python: {error.msg}", error.lineno))
        except ConfigError as error:
            faults.append(Fault(one.path, error.message))
        except (RecursionError, MemoryError, ValueError) as error:
            words = str(error) or "it is nested too deeply"
            faults.append(Fault(one.path, f"cannot be read: {words}"))
