"""The checkpoint that a stopped run resumes from."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from polymodal.errors import ConfigError


class LastCheckpoint(Checkpoint):
    """Save the state of the last epoch, whether it is the best one or not.

    Lightning's `ModelCheckpoint(save_last=True)` writes it only where a best one is written (2.6),
    so that a stopped run would go back to its best epoch, or to its start without one. List it
    after the callbacks whose state it has to save.

    Args:
        dirpath: Directory of `last.ckpt`.
        every_n_epochs: Epochs between two checkpoints; the last epoch is always saved.

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
        """Save the state every `every_n_epochs` epochs."""
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the state of the last epoch, if it is not saved yet."""
        if self._saved_step != trainer.global_step:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if not getattr(trainer, "fast_dev_run", False):
            trainer.save_checkpoint(self.path)
            self._saved_step = trainer.global_step
