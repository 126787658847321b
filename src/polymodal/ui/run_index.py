"""Index the runs of several folders, and tell a page what has changed since it last asked."""

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.errors import DataError, RunError
from polymodal.schemas.run_record import RunRecord
from polymodal.security.paths import resolve_inside
from polymodal.tracking.index import PARTS, find_runs, read_record, with_live_status
from polymodal.ui.metrics import last_values
from polymodal.ui.responses import to_json

Signature = tuple[int, int, int]  # of run.json: time of its last change in ns, size, file number

NO_RECORD: Signature = (0, 0, 0)
RESCAN_FACTOR = 10.0  # between two looks at the folders: that many times as long as a look takes
MIN_RESCAN_S = 0.5
MAX_TEXT = 300  # of a cell
MAX_SCORES = 200  # of a row
MAX_WATCHED = 50  # runs that go on and whose journals are read for the table


@dataclass
class Run:
    """One run as the page knows it."""

    root: int  # number of its folder of runs
    folder: str  # name of its own folder
    record: RunRecord  # its record
    signature: Signature  # of its `run.json`
    version: int = 0  # version of the index when the run last changed
    # last values of its metrics log, while it is running
    values: dict[str, float] = field(default_factory=dict)
    written: int = -1  # size of that log in bytes

    @property
    def key(self) -> str:
        """Its id on the page."""
        return f"{self.root}/{self.folder}"

    def row(self) -> dict[str, Any]:
        """Return its line of the table, without what is None."""
        record = self.record
        texts = ("name", "experiment", "kind", "status", "parent", "started", "error")
        row: dict[str, Any] = {name: _short(getattr(record, name)) for name in texts}
        row |= {"key": self.key, "run": _short(record.run_id)}
        row |= {"seed": record.seed, "duration_s": record.duration_s}
        row |= {"scores": dict(list(record.scores.items())[:MAX_SCORES])}
        if self.values:
            row |= {"values": dict(list(self.values.items())[:MAX_SCORES])}
        return {name: value for name, value in row.items() if value is not None}


