"""What one trained model says where only some of its modalities are given."""

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
    """Return every choice of modalities but none and all: singles first, then pairs, and so on.

    Returns:
        Names in alphabetical order, whatever order they were given in; none for one modality.

    Example:
        >>> modality_subsets(["text", "speech", "signals"])[2:4]
        [('text',), ('signals', 'speech')]
    """
    names = sorted(modalities)
    return [
        combination for size in range(1, len(names)) for combination in combinations(names, size)
    ]


def subset_split(part: str, modalities: Iterable[str]) -> str:
    """Return the name of a part of the data of which only some modalities are given.

    Args:
        part: Such as `test`.
        modalities: Those that are given.

    Returns:
        The `split` of the rows, and so what their scores begin with.

    Example:
        >>> subset_split("test", ["speech", "text"])
        'test@speech+text'
    """
    return f"{part}@{'+'.join(sorted(modalities))}"


def subsets_file(folder: Path, part: str) -> Path:
    """Return where the predictions from subsets of a part are.

    Args:
        folder: Folder of the prediction tables.
        part: Such as `test`.
    """
    return folder / f"{part}@subsets.parquet"


def predict_subsets(
    trainer: pl.Trainer,
    module: TrainingModule,
    loader: DataLoader[Any] | None,
    part: str,
    folder: Path,
) -> None:
    """Write what the module says of a part from every proper subset of its modalities.

    One table, `<part>@subsets.parquet`, holds all of them; its column `split` tells the subset, as
    `subset_split` names it. An utterance that has none of a subset's modalities is left out there.
    Every batch is encoded once.

    Args:
        trainer: The trainer.
        module: The trained module; what it withholds already stays absent.
        loader: The part, or None if it is empty.
        part: Name of the part.
        folder: Folder of the prediction tables.
    """
    if loader is not None and modality_subsets(module.encoders):
        trainer.test(_Subsets(module, part, folder), loader, verbose=False)


class _Subsets(pl.LightningModule):
    """Applies a module to its subsets: the model many times, the encoders once."""

    def __init__(self, module: TrainingModule, part: str, folder: Path) -> None:
        super().__init__()
        self.module, self.part, self.folder = module, part, folder
        self.collectors = {
            subset: PredictionCollector() for subset in modality_subsets(module.encoders)
        }

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch as the module does."""
        return self.module.transfer_batch_to_device(batch, device, dataloader_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the logits of every subset for the utterances that have something of it."""
        encoded = self.module.encode(batch)
        for some, collector in self.collectors.items():
            present = torch.stack([encoded[name].present for name in some]).any(dim=0)
            logits = self.module.fuse(encoded, withheld=encoded.keys() - set(some))
            collector.add(_rows(batch, present), logits[present])

    def on_test_epoch_end(self) -> None:
        """Write the table from the process of rank zero."""
        gathered = [(some, collector.gather()) for some, collector in self.collectors.items()]
        tables = [
            self.module.table(outputs, subset_split(self.part, some))
            for some, outputs in gathered
            if outputs is not None
        ]
        if tables and self.trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            concatenate(tables).write(subsets_file(self.folder, self.part))


def _rows(batch: Batch, chosen: torch.Tensor) -> Batch:
    """The names and targets of some utterances of a batch."""
    ids = [one for one, here in zip(batch.utterance_ids, chosen.tolist(), strict=True) if here]
    return Batch({}, tuple(ids), batch.targets[chosen])
