"""What a tracker is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Start:
    """What a tracker is told when a run begins.

    Args:
        run_id: The run; also its name with the tracker, so that runs are never merged.
        project: Under what the tracker files it.
        group: Runs of one experiment.
        config: The configuration, resolved and redacted.
        folder: The run folder.
    """

    run_id: str
    project: str
    group: str
    config: Mapping[str, Any]
    folder: Path


@runtime_checkable
class Tracker(Protocol):
    """Mirrors one run; any of its methods may raise, or take long, without harm to the run.

    Scores are handed over by a thread. A tracker with a true attribute `remote` is told of the
    start and the end by that thread as well, because it may wait for a network.
    """

    def start(self, start: Start) -> None:
        """Begins a run."""

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Takes the scores of one step."""

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """Ends the run, also one that failed."""


class NoTracker:
    """Mirrors nothing: the run folder has everything."""

    def start(self, start: Start) -> None:
        """Does nothing."""

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Does nothing."""

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """Does nothing."""
