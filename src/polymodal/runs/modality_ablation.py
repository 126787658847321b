"""Predictions of a trained model from subsets of its modalities."""

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from polymodal.schemas.batch import Batch
from polymodal.schemas.predictions import concatenate
from polymodal.training.module import TrainingModule
from polymodal.training.prediction_writer import PredictionCollector


def modality_subsets(modalities: Iterable[str]) -> list[tuple[str, ...]]:
    """Return every non-empty proper subset of modalities: singles first, then pairs, and so on.

    The names are in alphabetical order; one modality has no proper subset.

    Example:
        >>> modality_subsets(["text", "speech", "signals"])[2:4]
        [('text',), ('signals', 'speech')]
    """
    names = sorted(modalities)
    return [
        combination for size in range(1, len(names)) for combination in combinations(names, size)
    ]


def subset_split(split: str, modalities: Iterable[str]) -> str:
    """Return the name of a split that is predicted from some modalities only.

    It is the `split` of the rows, and the prefix of their scores.

    Example:
        >>> subset_split("test", ["speech", "text"])
        'test@speech+text'
    """
    return f"{split}@{'+'.join(sorted(modalities))}"


def subsets_file(folder: Path, split: str) -> Path:
    """Return the path of the predictions from subsets in the folder of prediction tables."""
    return folder / f"{split}@subsets.parquet"


def predict_subsets(
    trainer: pl.Trainer,
    module: TrainingModule,
    loader: DataLoader[Any] | None,
    split: str,
    folder: Path,
) -> None:
    """Write the predictions of a split from every proper subset of the modalities.

    All are in one table, `<split>@subsets.parquet`, whose column `split` names the subset, as
    `subset_split` does. Utterances without any of a subset's modalities are left out there. Every
    batch is encoded once.

    Args:
        trainer: The trainer.
        module: The trained module; modalities that it withholds stay absent.
        loader: The batches of the split, or None if it is empty.
        split: Name of the split.
        folder: Folder of the prediction tables.
    """
    if loader is not None and modality_subsets(module.encoders):
        trainer.test(_Subsets(module, split, folder), loader, verbose=False)


class _Subsets(pl.LightningModule):
    """Apply a module to its subsets: the encoders once, the model once per subset."""

    def __init__(self, module: TrainingModule, split: str, folder: Path) -> None:
        super().__init__()
        self.module, self.split, self.folder = module, split, folder
        self.collectors = {
            subset: PredictionCollector() for subset in modality_subsets(module.encoders)
        }

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch as the module does."""
        return self.module.transfer_batch_to_device(batch, device, dataloader_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the logits of every subset for the utterances that have any of its modalities."""
        encoded = self.module.encode(batch)
        for subset, collector in self.collectors.items():
            present = torch.stack([encoded[name].present for name in subset]).any(dim=0)
            logits = self.module.fuse(encoded, withheld=encoded.keys() - set(subset))
            collector.add(_rows(batch, present), logits[present])

    def on_test_epoch_end(self) -> None:
        """Write the table from the process of rank zero."""
        gathered = [(subset, collector.gather()) for subset, collector in self.collectors.items()]
        tables = [
            self.module.table(outputs, subset_split(self.split, subset))
            for subset, outputs in gathered
            if outputs is not None
        ]
        if tables and self.trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            concatenate(tables).write(subsets_file(self.folder, self.split))


def _rows(batch: Batch, chosen: torch.Tensor) -> Batch:
    ids = [
        name
        for name, is_chosen in zip(batch.utterance_ids, chosen.tolist(), strict=True)
        if is_chosen
    ]
    return Batch({}, tuple(ids), batch.targets[chosen])
