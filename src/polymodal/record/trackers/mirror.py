"""Keeps a tracker's faults away from the run."""

import contextlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from polymodal.record.trackers.base import Start, Tracker


class Mirror:
    """A tracker that is given up at its first error, with one warning.

    Args:
        tracker: The tracker.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker: Tracker | None = tracker

    def start(self, start: Start) -> None:
        """Begins a run.

        Args:
            start: What the tracker is told.
        """
        self._try(lambda tracker: tracker.start(start))

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Passes the scores of one step on.

        Args:
            scores: Name to value.
            step: Number of the optimiser step.
        """
        self._try(lambda tracker: tracker.log(scores, step))

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """Ends the run; a second call does nothing.

        Args:
            status: How it ended.
            scores: The scores it ended with.
        """
        self._try(lambda tracker: tracker.finish(status, scores))
        self.tracker = None

    def _try(self, act: Callable[[Tracker], None]) -> None:
        if self.tracker is None:
            return
        try:
            act(self.tracker)
        except (Exception, SystemExit) as error:  # a mirror must never stop a run
            given_up, self.tracker = self.tracker, None
            _warn(given_up, error)
            with contextlib.suppress(Exception, SystemExit):
                given_up.finish("failed", {})  # its threads and files must not outlive it

    def __getstate__(self) -> dict[str, Any]:
        return {"tracker": None}  # the mirror stays with the process that began the run


def _warn(tracker: Tracker, error: BaseException) -> None:
    why = "; ".join(line.strip() for line in f"{type(error).__name__}: {error}".splitlines())
    with contextlib.suppress(Warning):  # python -W error would stop the run
        warnings.warn(
            f"{type(tracker).__name__} failed and is left out from here on ({why}); "
            "the run folder has everything",
            stacklevel=4,
        )
