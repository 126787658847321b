"""Write what Lightning logs to the record of a run."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only


@runtime_checkable
class Writer(Protocol):
    """The interface of a record."""

    def log(
        self,
        scores: Mapping[str, float],
        step: int,
        epoch: int | None = None,
        fold: int | None = None,
    ) -> None:
        """Write the scores of one step."""


class RecordLogger(Logger):
    """A Lightning logger over a writer; `fold` is None without folds."""

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
        """Write the scores of one optimiser step; Lightning adds `epoch` to them."""
        scores = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        epoch = metrics.get("epoch")
        self.writer.log(scores, step or 0, None if epoch is None else int(epoch), self.fold)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run directory has the complete config."""
