"""Rewrite the files of a project in memory."""

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
from polymodal.upgrade.changes import Change, ProjectFacts, Rewrite
from polymodal.upgrade.python_files import gather_python, rewrite_python
from polymodal.upgrade.run_folders import is_run, rewrite_run
from polymodal.upgrade.yaml_files import gather_yaml, rewrite_yaml

YAML, PYTHON = (".yaml", ".yml"), (".py",)
RUN_FILES = ("config.yaml", "run.json")
# Output of tools and programs, nothing written by hand.
SKIPPED_DIRS = (
    *(".*", "__pycache__", "node_modules", "site-packages", "*.egg-info"),
    *("build", "dist", "outputs", "multirun", "wandb", "mlruns", "lightning_logs"),
)
MAX_BYTES = 250_000  # longer than any configuration; YAML with positions is slow to read
PARSE_ERRORS = (YAMLError, SyntaxError)
T = TypeVar("T")
CONFLICT = re.compile(r"^<{7} .*?^={7}\s*$.*?^>{7} ", re.MULTILINE | re.DOTALL)
PASSES_CALLBACKS = re.compile(r"\b(instantiate|Trainer)\s*\([^#]*?\bcallbacks\s*=", re.DOTALL)


@dataclass(frozen=True)
class FileError:
    """A file that cannot be upgraded, with the line, if known, and what to do."""

    path: Path
    message: str
    line: int | None = None
    hint: str = "fix it, or leave it out with --skip"

    def __str__(self) -> str:
        return f"{self.path}{f':{self.line}' if self.line else ''}: {self.message}"


@dataclass(frozen=True)
class FileResult:
    """A file with its bytes, text (without the byte order mark) and rewrite."""

    path: Path
    old: bytes
    text: str
    rewrite: Rewrite = field(default_factory=lambda: Rewrite(""))
    bom: bool = False

    @property
    def new(self) -> bytes:
        """The bytes after the upgrade."""
        return ("\ufeff" if self.bom else "").encode() + self.rewrite.text.encode()

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to write."""
        return self.rewrite.text != self.text


@dataclass(frozen=True)
class Tree:
    """An upgrade of some paths: files by name, errors, and files too large to read."""

    files: tuple[FileResult, ...]
    errors: tuple[FileError, ...]
    too_large: tuple[Path, ...] = ()

    @property
    def changed(self) -> list[FileResult]:
        """The files to be written."""
        return [file for file in self.files if file.is_changed]

    @property
    def changes(self) -> list[tuple[Path, Change]]:
        """All changes, and decisions left to a person, with their file."""
        return [(file.path, change) for file in self.files for change in file.rewrite.changes]


def upgrade_tree(paths: Sequence[Path], skip: Sequence[str] = ()) -> Tree:
    """Upgrade files and folders in memory, without those that match a pattern to skip.

    Raises:
        ConfigError: A path does not exist.
    """
    errors: list[FileError] = []
    files = {file.resolve(): file for path in paths for file in _files(path, skip)}.values()
    too_large = tuple(file for file in files if file.stat().st_size > MAX_BYTES)
    read = [result for file in files if file not in too_large and (result := _read(file, errors))]
    facts = ProjectFacts()
    sound = [file for file, _ in _apply(read, partial(_gather, facts=facts), errors)]

    def rewrite(file: FileResult) -> Rewrite:
        if file.path.suffix in PYTHON:
            return rewrite_python(file.text, file.path, facts)
        if is_run(file.path.parent):
            return rewrite_run(file.text, file.path)
        return rewrite_yaml(file.text, file.path, facts)

    rewrites = _apply(sound, rewrite, errors)
    done = tuple(replace(file, rewrite=new) for file, new in rewrites)
    return Tree(done, tuple(errors), too_large)


def _files(path: Path, skip: Sequence[str]) -> Iterator[Path]:
    if not path.exists():
        raise ConfigError(
            f"{path}: no such file or folder", hint="name files or folders to upgrade"
        )
    if path.is_file():
        yield path.resolve() if path.is_symlink() else path
        return
    for folder, folders, names in os.walk(path):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not _is_skipped(here, name, path, skip))
        if is_run(here):
            folders.clear()
        for name in sorted(names):
            file = here / name
            is_read = name in RUN_FILES if is_run(here) else file.suffix in (*YAML, *PYTHON)
            if is_read and not file.is_symlink() and not _named(file, path, skip):
                yield file


def _is_skipped(here: Path, name: str, root: Path, skip: Sequence[str]) -> bool:
    folder = here / name
    if folder.is_symlink() or (folder / "pyvenv.cfg").is_file() or _named(folder, root, skip):
        return True
    return any(fnmatch(name, pattern) for pattern in SKIPPED_DIRS)


def _named(path: Path, root: Path, skip: Sequence[str]) -> bool:
    """Return whether a pattern matches a path by its name, below the root, or in full."""
    names = (path.name, path.relative_to(root).as_posix(), path.as_posix())
    return any(fnmatch(name, pattern) for name in names for pattern in skip)


def _read(path: Path, errors: list[FileError]) -> FileResult | None:
    try:
        old = path.read_bytes()
    except OSError as error:
        errors.append(FileError(path, f"cannot be read: {error.strerror}"))
        return None
    try:
        text = old.decode("utf-8")
    except UnicodeDecodeError as error:
        line = old.count(b"\n", 0, error.start) + 1
        hint = "store it as UTF-8, or leave it out with --skip"
        errors.append(FileError(path, f"is not UTF-8: byte {old[error.start]:#04x}", line, hint))
        return None
    conflict = CONFLICT.search(text)
    if conflict is not None:
        line = text.count("\n", 0, conflict.start()) + 1
        errors.append(FileError(path, "holds a merge conflict", line, "resolve it first"))
        return None
    return FileResult(path, old, text.removeprefix("\ufeff"), bom=text.startswith("\ufeff"))


def _gather(file: FileResult, facts: ProjectFacts) -> None:
    if file.path.suffix in PYTHON:
        facts.callbacks_in_code |= PASSES_CALLBACKS.search(file.text) is not None
        ast.parse(file.text)
        gather_python(file.text, facts, file.path)
    elif file.path.suffix in YAML and not is_run(file.path.parent):
        gather_yaml(file.text, facts)


def _apply(
    files: Iterable[FileResult], action: Callable[[FileResult], T], errors: list[FileError]
) -> Iterator[tuple[FileResult, T]]:
    """Yield the files for which an action succeeds; add the errors of the others."""
    for file in files:
        try:
            yield file, action(file)
        except (*PARSE_ERRORS, ConfigError, RecursionError, MemoryError, ValueError) as error:
            errors.append(FileError(file.path, *_explain(error)))


def _explain(error: BaseException) -> tuple[str, int | None]:
    """Return what an error says, and its line, if known."""
    match error:
        case MarkedYAMLError():
            mark = error.problem_mark or error.context_mark
            message = ", ".join(text for text in (error.context, error.problem) if text)
            return f"is not valid YAML: {message}", mark.line + 1 if mark else None
        case YAMLError():
            return f"is not valid YAML: {' '.join(str(error).split())}", None
        case SyntaxError():
            return f"is not valid Python: {error.msg}", error.lineno
        case ConfigError():
            return error.message, None
    return f"cannot be read: {str(error) or 'it is nested too deeply'}", None
