"""The checkpoint that a stopped run goes on from."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from polymodal.errors import ConfigError


class LastCheckpoint(Checkpoint):
    """Keeps the state of the last epoch, whether it was the best one or not.

    Lightning's own `ModelCheckpoint(save_last=True)` writes it only where a best one is written
    (2.6), so that a run that was stopped goes back to its best epoch, or to its start where none
    is kept as the best. To be listed behind the callbacks whose state it has to hold.

    Args:
        dirpath: Where `last.ckpt` goes.
        every_n_epochs: How many epochs lie between two of them; the last epoch's is always written.

    Raises:
        ConfigError: `every_n_epochs` is less than 1.

    Example:
        >>> LastCheckpoint("checkpoints", every_n_epochs=5).path.as_posix()
        'checkpoints/last.ckpt'
    """

    def __init__(self, dirpath: str | Path, every_n_epochs: int = 1) -> None:
        if every_n_epochs < 1:
            raise ConfigError(f"every_n_epochs={every_n_epochs}", expected="1 or more")
        self.path = Path(dirpath) / "last.ckpt"
        self.every_n_epochs = every_n_epochs
        self._saved_step = -1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the state, where this epoch is one of those that are kept."""
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the state of an epoch that was not kept."""
        if self._saved_step != trainer.global_step:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if not getattr(trainer, "fast_dev_run", False):
            trainer.save_checkpoint(self.path)
            self._saved_step = trainer.global_step
