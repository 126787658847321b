"""Find runs: the folders are the truth."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.errors import RunError, suggest
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.index_cache import IndexCache
from polymodal.tracking.processes import has_exited
from polymodal.tracking.run_folder import LAST

NUM_COMPARED = 500  # a misspelt id is compared with the newest ones of its day, else of all
DATE = slice(8)  # of an id
# What is read of thousands of run.json is kept beside them; a record with other fields is another
# layout.
INDEX = ".index.json"
LAYOUT = f"records 2 {' '.join(field.name for field in dataclasses.fields(RunRecord))}"
SHARED = ("command", "versions", "code", "data")
PARTS = ("config.yaml", "metrics.jsonl", "predictions", "checkpoints")  # of a run folder


@dataclass(frozen=True)
class Listed:
    """A run that was found: its folder, and its record with the live status."""

    path: Path
    record: RunRecord


def find_runs(runs: Path) -> tuple[list[Listed], list[str]]:
    """Find all runs in a folder, or in several as in `roots`.

    Returns:
        The runs, newest first, and a line for each run folder whose record cannot be read. Records
        share values: change none in place.
    """
    listed, broken = [], []
    for root in roots(runs):
        names = sorted(_folders(root), reverse=True)
        index = IndexCache(root / INDEX, "run.json", LAYOUT, is_shared=SHARED.__contains__)
        for name, values in index.read(names, _values).items():
            if values is not None:
                listed.append(Listed(root / name, with_live_status(RunRecord(**values))))
            elif reason := _broken(root / name):
                broken.append(f"{name}: {reason}")
    listed.sort(key=lambda run: (run.record.started, run.record.run_id), reverse=True)
    return listed, broken


def roots(runs: Path) -> list[Path]:
    """Return the folders of runs: one, or several separated as in PATH; new runs go to the first.

    Example:
        >>> import os
        >>> [path.as_posix() for path in roots(Path(os.pathsep.join(["runs", "/old", "runs"])))]
        ['runs', '/old']
    """
    names = [str(runs)] if runs.is_dir() else str(runs).split(os.pathsep)
    return list(dict.fromkeys(Path(word) for word in names if word)) or [runs]


def read_record(folder: Path) -> RunRecord:
    """Read the record of a run.

    Raises:
        RunError: It is missing, not JSON, or not the record of a run.
    """
    return RunRecord.read(folder / "run.json")


def require_trained(record: RunRecord, reason: str, hint: str = "") -> None:
    """Refuse the record of a study, a test or the like where a run that was trained is needed.

    Args:
        record: The record.
        reason: Why it does not do, to follow its kind: `which cannot be repeated as a run`.
        hint: What to do instead; by default, to repeat its command.

    Raises:
        RunError: It is not of the kind `run`.
    """
    if record.kind != "run":
        raise RunError(
            f"{record.run_id} is a {record.kind}, {reason}",
            expected="a run that was trained",
            hint=hint or "repeat the command that created it: `polymodal show` prints it",
        )


def fold_records(run: Path) -> list[RunRecord]:
    """Return the records of the folds of a run, in their order; none of a run with one fold.

    Raises:
        RunError: One cannot be read.
    """
    folders = [path.parent for path in run.glob("folds/*/run.json")]
    numbered = sorted((f for f in folders if f.name.isdecimal()), key=lambda f: int(f.name))
    return [read_record(folder) for folder in numbered]


def find_run(runs: Path, name: str) -> Path:
    """Find the folder of a run by its id, an unambiguous prefix of it, a path, or `last`.

    `last` is the run or study that was trained last; `last:test`, `last:predict` and `last:vote`
    are the newest records of that kind.

    Raises:
        RunError: There is none, or several share the prefix.
    """
    if name == LAST:
        return _last(runs)
    if name.startswith(f"{LAST}:"):
        return _newest(runs, name.removeprefix(f"{LAST}:"))
    folders = roots(runs)
    for path in (*(root / name for root in folders), Path(name)):
        if name and _is_run(path):
            return path
    ids = [root / folder for root in folders for folder in _folders(root) if _is_run(root / folder)]
    result = sorted(path for path in ids if path.name.startswith(name))
    if len(result) == 1 and name:
        return result[0]
    if result and name:
        shown = ", ".join(path.name for path in result[-5:])
        more = "" if len(result) <= 5 else f", the newest of them: {shown}"
        raise RunError(
            f"{len(result)} runs begin with {name!r}{more or ': ' + shown}",
            hint="give more of the id",
        )
    remedy = _hint(name, [path.name for path in ids])
    raise RunError(f"there is no run {name!r} in {runs}", hint=remedy)


def with_live_status(record: RunRecord) -> RunRecord:
    """Return a record with the status `killed` if its process on this host is gone."""
    if record.status == "running" and has_exited(record.host):
        return dataclasses.replace(record, status="killed")
    return record


def _folders(runs: Path) -> list[str]:
    try:
        with os.scandir(runs) as entries:
            return [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"{runs} cannot be read: {error}") from None


def _values(folder: Path) -> dict[str, Any] | None:
    try:
        return dict(vars(read_record(folder)))
    except RunError:
        return None


def _broken(folder: Path) -> str | None:
    """Return why a folder is not listed; None where nothing of a run is in it."""
    if os.path.lexists(folder / "run.json"):
        try:
            read_record(folder)
        except RunError as error:
            return error.message
    elif any((folder / name).exists() for name in PARTS):
        return "a run folder without its run.json"
    return None


def _is_run(path: Path) -> bool:
    try:
        return (path / "run.json").is_file()
    except OSError:  # such as a name that is too long
        return False


def _hint(name: str, ids: list[str]) -> str:
    if not ids:
        return "`polymodal run` makes one; --runs or POLYMODAL_RUNS names another folder"
    alike = [run_id for run_id in ids if run_id[DATE] == name[DATE]] or ids
    match = suggest(name, sorted(alike)[-NUM_COMPARED:])
    return f"did you mean {match!r}?" if match else "`polymodal runs` lists them"


def _newest(runs: Path, kind: str) -> Path:
    newest = next((run.path for run in find_runs(runs)[0] if run.record.kind == kind), None)
    if newest is None:
        kinds = sorted({run.record.kind for run in find_runs(runs)[0]})
        raise RunError(f"there is no {kind!r} in {runs}", hint=f"kinds here: {', '.join(kinds)}")
    return newest


def _last(runs: Path) -> Path:
    folder_of = {}
    for root in roots(runs):
        try:
            name = (root / LAST).read_text(encoding="utf-8").strip()
            noted = (root / LAST).stat().st_mtime_ns
        except (OSError, ValueError):
            continue
        if name and Path(name).name == name and _is_run(root / name):
            folder_of[noted] = root / name
    if folder_of:
        return folder_of[max(folder_of)]
    raise RunError(
        f"there is no last run in {runs}", hint="run one, or name a run by its id or path"
    )
