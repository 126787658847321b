"""The last epoch is always there to go on from, whether it was the best one or not."""

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from polymodal.errors import ConfigError
from polymodal.training.last_checkpoint import LastCheckpoint


class Worse(LightningModule):
    """A model whose score falls from the first epoch on."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).sum()

    def validation_step(self, batch, batch_idx):
        self.log("val/uar", 1.0 / (1 + self.current_epoch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Seen(Callback):
    """Notes which epoch `last.ckpt` holds at the start of each epoch."""

    def __init__(self, path):
        self.path, self.epochs = path, []

    def on_train_epoch_start(self, trainer, pl_module):
        self.epochs.append(epoch_of(self.path) if self.path.is_file() else None)


def epoch_of(path):
    return torch.load(path, weights_only=True)["epoch"]


def fit(folder, *callbacks, epochs=4, **options):
    seen = Seen(folder / "last.ckpt")
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[*callbacks, seen],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    data = DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2)
    trainer.fit(Worse(), data, data)
    return seen.epochs


def best(folder, **options):
    return ModelCheckpoint(
        folder, "best", "val/uar", mode="max", save_on_train_epoch_end=True, **options
    )


def test_every_epoch_is_kept_though_only_the_first_was_best(tmp_path):
    assert fit(tmp_path, best(tmp_path), LastCheckpoint(tmp_path)) == [None, 0, 1, 2]
    assert epoch_of(tmp_path / "last.ckpt") == 3
    assert epoch_of(tmp_path / "best.ckpt") == 0
    held = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
    (state,) = [state for key, state in held.items() if key.startswith("ModelCheckpoint")]
    assert state["best_model_score"] == 1, "the best score so far goes with it"


def test_lightning_keeps_the_last_only_beside_a_best_one(tmp_path):
    """Why there is a callback of our own: when this fails, it can go."""
    assert fit(tmp_path, best(tmp_path, save_last=True))[:3] == [None, 0, 0]


def test_some_epochs_and_the_last_one_are_kept(tmp_path):
    epochs = fit(tmp_path, LastCheckpoint(tmp_path, every_n_epochs=2), epochs=5)
    assert epochs == [None, None, 1, 1, 3]
    assert epoch_of(tmp_path / "last.ckpt") == 5, "all five are behind it"


def test_a_trial_of_the_code_keeps_nothing(tmp_path):
    fit(tmp_path, LastCheckpoint(tmp_path), fast_dev_run=True)
    assert not list(tmp_path.glob("*.ckpt"))


def test_no_epoch_at_all_is_refused():
    with pytest.raises(ConfigError, match="every_n_epochs=0"):
        LastCheckpoint("x", every_n_epochs=0)
