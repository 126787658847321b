"""Delete, archive and restore runs, and find what depends on them.

Nothing outside the folder of runs is touched, and no link is followed.
"""

import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Generator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

from polymodal.errors import RunError
from polymodal.security.files import atomic_write, atomic_write_text, sha256_of
from polymodal.tracking.index import Listed, read_record, with_live_status

ARCHIVE = "archive"  # beside the run folders
PACKED = ".tar.gz"
GOING = ".going-"  # the beginning of a folder's name while it is being removed
COMING = ".coming-"  # while it is being unpacked


def size_bytes(folder: Path) -> int:
    """Return the size of a folder, without what its links point to."""
    total = 0
    for where, _, files in os.walk(folder):
        total += sum(os.lstat(os.path.join(where, name)).st_size for name in files)
    return total


def dependents_of(going: Set[str], runs: Sequence[Listed]) -> dict[str, list[str]]:
    """Map each run that goes to the runs that stay and depend on it, such as `x (test)`."""
    needed: dict[str, list[str]] = {}
    for listed in runs:
        record = listed.record
        if listed.path.name not in going:
            for name in sorted(going & _depends_on(listed)):
                needed.setdefault(name, []).append(f"{record.run_id} ({record.kind})")
    return needed


def require_not_running(chosen: Sequence[Listed]) -> None:
    """Reject runs that are running, or may be elsewhere, and folders that are links.

    Raises:
        RunError: There is one; nothing was touched.
    """
    for listed in chosen:
        if listed.path.is_symlink():
            raise RunError(f"{listed.path} is a link", hint="remove the link by hand")
        if with_live_status(read_record(listed.path)).status == "running":
            host = listed.record.host.get("name", "a machine that is not named")
            raise RunError(
                f"{listed.path.name} is running on {host}",
                hint="end it first; if it died there, remove its folder by hand",
            )


def delete(folder: Path) -> None:
    """Delete a run folder; if killed on the way, it leaves a hidden folder but no half run.

    Raises:
        OSError: It cannot be deleted.
    """
    for left in folder.parent.glob(f"{GOING}*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    going = folder.parent / f"{GOING}{secrets.token_hex(4)}"
    folder.rename(going)
    shutil.rmtree(going)


def archive(folder: Path) -> Path:
    """Pack a run folder into a file in `archive/` beside it, verify it, and delete the folder.

    Returns:
        The file; its SHA-256 is beside it.

    Raises:
        RunError: There is an archive of that name already.
        OSError: It cannot be written; the folder is still there.
    """
    packed = folder.parent / ARCHIVE / f"{folder.name}{PACKED}"
    if packed.exists():
        raise RunError(f"there is {packed} already", hint="restore or remove that one first")
    packed.parent.mkdir(exist_ok=True)
    with atomic_write(packed) as tmp_path:
        with tarfile.open(tmp_path, "x:gz", compresslevel=3) as file:  # links stay links
            file.add(folder, folder.name)
        _check_packed(tmp_path, folder)
        atomic_write_text(_digest(packed), f"{sha256_of(tmp_path)}  {packed.name}\n")
    delete(folder)
    return packed


def archived(runs: Path) -> list[Path]:
    """Return the archived runs of a folder of runs, the newest id last."""
    return sorted(path for path in (runs / ARCHIVE).glob(f"*{PACKED}") if path.name[0] != ".")


def restore(packed: Path) -> Path:
    """Unpack an archived run into its old folder, and remove the archive.

    Raises:
        RunError: The file does not match its SHA-256, holds anything but one run folder, or there
            is a run of that name.
    """
    name = packed.name.removesuffix(PACKED)
    target = packed.parents[1] / name
    if os.path.lexists(target):
        raise RunError(f"there is a run {target} already", hint="rename one of them")
    with _unpacked(packed, name) as folder:
        read_record(folder)
        _check_packed(packed, folder)  # before the only other copy goes
        folder.rename(target)
    packed.unlink()
    _digest(packed).unlink(missing_ok=True)
    return target


@contextmanager
def _unpacked(packed: Path, name: str) -> Generator[Path]:
    stated = _digest(packed)
    if stated.is_file() and stated.read_text(encoding="utf-8").split()[:1] != [sha256_of(packed)]:
        raise RunError(f"{packed} does not match its SHA-256", hint="use another copy of it")
    tmp_dir = packed.parents[1] / f"{COMING}{secrets.token_hex(4)}"
    tmp_dir.mkdir()
    try:
        with tarfile.open(packed) as file:
            file.extractall(tmp_dir, filter=_as_it_was)
        if os.listdir(tmp_dir) != [name]:
            raise RunError(f"{packed} does not hold the folder {name} alone")
        yield tmp_dir / name
    except (tarfile.TarError, EOFError, OSError) as error:
        raise RunError(f"{packed} cannot be unpacked: {error}") from None
    finally:
        shutil.rmtree(tmp_dir, ignore_errors=True)


def _as_it_was(member: tarfile.TarInfo, folder: str | Path) -> tarfile.TarInfo | None:
    """Keep links as they were packed, such as that of W&B; nothing is written through one."""
    checked = tarfile.tar_filter if member.issym() else tarfile.data_filter
    return checked(member, str(folder))


def _check_packed(packed: Path, folder: Path) -> None:
    """Read everything back, as the folder, or the file, is deleted next."""
    held = {}
    with tarfile.open(packed) as file:  # compression has a checksum of its own
        for member in file:
            content = file.extractfile(member) if member.isreg() else None
            if content is not None:
                held[member.name] = 0
                while block := content.read(1 << 20):
                    held[member.name] += len(block)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    there = {path.relative_to(folder.parent).as_posix(): path.stat().st_size for path in files}
    if missing := sorted(name for name, size in there.items() if held.get(name) != size):
        raise RunError(f"{packed} does not hold {missing[0]} as it is: does the run go on?")


def _digest(packed: Path) -> Path:
    return packed.with_name(f"{packed.name}.sha256")


def _depends_on(run: Listed) -> set[str]:
    """Return the ids of the runs that a run names: parent, what it repeats, members of its vote."""
    notes, data = run.record.notes, run.record.data
    named = [run.record.parent, notes.get("again"), notes.get("from")]
    named += _listed(data.get("members"))
    if run.record.kind == "study":
        try:
            text = (run.path / "study.json").read_text(encoding="utf-8")
            named += _listed(json.loads(text).get("runs"))
        except (OSError, ValueError, AttributeError):
            pass  # of a study that is half there nothing is known
    return {name for name in named if isinstance(name, str)}


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []
