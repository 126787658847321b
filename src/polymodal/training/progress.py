"""Show the progress of a run: a bar on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

SHOWN = ("train/loss", "val/loss")
LINE_EVERY_S, DRAWN_EVERY_S = 5.0, 0.1


class Display(AbstractContextManager["Display"]):
    """One line of progress for a whole run: its stage, and the time that is left of this stage.

    Args:
        console: Where to write; standard error by default.
        line_every_s: Seconds between plain lines, without a terminal.
    """

    def __init__(
        self, console: Console | None = None, *, line_every_s: float = LINE_EVERY_S
    ) -> None:
        self.console, self.line_every_s = console or Console(stderr=True), line_every_s
        self.stage, self.stage_start = "", (0.0, 0.0)  # its name; time and fraction at its start
        self.last_shown = -math.inf
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            left = TextColumn("{task.fields[left]}")
            self.bar = Progress(*columns, left, console=self.console, transient=True)
            self.task = self.bar.add_task("starting", total=1.0, left="")

    def __enter__(self) -> "Display":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    @property
    def due(self) -> bool:
        """Whether enough time has passed to show progress again."""
        every_s = DRAWN_EVERY_S if self.bar else self.line_every_s
        return time.monotonic() - self.last_shown > every_s

    def show(self, stage: str, details: str, fraction: float, *, important: bool = False) -> None:
        """Show the progress, if it is `due` or important.

        Args:
            stage: What is being done, such as `fit`; the time left is that of the stage.
            details: Fold, epoch, scores.
            fraction: Fraction of the stage that is done.
            important: Whether to show it even if it is not due.
        """
        if stage != self.stage:
            self.stage, self.stage_start = stage, (time.monotonic(), fraction)
        if not (important or self.due):
            return
        self.last_shown = time.monotonic()
        left, description = self._left(fraction), f"{stage} · {details}"
        if self.bar and self.task is not None:
            self.bar.update(self.task, description=description, completed=fraction, left=left)
        else:
            line = f"{description} · {fraction:.0%}, {left}".removesuffix(", ")
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def print_line(self, message: str) -> None:
        """Print a message such as a warning."""
        self.console.print(message, highlight=False, soft_wrap=True, markup=False)

    def _left(self, fraction: float) -> str:
        start_s, start_fraction = self.stage_start
        done = fraction - start_fraction
        if done < 0.02 or fraction >= 1:
            return ""
        seconds = (time.monotonic() - start_s) * (1 - fraction) / done
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"

    def __getstate__(self) -> dict[str, Any]:
        return {}  # spawned processes show nothing

    def __setstate__(self, _: dict[str, Any]) -> None:
        self.__init__(Console(quiet=True))  # type: ignore[misc]


class ProgressCallback(pl.Callback):
    """Report the steps of one fold (counted from 0) to the display of the run."""

    def __init__(self, display: Display, fold: int = 0, num_folds: int = 1) -> None:
        self.display, self.fold, self.num_folds = display, fold, num_folds

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any
    ) -> None:
        """Show the progress within an epoch, when it is due."""
        if not self.display.due:
            return
        done = (trainer.fit_loop.batch_idx + 1) / max(1, trainer.num_training_batches)
        self._show(trainer, trainer.current_epoch + done, important=False)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Show the progress of a long validation, when it is due."""
        if not trainer.sanity_checking:
            self._show_batches("validate", trainer, trainer.num_val_batches, *args, **kwargs)

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Show the progress of a long test, when it is due."""
        self._show_batches("test", trainer, trainer.num_test_batches, *args, **kwargs)

    def _show_batches(
        self,
        stage: str,
        trainer: pl.Trainer,
        num_batches: Sequence[float],
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.is_global_zero and self.display.due:
            done, total = batch_idx + 1, max(1, sum(num_batches))
            self.display.show(stage, f"{self._fold}batch {done}/{total:g}", done / total)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the scores of the epoch."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if last or self.display.due:
            self._show(trainer, trainer.current_epoch + 1, important=last)

    def _show(self, trainer: pl.Trainer, epochs: float, *, important: bool) -> None:
        if not trainer.is_global_zero:
            return
        total = max(1, trainer.max_epochs or 1)
        latest = getattr(trainer.lightning_module, "latest", {})
        scores = {**trainer.callback_metrics, **latest}
        task = getattr(trainer.lightning_module, "task", None)
        names = [*SHOWN, f"val/{task.monitor}"] if task else SHOWN
        shown = " ".join(f"{name} {float(scores[name]):.3f}" for name in names if name in scores)
        details = f"{self._fold}epoch {trainer.current_epoch + 1}/{total}"
        fraction = (self.fold + epochs / total) / self.num_folds
        self.display.show(
            "fit",
            " · ".join([details, shown] if shown else [details]),
            min(fraction, 1.0),
            important=important,
        )

    @property
    def _fold(self) -> str:
        return f"fold {self.fold + 1}/{self.num_folds} · " if self.num_folds > 1 else ""
