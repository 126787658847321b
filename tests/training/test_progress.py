"""Where a run stands is said as often as somebody can see it, and costs nothing in between."""

import io
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
from rich.console import Console

from polymodal.training import progress
from polymodal.training.progress import Display, ProgressCallback


class Module(pl.LightningModule):
    latest = {"train/loss": 0.25}  # noqa: RUF012


class Trainer(pl.Trainer):
    """Stands in the first epoch of two; counts how often it is asked for scores."""

    is_global_zero, num_training_batches, current_epoch, max_epochs = True, 10, 0, 2
    sanity_checking, num_val_batches, num_test_batches = False, (4,), (4,)
    lightning_module = Module()
    fit_loop = SimpleNamespace(batch_idx=4)
    asked = 0

    def __init__(self):
        pass

    @property
    def callback_metrics(self):
        self.asked += 1
        return {"train/loss": 0.5, "val/loss": 0.75}


@pytest.mark.parametrize("terminal", [True, False])
def test_steps_are_shown_when_it_is_time(monkeypatch, terminal):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
    trainer, callback = Trainer(), ProgressCallback(Display(console, line_every_s=5))
    for _ in range(3):
        callback.on_train_batch_end(trainer, trainer.lightning_module)
    assert trainer.asked == 1
    now[0] += 0.2 if terminal else 5.1
    callback.on_train_batch_end(trainer, trainer.lightning_module)
    assert trainer.asked == 2
    trainer.current_epoch = 1
    callback.on_train_epoch_end(trainer, trainer.lightning_module)  # the last one is always said
    assert trainer.asked == 3


def test_the_latest_loss_of_the_epoch_is_shown():
    console = Console(file=io.StringIO(), width=200)
    trainer = Trainer()
    callback = ProgressCallback(Display(console))
    callback.on_train_batch_end(trainer, trainer.lightning_module)
    shown = "fit · epoch 1/2 · train/loss 0.250 val/loss 0.750 · 25%"
    assert console.file.getvalue().startswith(shown)


def test_the_time_left_is_that_of_the_stage(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=200)
    display = Display(console)
    display.show("extract", "speech", 0.0)
    now[0] += 300  # of which nothing is left
    display.show("fit", "epoch 1/4", 0.0, important=True)
    now[0] += 10
    display.show("fit", "epoch 2/4", 0.25, important=True)
    now[0] += 30
    display.show("fit", "epoch 4/4", 1.0, important=True)
    assert console.file.getvalue().splitlines()[2:] == [
        "fit · epoch 2/4 · 25%, 0:30 left",
        "fit · epoch 4/4 · 100%",
    ]


@pytest.mark.parametrize("stage", ["validation", "test"])
def test_a_long_validation_and_a_long_test_are_shown(stage):
    console = Console(file=io.StringIO(), width=200)
    trainer = Trainer()
    callback = ProgressCallback(Display(console), 1, 3)
    getattr(callback, f"on_{stage}_batch_end")(trainer, trainer.lightning_module, None, None, 1)
    word = stage.replace("validation", "validate")
    assert console.file.getvalue() == f"{word} · fold 2/3 · batch 2/4 · 50%\n"
