"""trackio: a local tracker with a page of live curves."""

import contextlib
import io
import os
from collections.abc import Generator, Mapping
from typing import Any

from polymodal.errors import MissingExtraError
from polymodal.record.trackers.base import Start

ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID")


class TrackioTracker:
    """Mirrors a run to trackio's database beside the run folders; nothing leaves the machine.

    The database is in `.trackio` below the folder of runs, or where TRACKIO_DIR says. One process
    has one such place: trackio reads it once, when it is imported.
    """

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
        with _quiet(), _local():
            self.run = trackio.init(
                project=start.project,
                name=start.run_id,
                group=start.group,
                config=dict(start.config),
                resume="allow",  # a run that is continued stays one run; our ids are never reused
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
        if self.run is None:
            return
        import trackio

        run, self.run = self.run, None
        with _quiet():
            if scores:
                run.log(dict(scores))
            # Its run.finish() alone would be called again at exit, aloud.
            trackio.finish()  # type: ignore[no-untyped-call]


def _quiet() -> contextlib.AbstractContextManager[Any]:
    return contextlib.redirect_stdout(io.StringIO())


@contextlib.contextmanager
def _local() -> Generator[None]:
    """Without the variables that would have trackio send the run to a server."""
    kept = {name: os.environ.pop(name) for name in ELSEWHERE if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