class RunIndex:
    """The runs below some folders; one that does not exist yet is empty.

    Raises:
        RunError: A folder cannot be read.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = list(roots)
        self.instance = os.urandom(6).hex()
        self.version = 0
        self.runs: dict[str, Run] = {}
        self.broken: dict[str, tuple[Signature, str]] = {}
        self.gone: dict[str, int] = {}
        self.higher_is_better: dict[str, bool] = {}  # name of a score, without its split
        self._lock = threading.Lock()
        self._rested = 0.0
        self._lines: dict[str, tuple[int, str]] = {}
        for root in range(len(self.roots)):
            self._first_look(root)
        self._watch(self.version)

    def find(self, key: str) -> Run:
        """Return a run by its `Run.key`.

        Raises:
            RunError: It is not listed.
        """
        try:
            return self.runs[key]
        except KeyError:
            raise RunError(f"there is no run {key!r} here (any more)") from None

    def folder(self, run: Run) -> Path:
        """Return the folder of a run."""
        return self.roots[run.root] / run.folder

    def file(self, run: Run, relative: str) -> Path:
        """Return a file of a run by its path below the run's folder.

        Raises:
            DataError: It is, or a link points, outside of that folder.
        """
        return resolve_inside(self.folder(run), relative)

    def changes_since(self, version: int, instance: str, most: int = 0) -> str:
        """Return what has changed as JSON.

        Args:
            version: What the page knows; 0 for nothing.
            instance: The index that told it so.
            most: Maximum number of rows, so that a page has something to show soon; 0 for all.

        Returns:
            The new version, changed rows (newest first) and how many were left out, keys that are
            gone, and run folders that cannot be read.
        """
        if not most:  # the first rows come as they are known: nobody waits for a look
            self.rescan()
        with self._lock:
            is_complete = instance != self.instance or version > self.version
            changed = [run for run in self.runs.values() if is_complete or run.version > version]
            shown = newest_first(changed)[: most or None]
            rows = ",".join(map(self._line, shown))
            gone = [] if is_complete else [key for key, at in self.gone.items() if at > version]
            head = {
                "version": self.version,
                "instance": self.instance,
                "whole": is_complete,
                "gone": gone,
                "total": len(self.runs),
                "rest": len(changed) - len(shown),
                "higher_is_better": self.higher_is_better,
                "broken": [message for _, message in self.broken.values()],
            }
        return f'{to_json(head)[:-1]}, "rows": [{rows}]}}'

    def rescan(self) -> None:
        """Look for runs that are new, changed or gone, unless that was done a moment ago."""
        with self._lock:
            began = time.monotonic()
            if began < self._rested:
                return
            version = self.version + 1
            changed = [self._look(root, version) for root in range(len(self.roots))]
            if self._watch(version) or any(changed):
                self.version = version
            took = time.monotonic() - began
            self._rested = time.monotonic() + max(MIN_RESCAN_S, RESCAN_FACTOR * took)

    def _first_look(self, root: int) -> None:
        """Take the records from the index of runs, which is faster than the folders."""
        result = dict(_signatures(self.roots[root]))
        record_of = {run.path.name: run.record for run in find_runs(self.roots[root])[0]}
        version = self.version = 1
        for folder, signature in result.items():
            if folder in record_of:
                run = Run(root, folder, record_of[folder], signature, version)
                self.runs[run.key] = run
                self.higher_is_better |= run.record.higher_is_better
            else:
                self._read(root, folder, signature, version)

    def _look(self, root: int, version: int) -> bool:
        result = dict(_signatures(self.roots[root]))
        changed = False
        for folder, signature in result.items():
            key = f"{root}/{folder}"
            run = self.runs.get(key)
            previous = run.signature if run is not None else self.broken.get(key, (None, ""))[0]
            if previous != signature:
                changed |= self._read(root, folder, signature, version)
        for key in [*self.runs, *self.broken]:
            root_of_run, _, folder = key.partition("/")
            if int(root_of_run) != root or folder in result:
                continue
            self.runs.pop(key, None)
            self.broken.pop(key, None)
            self._lines.pop(key, None)
            self.gone[key] = version
            changed = True
        return changed

    def _read(self, root: int, folder: str, signature: Signature, version: int) -> bool:
        key = f"{root}/{folder}"
        try:
            if signature == NO_RECORD:
                raise RunError(f"{folder}: a run folder without its run.json")
            record = with_live_status(read_record(self.roots[root] / folder))
        except RunError as error:
            previous = self.broken.get(key)
            self.broken[key] = (signature, error.message)
            if self.runs.pop(key, None) is not None:
                self.gone[key] = version
            return previous is None or previous[1] != error.message
        self.broken.pop(key, None)
        self.gone.pop(key, None)
        self.runs[key] = Run(root, folder, record, signature, version)
        self.higher_is_better |= record.higher_is_better
        return True

    def _watch(self, version: int) -> bool:
        """Update the running runs: whether their process lives, and their last values."""
        on = [run for run in self.runs.values() if run.record.status == "running"]
        changed = False
        for run in newest_first(on)[:MAX_WATCHED]:
            record = with_live_status(run.record)
            try:
                size, values = last_values(self.file(run, "metrics.jsonl"), run.written)
            except DataError:  # a link that leads out of the folder
                size, values = run.written, None
            if record is not run.record or values is not None:
                run.record, run.written, run.version = record, size, version
                run.values = {**run.values, **(values or {})}
                changed = True
        return changed

    def _line(self, run: Run) -> str:
        """Return the row of a run as JSON, cached."""
        if self._lines.get(run.key, (-1, ""))[0] != run.version:
            self._lines[run.key] = run.version, to_json(run.row())
        return self._lines[run.key][1]


def _signatures(root: Path) -> Iterator[tuple[str, Signature]]:
    """Yield run folders, complete or not; names that are not Unicode cannot be requested."""
    try:
        names = os.listdir(root)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise RunError(f"{root} cannot be read: {error}") from None
    for name in names:
        if name.startswith(".") or any("\ud800" <= letter <= "\udfff" for letter in name):
            continue
        try:
            result = os.stat(f"{root}/{name}/run.json")
        except OSError:
            if any(os.path.lexists(f"{root}/{name}/{file}") for file in PARTS):
                yield name, NO_RECORD
            continue
        yield name, (result.st_mtime_ns, result.st_size, result.st_ino)


def newest_first(runs: Iterable[Run]) -> list[Run]:
    """Sort runs from newest to oldest."""
    return sorted(runs, key=lambda run: (run.record.started, run.folder), reverse=True)


def _short(text: Any) -> Any:
    return text[:MAX_TEXT] if isinstance(text, str) else text
