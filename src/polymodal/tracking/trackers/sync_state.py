"""Progress of a run's trackers, kept in the run folder."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.security.files import atomic_write_text
from polymodal.tracking.redaction import redact_text
from polymodal.tracking.run_folder import slug
from polymodal.tracking.trackers.base import BESIDE, Tracker


@dataclass
class SyncState:
    """Progress of one tracker with one run, in one of the places where it keeps runs."""

    path: Path  # the file
    location: str  # where the tracker keeps runs
    lines: int = 0  # lines of the metrics log that it has taken
    status: str | None = None  # the end that it has got; None before

    @classmethod
    def read(cls, folder: Path, name: str, tracker: Tracker) -> "SyncState":
        """Read the progress of a tracker; nothing without a valid file."""
        location = redact_text(str(getattr(tracker, "place", ""))) or name
        note = cls(folder / BESIDE / f"{slug(name)}.json", location)
        with contextlib.suppress(KeyError, TypeError, ValueError):
            held = note._all()[location]
            note.lines, note.status = int(held["lines"]), held["status"]
        return note

    def write(self, lines: int, status: str | None = None) -> None:
        """Record the progress.

        Raises:
            OSError: It cannot be written.
        """
        if (lines, status) != (self.lines, self.status):
            self.lines, self.status = lines, status
            states = {**self._all(), self.location: {"lines": lines, "status": status}}
            self.path.parent.mkdir(exist_ok=True)
            atomic_write_text(self.path, json.dumps(states, indent=1) + "\n")

    def _all(self) -> dict[str, Any]:
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}
