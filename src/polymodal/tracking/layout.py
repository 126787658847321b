"""Where the files of a run and of its folds are."""

import json
from dataclasses import dataclass
from pathlib import Path

from polymodal.errors import CheckpointError
from polymodal.security.paths import resolve_inside

WEIGHTS = "model.safetensors"  # of a run that was pushed


@dataclass(frozen=True)
class FoldDir:
    """The folder of one fold: the run's own where there is one fold, `folds/<k>` otherwise.

    Args:
        path: The folder.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def predictions(self) -> Path:
        """Folder of the prediction tables."""
        return self.path / "predictions"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint of the last epoch."""
        return self.checkpoints / "last.ckpt"

    @property
    def best_or_last_checkpoint(self) -> Path:
        """The checkpoint to test: the best one, or the last where none is kept as the best.

        Of a folder that was pushed, its weights.

        Raises:
            CheckpointError: There is neither.
        """
        published = self.path / WEIGHTS
        best = self.checkpoints / "best.ckpt"
        for path in (self._marked_best, best, self.last_checkpoint, published):
            if path is not None and path.is_file():
                return path
        raise CheckpointError(
            f"there is no checkpoint in {self.checkpoints}",
            hint="name a run whose training has finished",
        )

    @property
    def is_done(self) -> bool:
        """Whether training has come to its end here, so that a resumed run leaves it alone."""
        return self._mark.is_file()

    def mark_done(self, epochs: int, best: Path | None = None) -> None:
        """Note that training has come to its end.

        Args:
            epochs: Number of epochs that were trained.
            best: The best checkpoint; None for `best.ckpt`, or the last where there is none.
        """
        name = best.name if best and best.parent.resolve() == self.checkpoints.resolve() else None
        text = json.dumps({"epochs": epochs, **({"best": name} if name else {})})
        self._mark.write_text(text, encoding="utf-8")

    @property
    def _marked_best(self) -> Path | None:
        """The checkpoint that the training has named as its best."""
        if not self.is_done:
            return None
        name = json.loads(self._mark.read_text(encoding="utf-8")).get("best")
        return resolve_inside(self.checkpoints, name) if name else None

    @property
    def _mark(self) -> Path:
        return self.checkpoints / "fitted.json"


def fold_dirs(run: Path, num_folds: int) -> list[FoldDir]:
    """Return the folder of each fold of a run."""
    if num_folds == 1:
        return [FoldDir(run)]
    return [FoldDir(run / "folds" / str(index)) for index in range(num_folds)]


def find_fold_dirs(run: Path) -> list[FoldDir]:
    """Return the folders of the folds that a stored run has."""
    folder = run / "folds"
    return fold_dirs(run, len(list(folder.iterdir())) if folder.is_dir() else 1)
