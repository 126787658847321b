"""Write an upgraded project: all files or none, and never over uncommitted work."""

import os
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from polymodal.errors import ConfigError
from polymodal.security.files import atomic_write
from polymodal.upgrade.run_folders import is_run
from polymodal.upgrade.tree import FileResult, Tree

GIT_TIME_S = 60


def write_tree(tree: Tree, paths: Sequence[Path], force: bool = False) -> None:
    """Write the changed files atomically, and restore those already written if one fails.

    Uncommitted files count in all the paths, not only among the files that change: afterwards `git
    diff` shows the upgrade and nothing else. `force` skips this check.

    Raises:
        ConfigError: A file cannot be upgraded or written, or changes are uncommitted.
    """
    if tree.errors:
        raise ConfigError(
            "nothing is written: " + "; ".join(map(str, tree.errors)),
            hint="fix these files, or leave them out with --skip",
        )
    if not tree.changed:
        return
    if not force:
        _require_committed(tree, paths)
    for file in tree.changed:
        if not (os.access(file.path, os.W_OK) and os.access(file.path.parent, os.W_OK)):
            message = f"{file.path} cannot be written; nothing is written"
            raise ConfigError(message, hint="make it writable")
    written: list[FileResult] = []
    try:
        for file in tree.changed:
            if file.path.read_bytes() != file.old:
                raise ConfigError(f"{file.path} has changed meanwhile", hint="start again")
            _write(file.path, file.new)
            written.append(file)
    except BaseException as error:
        for file in reversed(written):
            _write(file.path, file.old)
        if isinstance(error, OSError):
            raise ConfigError(
                f"{error.filename or 'a file'} cannot be written: {error.strerror}; "
                "everything is as it was"
            ) from None
        raise


def _write(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode
    with atomic_write(path) as tmp_path:
        tmp_path.write_bytes(content)
        tmp_path.chmod(mode)


def _require_committed(tree: Tree, paths: Sequence[Path]) -> None:
    asked = dict.fromkeys(pair for path in paths if (pair := _repository(path)) is not None)
    ours = {file.path.resolve() for file in tree.changed}
    open_files: list[str] = []
    for root, path in asked:
        for state, name in _status(root, path):
            if state != "??" or (root / name).resolve() in ours:
                open_files.append(name)
    roots = {repository[0] for path in ours if (repository := _repository(path)) is not None}
    for root in (
        roots
    ):  # ignored files, and nested repositories, which the status of the outer one does not list
        inside = {name for name, _ in asked}
        changed = () if root in inside else (name for _, name in _status(root, root))
        open_files += [name for name in changed if (root / name).resolve() in ours]
        open_files += _untracked(root, ours, listed=open_files)
    if open_files:
        shown = ", ".join(open_files[:5]) + (", …" if len(open_files) > 5 else "")
        raise ConfigError(
            f"{len(open_files)} files have changes that are in no commit: {shown}",
            hint="commit them, so that the upgrade can be seen and taken back; or add --force",
        )


def _untracked(root: Path, ours: Collection[Path], listed: Collection[str]) -> list[str]:
    """Return the files that are in no commit; run folders never are, and are left out."""
    tracked = set(_git(root, "ls-files", "-z"))
    in_root = (path for path in ours if (repository := _repository(path)) and repository[0] == root)
    names = (path.relative_to(root).as_posix() for path in in_root if not is_run(path.parent))
    return [name for name in names if name not in tracked and name not in listed]


def _repository(path: Path) -> tuple[Path, Path] | None:
    start = path.resolve()
    for folder in (start, *start.parents):
        if (folder / ".git").exists():
            return folder, start
    return None


def _status(root: Path, path: Path) -> list[tuple[str, str]]:
    options = ("--porcelain=v1", "-z", "--no-renames", "--untracked-files=all")
    return [(line[:2], line[3:]) for line in _git(root, "status", *options, "--", str(path))]


def _git(root: Path, *arguments: str) -> list[str]:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_TIME_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", b"") or str(error).encode()
        raise ConfigError(
            f"git cannot tell what is uncommitted in {root}: {os.fsdecode(reason).strip()}",
            hint="make `git status` work there, or add --force",
        ) from None
    return [line for line in os.fsdecode(done.stdout).split("\0") if line]
