"""Hands what Lightning logs to the writer of the run's record."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only


@runtime_checkable
class Writer(Protocol):
    """What the adapter needs of a record."""

    def log(
        self,
        scores: Mapping[str, float],
        step: int,
        epoch: int | None = None,
        fold: int | None = None,
    ) -> None:
        """Writes the scores of one step."""


class RecordLogger(Logger):
    """A Lightning logger over a writer, so that training knows nothing of files and trackers.

    Args:
        writer: Where the scores go.
        fold: Number of the fold, or None without folds.
    """

    def __init__(self, writer: Writer, fold: int | None = None) -> None:
        super().__init__()
        self.writer, self.fold = writer, fold

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "record"

    @property
    def version(self) -> str:
        """Version of the logger."""
        return "0"

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Writes the scores of one step.

        Args:
            metrics: Name to value; Lightning adds `epoch`.
            step: Number of the optimiser step.
        """
        scores = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        epoch = metrics.get("epoch")
        self.writer.log(scores, step or 0, None if epoch is None else int(epoch), self.fold)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the run folder has the whole config."""
