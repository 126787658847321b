"""Collect the outputs of an epoch over all ranks, each utterance once."""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed
from jaxtyping import Float, Shaped
from torch import Tensor

from polymodal.schemas.batch import Batch

RankOutputs = tuple[list[str], np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Outputs:
    """Outputs of all utterances of a split, sorted by id, and targets as the task reads them."""

    utterance_ids: tuple[str, ...]
    logits: Float[np.ndarray, "utterance output"]
    targets: Shaped[np.ndarray, "utterance ..."]


@dataclass
class PredictionCollector:
    """Collect the outputs of every batch until the epoch ends."""

    ids: list[str] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)

    def reset(self) -> None:
        """Discard everything, at the start of each epoch and after the sanity check."""
        self.ids, self.logits, self.targets = [], [], []

    def add(self, batch: Batch, logits: Float[Tensor, "batch output"]) -> None:
        """Add the outputs of one batch."""
        self.ids.extend(batch.utterance_ids)
        self.logits.append(logits.detach().float())
        self.targets.append(batch.targets.detach())

    def gather(self) -> Outputs | None:
        """Return the outputs of all ranks, or None if there are none; every rank must call it.

        An utterance that was computed twice (to give all ranks as many) counts once.
        """
        local = (self.ids, _array(self.logits), _array(self.targets))
        ranks = [outputs for outputs in _all_ranks(local) if outputs[0]]
        if not ranks:
            return None
        ids = [name for names, _, _ in ranks for name in names]
        logits = np.concatenate([values for _, values, _ in ranks]).astype(np.float32)
        targets = np.concatenate([values for _, _, values in ranks])
        names, first = np.unique(np.array(ids), return_index=True)
        return Outputs(tuple(names.tolist()), logits[first], targets[first])


def _array(tensors: list[Tensor]) -> np.ndarray:
    return torch.cat(tensors).cpu().numpy() if tensors else np.zeros(0)


def _all_ranks(local: RankOutputs) -> list[RankOutputs]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [local]
    gathered = [local] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, local)
    return gathered
