"""Write scores to the metrics log first, then to the trackers."""

from collections.abc import Mapping

from polymodal.tracking.alerts import Alerts
from polymodal.tracking.metrics_log import MetricsLog, of_fold
from polymodal.tracking.trackers.background import BackgroundTracker, TrackerGroup


class RunWriter:
    """Write scores to the metrics log of a run, and copy them to its trackers.

    Args:
        journal: The metrics log.
        mirror: The trackers, which may fail without harm.
        alerts: Sends a message when a score reaches its bound; None for no alerts.
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
        """Close the metrics log."""
        self.journal.close()


class NullWriter:
    """Drop scores: used by every rank but zero."""

    def log(
        self,
        scores: Mapping[str, float],
        step: int,
        epoch: int | None = None,
        fold: int | None = None,
    ) -> None:
        """Do nothing."""
