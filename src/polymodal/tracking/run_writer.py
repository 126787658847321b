"""What training logs to: the journal first, then the mirror."""

from collections.abc import Mapping

from polymodal.tracking.alerts import Alerts
from polymodal.tracking.metrics_log import MetricsLog, of_fold
from polymodal.tracking.trackers.background import BackgroundTracker, TrackerGroup


class RunWriter:
    """Writes scores to the journal of a run and mirrors them to its trackers.

    Args:
        journal: The journal.
        mirror: The tracker or trackers, which may fail without harm.
        alerts: Who is told of a score; None for nobody.
    """

    def __init__(
        self,
        journal: MetricsLog,
        mirror: BackgroundTracker | TrackerGroup,
        alerts: Alerts | None = None,
    ) -> None:
        self.journal, self.mirror, self.alerts = journal, mirror, alerts

    def log(
        self,
        scores: Mapping[str, float],
        step: int,
        epoch: int | None = None,
        fold: int | None = None,
    ) -> None:
        """Write the scores of one step."""
        self.journal.log(scores, step=step, epoch=epoch, fold=fold)
        if self.alerts is not None:
            self.alerts.check(scores)
        self.mirror.log(of_fold(scores, fold), step)

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()


class NullWriter:
    """What every rank but zero logs to."""

    def log(
        self,
        scores: Mapping[str, float],
        step: int,
        epoch: int | None = None,
        fold: int | None = None,
    ) -> None:
        """Drops the scores: rank zero writes them."""
