"""Disk, clock and repository of the machine that experiments run on."""

import datetime
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from polymodal.doctor.line import Line
from polymodal.tracking.environment import code_state

ENOUGH_GB = 5.0  # a study with checkpoints and a feature store of some thousand utterances
SKEW_S = 5.0


def disk(paths: Mapping[str, str]) -> Iterator[Line]:
    """Says how much of the disk is free, once for each disk.

    Args:
        paths: Name of a path in the configuration to the folder, which may be missing yet.

    Yields:
        A line for each disk: a fault where it cannot be written to, a warning where it is
        almost full.
    """
    disks: dict[int, tuple[Path, list[str]]] = {}
    for name, value in {**paths, "temporary files": tempfile.gettempdir()}.items():
        folder = _existing(Path(value).expanduser().absolute())
        disks.setdefault(os.stat(folder).st_dev, (folder, []))[1].append(name)
        if not os.access(folder, os.W_OK):
            yield Line(
                "fault" if name != "data" else "ok",
                "disk",
                f"{folder} ({name}) cannot be written to",
                "" if name == "data" else f"choose another folder: {name}=FOLDER",
            )
    for folder, names in disks.values():
        free_gb = shutil.disk_usage(folder).free / 1e9
        words = f"{free_gb:,.1f} GB free at {folder} ({', '.join(names)})"
        if free_gb >= ENOUGH_GB:
            yield Line("ok", "disk", words)
        else:
            remedy = "`polymodal features` and `polymodal runs` list what can be removed"
            yield Line("warning", "disk", words, remedy)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    return next(one for one in (folder, *folder.parents) if one.is_dir())


def clock(folder: Path) -> Line:
    """Compares the clock with that of the file system, which a shared disk may have from elsewhere.

    Args:
        folder: A folder of the disk that runs are written to.
    """
    zone = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    try:
        with tempfile.NamedTemporaryFile(dir=_existing(folder.absolute())) as file:
            before = time.time()
            os.utime(file.name)
            skew_s = Path(file.name).stat().st_mtime - before
    except OSError as error:
        return Line("warning", "clock", f"{zone}; no file can be made at {folder}: {error}")
    if abs(skew_s) < SKEW_S:
        return Line("ok", "clock", zone)
    remedy = "set the clocks by NTP: runs are sorted, and resumed, by time"
    return Line("warning", "clock", f"{zone}; that of the disk is {skew_s:+.0f} s off", remedy)


def repository(project: Path) -> Iterator[Line]:
    """Says which commit of the project's code a run would record.

    Args:
        project: Its folder.

    Yields:
        One line.
    """
    state, _ = code_state(project)
    if state["commit"] is None:
        remedy = "git init: then each run records the code that it ran with"
        yield Line("warning", "code", f"{project} is in no repository with a commit", remedy)
    else:
        dirty = ", with changes that runs record" if state["dirty"] else ""
        yield Line("ok", "code", f"commit {state['commit'][:12]}{dirty}")
