"""Disk, clock and repository of the machine."""

import datetime
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from polymodal.doctor.line import Line
from polymodal.tracking.environment import code_state

MIN_FREE_GB = 5.0  # a study with checkpoints and a feature store of some thousand utterances
MAX_SKEW_S = 5.0


def disk(paths: Mapping[str, str]) -> Iterator[Line]:
    """Check free space and permissions of each disk behind named paths."""
    disks: dict[int, tuple[Path, list[str]]] = {}
    for name, value in {**paths, "temporary files": tempfile.gettempdir()}.items():
        folder = _existing(Path(value).expanduser().absolute())
        disks.setdefault(os.stat(folder).st_dev, (folder, []))[1].append(name)
        if not os.access(folder, os.W_OK):
            message, hint = (
                f"{folder} ({name}) cannot be written to",
                f"choose another: {name}=FOLDER",
            )
            is_ok = name == "data"  # which is only read
            yield Line("ok" if is_ok else "fault", "disk", message, "" if is_ok else hint)
    for folder, names in disks.values():
        free_gb = shutil.disk_usage(folder).free / 1e9
        message = f"{free_gb:,.1f} GB free at {folder} ({', '.join(names)})"
        if free_gb >= MIN_FREE_GB:
            yield Line("ok", "disk", message)
        else:
            hint = "`polymodal features` and `polymodal runs` list what can be removed"
            yield Line("warning", "disk", message, hint)


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest existing one above it."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def clock(folder: Path) -> Line:
    """Compare the clock with that of the file system, which may be on another machine."""
    zone = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    try:
        with tempfile.NamedTemporaryFile(dir=_existing(folder.absolute())) as file:
            before = time.time()
            os.utime(file.name)
            skew_s = Path(file.name).stat().st_mtime - before
    except OSError as error:
        return Line("warning", "clock", f"{zone}; no file can be made at {folder}: {error}")
    if abs(skew_s) < MAX_SKEW_S:
        return Line("ok", "clock", zone)
    hint = "set the clocks by NTP: runs are sorted, and resumed, by time"
    return Line("warning", "clock", f"{zone}; that of the disk is {skew_s:+.0f} s off", hint)


def repository(project: Path) -> Iterator[Line]:
    """Report which commit of a project a run would record."""
    state, _ = code_state(project)
    if state["commit"] is None:
        hint = "git init: then each run records the code that it ran with"
        yield Line("warning", "code", f"{project} is in no repository with a commit", hint)
    else:
        dirty = ", with changes that runs record" if state["dirty"] else ""
        yield Line("ok", "code", f"commit {state['commit'][:12]}{dirty}")
