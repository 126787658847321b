"""Finds runs: the folders are the truth."""

import dataclasses
import os
from pathlib import Path

from polymodal.contracts.run import RunRecord
from polymodal.errors import RunError, nearest
from polymodal.record.files import LAST
from polymodal.record.processes import has_ended

NUM_COMPARED = 500  # a misspelt id is compared with the newest ones of its day, else of all
DATE = slice(8)  # of an id
PARTS = ("config.yaml", "metrics.jsonl", "predictions", "checkpoints")  # of a run folder


def list_runs(runs: Path) -> tuple[list[RunRecord], list[str]]:
    """Reads the records of all runs in a folder.

    Args:
        runs: The folder of runs; folders that hold nothing of a run are none of ours.

    Returns:
        The records, newest first, and a line for each folder whose record cannot be read.
    """
    records, broken = [], []
    for name in sorted(_folders(runs), reverse=True):
        path = runs / name
        try:
            records.append(alive_or_killed(read_record(path)))
        except RunError as error:
            if os.path.lexists(path / "run.json"):
                broken.append(f"{name}: {error.found}")
            elif any((path / part).exists() for part in PARTS):
                broken.append(f"{name}: a run folder without its run.json")
    records.sort(key=lambda record: (record.started, record.run_id), reverse=True)
    return records, broken


def read_record(folder: Path) -> RunRecord:
    """Reads the record of a run.

    Args:
        folder: The run folder.

    Returns:
        The record as it is on disk.

    Raises:
        RunError: It is missing, no JSON, or not the record of a run.
    """
    return RunRecord.read(folder / "run.json")


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
    if name == LAST:
        return _last(runs)
    for path in (runs / name, Path(name)):
        if name and _is_run(path):
            return path
    ids = [one for one in _folders(runs) if _is_run(runs / one)]
    found = sorted(one for one in ids if one.startswith(name))
    if len(found) == 1 and name:
        return runs / found[0]
    if found and name:
        shown = ", ".join(found[-5:])
        more = "" if len(found) <= 5 else f", the newest of them: {shown}"
        raise RunError(
            f"{len(found)} runs begin with {name!r}{more or ': ' + shown}",
            remedy="give more of the id",
        )
    raise RunError(f"there is no run {name!r} in {runs}", remedy=_hint(name, ids))


def alive_or_killed(record: RunRecord) -> RunRecord:
    """Returns a record whose status says `killed` if its process on this host is gone.

    Args:
        record: The record as it is on disk.

    Returns:
        The record, changed or not; nothing is written.
    """
    if record.status == "running" and has_ended(record.host):
        return dataclasses.replace(record, status="killed")
    return record


def _folders(runs: Path) -> list[str]:
    try:
        with os.scandir(runs) as entries:
            return [one.name for one in entries if one.name[0] != "." and one.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"{runs} cannot be read: {error}") from None


def _is_run(path: Path) -> bool:
    try:
        return (path / "run.json").is_file()
    except OSError:  # such as a name that is too long
        return False


def _hint(name: str, ids: list[str]) -> str:
    if not ids:
        return "`polymodal run` makes one; --runs or POLYMODAL_RUNS names another folder"
    alike = [one for one in ids if one[DATE] == name[DATE]] or ids
    hint = nearest(name, sorted(alike)[-NUM_COMPARED:])
    return hint if hint.startswith("did you mean") else "`polymodal runs` lists them"


def _last(runs: Path) -> Path:
    pointer = runs / LAST
    try:
        name = pointer.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        name = ""
    if name and Path(name).name == name and _is_run(runs / name):
        return runs / name
    raise RunError(
        f"there is no last run in {runs}", remedy="run one, or name a run by its id or path"
    )
