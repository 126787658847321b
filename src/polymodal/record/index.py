"""Finds runs: the folders are the truth."""

import dataclasses
import os
import socket
from pathlib import Path

from polymodal.contracts.run import RunRecord
from polymodal.errors import RunError, nearest
from polymodal.record.environment import process_started
from polymodal.record.folder import LAST


def list_runs(runs: Path) -> tuple[list[RunRecord], list[str]]:
    """Reads the records of all runs in a folder.

    Args:
        runs: The folder of runs.

    Returns:
        The records, newest first, and a line for each folder whose record cannot be read.
    """
    records, broken = [], []
    for path in sorted(_folders(runs), reverse=True):
        try:
            records.append(alive_or_killed(RunRecord.read(path / "run.json")))
        except (RunError, TypeError) as error:
            broken.append(f"{path.name}: {error}")
    records.sort(key=lambda record: (record.started, record.run_id), reverse=True)
    return records, broken


def find_run(runs: Path, name: str) -> Path:
    """Finds the folder of a run.

    Args:
        runs: The folder of runs.
        name: Its id, an unambiguous beginning of it, a path, or `last`.

    Returns:
        The folder.

    Raises:
        RunError: There is none, or several begin so.
    """
    if (Path(name) / "run.json").is_file():
        return Path(name)
    if name == LAST:
        return _last(runs)
    if "/" in name or not name:
        raise RunError(f"{name!r} is not the folder of a run", remedy="see `polymodal runs`")
    if (runs / name / "run.json").is_file():
        return runs / name
    ids = [path.name for path in _folders(runs)]
    found = [one for one in ids if one.startswith(name)]
    if len(found) == 1:
        return runs / found[0]
    if found:
        raise RunError(
            f"{len(found)} runs begin with {name!r}: {', '.join(sorted(found)[:5])}",
            remedy="give more of the id",
        )
    raise RunError(
        f"there is no run {name!r} in {runs}",
        remedy=nearest(name, ids) if len(ids) <= 10 else "see `polymodal runs`",
    )


def alive_or_killed(record: RunRecord) -> RunRecord:
    """Returns a record whose status says `killed` if its process on this host is gone.

    Args:
        record: The record as it is on disk.

    Returns:
        The record, changed or not; nothing is written.
    """
    host = record.host
    if record.status != "running" or host.get("name") != socket.gethostname():
        return record
    started = host.get("process_started")
    gone = started is not None and process_started(int(host.get("pid", 0))) != started
    return dataclasses.replace(record, status="killed") if gone else record


def _folders(runs: Path) -> list[Path]:
    if not runs.is_dir():
        return []
    with os.scandir(runs) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and entry.name[0] != "."]
    return [runs / name for name in names if (runs / name / "run.json").exists()]


def _last(runs: Path) -> Path:
    pointer = runs / LAST
    name = pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else ""
    if name and (runs / name / "run.json").is_file():
        return runs / name
    raise RunError(
        f"there is no last run in {runs}", remedy="run one, or name a run by its id or path"
    )
