"""trackio: a local tracker with a page of live curves."""

import contextlib
import io
import os
from collections.abc import Mapping
from typing import Any

from polymodal.errors import MissingExtraError
from polymodal.record.trackers.base import Start


class TrackioTracker:
    """Mirrors a run to trackio's database beside the run folders; nothing leaves the machine."""

    def __init__(self) -> None:
        self.run: Any = None

    def start(self, start: Start) -> None:
        """Begins a run.

        Args:
            start: What the tracker is told.

        Raises:
            MissingExtraError: trackio is not installed.
        """
        # trackio reads this when it is imported; set later, it would write into the home folder.
        os.environ.setdefault("TRACKIO_DIR", str(start.folder.parent.resolve() / ".trackio"))
        try:
            import trackio
        except ImportError:
            raise MissingExtraError("trackio", "trackio") from None
        with _quiet():
            self.run = trackio.init(
                project=start.project,
                name=start.run_id,
                group=start.group,
                config=dict(start.config),
                embed=False,
            )

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Queues the scores of one step.

        Args:
            scores: Name to value.
            step: Number of the optimiser step.
        """
        self.run.log(dict(scores), step=step)

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """Ends the run.

        Args:
            status: How it ended.
            scores: The scores it ended with.
        """
        with _quiet():
            if scores:
                self.run.log(dict(scores))
            import trackio

            trackio.finish()  # type: ignore[no-untyped-call]
            # its run.finish() alone would be called again at exit, aloud


def _quiet() -> contextlib.AbstractContextManager[Any]:
    return contextlib.redirect_stdout(io.StringIO())
