"""trackio: a local tracker with a page of live curves."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from polymodal.errors import MissingExtraError
from polymodal.tracking.run_folder import slug
from polymodal.tracking.trackers.base import Start


class TrackioTracker:
    """Copy a run to trackio's database beside the run folders; nothing leaves the machine.

    The database is in `.trackio` below the folder of runs, or where TRACKIO_DIR says, which trackio
    reads once a process, when it is imported.

    Lines are written as trackio's own importers do, rather than through its logging thread, which
    drops lines that it cannot write. Each has an id, so that none is there twice. The storage class
    is not part of trackio's public interface, so pyproject.toml pins the minor version, and a test
    compares the arguments that are used here.
    """

    def __init__(self) -> None:
        self.storage: Any = None
        self.lines: list[tuple[dict[str, float], int]] = []

    def start(self, start: Start) -> None:
        """Start a run.

        Raises:
            MissingExtraError: trackio is not installed.
        """
        # trackio reads this when it is imported; set later, it would write into the home folder.
        os.environ.setdefault("TRACKIO_DIR", str(start.folder.parent.resolve() / ".trackio"))
        try:
            from trackio.sqlite_storage import SQLiteStorage
        except ImportError:
            raise MissingExtraError("trackio", "trackio") from None
        self.run_id, self.name, self.project = start.run_id, start.title, slug(start.project)
        self.number, self.last_step = start.num_told, 0
        config = {name.lstrip("_"): value for name, value in start.config.items()}
        created = {"_Created": datetime.now(UTC).isoformat(), "_Username": None}
        self.config = json.loads(
            json.dumps({**config, **created, "_Group": start.group}, default=str)
        )
        self.storage = SQLiteStorage
        self.storage.init_db(self.project)

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Gather the scores of one step."""
        self.lines.append((dict(scores), step))

    def flush(self) -> None:
        """Write what has gathered, in one transaction."""
        if self.lines:
            numbers = range(self.number, self.number + len(self.lines))
            self._write(self.lines, [f"{self.run_id}:{number}" for number in numbers])
            self.number, self.last_step, self.lines = numbers.stop, self.lines[-1][1], []

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """End the run."""
        if self.storage is not None:
            self.flush()
            if scores:
                end = f"{self.run_id}:end:{self.number}"
                self._write([(dict(scores), self.last_step + 1)], [end])
            self.storage = None

    def _write(self, lines: list[tuple[dict[str, float], int]], ids: list[str]) -> None:
        self.storage.bulk_log(
            self.project,
            self.name,
            [scores for scores, _ in lines],
            [step for _, step in lines],
            config=self.config,
            log_ids=ids,
            run_id=self.run_id,
        )
        self.config = None
