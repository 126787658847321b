"""Writes an upgraded tree: all of its files or none, and never over work that is in no commit."""

import os
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from polymodal.errors import ConfigError
from polymodal.security.files import atomic_write
from polymodal.upgrade.run_folders import is_run
from polymodal.upgrade.tree import Tree, Upgraded

GIT_TIME_S = 60


def write_tree(tree: Tree, paths: Sequence[Path], force: bool = False) -> None:
    """Writes what has changed.

    Every file takes the place of the old one whole. If one cannot be written, those before it are
    put back. What is not in a commit counts for all the paths, not only for the files that change:
    afterwards `git diff` shows the upgrade and nothing else.

    Args:
        tree: What the upgrade made.
        paths: What it was asked for.
        force: Write over changes that are in no commit.

    Raises:
        ConfigError: A file cannot be upgraded or written, or changes are in no commit.
    """
    if tree.faults:
        raise ConfigError(
            "nothing is written: " + "; ".join(map(str, tree.faults)),
            hint="mend these files, or leave them out with --skip",
        )
    if not tree.changed:
        return
    if not force:
        _refuse_uncommitted(tree, paths)
    for one in tree.changed:
        if not (os.access(one.path, os.W_OK) and os.access(one.path.parent, os.W_OK)):
            raise ConfigError(
                f"{one.path} cannot be written; nothing is written", hint="make it writable"
            )
    written: list[Upgraded] = []
    try:
        for one in tree.changed:
            if one.path.read_bytes() != one.old:
                raise ConfigError(f"{one.path} has changed meanwhile", hint="start again")
            _write(one.path, one.new)
            written.append(one)
    except BaseException as error:
        for one in reversed(written):
            _write(one.path, one.old)
        if isinstance(error, OSError):
            raise ConfigError(
                f"{error.filename or 'a file'} cannot be written: {error.strerror}; "
                "everything is as it was"
            ) from None
        raise


def _write(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode
    with atomic_write(path) as beside:
        beside.write_bytes(content)
        beside.chmod(mode)


def _refuse_uncommitted(tree: Tree, paths: Sequence[Path]) -> None:
    asked = dict.fromkeys(one for path in paths if (one := _repository(path)) is not None)
    ours = {one.path.resolve() for one in tree.changed}
    open_files: list[str] = []
    for root, path in asked:
        for state, name in _status(root, path):
            if state != "??" or (root / name).resolve() in ours:
                open_files.append(name)
    roots = {one[0] for path in ours if (one := _repository(path)) is not None}
    for root in roots:  # ignored files, and repositories within, of which the first says nothing
        inside = {name for name, _ in asked}
        changed = () if root in inside else (name for _, name in _status(root, root))
        open_files += [name for name in changed if (root / name).resolve() in ours]
        open_files += _untracked(root, ours, known=open_files)
    if open_files:
        shown = ", ".join(open_files[:5]) + (", …" if len(open_files) > 5 else "")
        raise ConfigError(
            f"{len(open_files)} files have changes that are in no commit: {shown}",
            hint="commit them, so that the upgrade can be seen and taken back; or add --force",
        )


def _untracked(root: Path, ours: Collection[Path], known: Collection[str]) -> list[str]:
    """Files of a repository that are in no commit; run folders never are, and are left out."""
    tracked = set(_git(root, "ls-files", "-z"))
    mine = (one for one in ours if (found := _repository(one)) and found[0] == root)
    names = (one.relative_to(root).as_posix() for one in mine if not is_run(one.parent))
    return [name for name in names if name not in tracked and name not in known]


def _repository(path: Path) -> tuple[Path, Path] | None:
    start = path.resolve()
    for folder in (start, *start.parents):
        if (folder / ".git").exists():
            return folder, start
    return None


def _status(root: Path, path: Path) -> list[tuple[str, str]]:
    options = ("--porcelain=v1", "-z", "--no-renames", "--untracked-files=all")
    return [(line[:2], line[3:]) for line in _git(root, "status", *options, "--", str(path))]


def _git(root: Path, *words: str) -> list[str]:
    """What git prints, parted at its zeros."""
    command = ["git", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_TIME_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", b"") or str(error).encode()
        raise ConfigError(
            f"git cannot tell what is uncommitted in {root}: {os.fsdecode(reason).strip()}",
            hint="see to it that `git status` works there, or add --force",
        ) from None
    return [line for line in os.fsdecode(done.stdout).split("\0") if line]
