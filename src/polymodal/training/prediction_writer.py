"""Collects what a model said during an epoch, on every rank, each utterance once."""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed
from torch import Tensor

from polymodal.schemas.batch import Batch

Part = tuple[list[str], np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Outputs:
    """Outputs of all utterances of a part, in the order of their ids.

    Args:
        utterance_ids: Names of the utterances, each once.
        logits: Outputs of the model, `[utterance, output]`, float32.
        targets: As the task reads them, one row an utterance.
    """

    utterance_ids: tuple[str, ...]
    logits: np.ndarray
    targets: np.ndarray


@dataclass
class PredictionCollector:
    """Keeps the logits of every batch until the epoch ends."""

    ids: list[str] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)

    def reset(self) -> None:
        """Forgets everything, at the start of each epoch and after the sanity check."""
        self.ids, self.logits, self.targets = [], [], []

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Keeps one batch.

        Args:
            batch: The batch.
            logits: Outputs of the model, `[batch, output]`.
        """
        self.ids.extend(batch.utterance_ids)
        self.logits.append(logits.detach().float())
        self.targets.append(batch.targets.detach())

    def gather(self) -> Outputs | None:
        """Puts the outputs of all ranks together; every rank must call it.

        Returns:
            The outputs, the same on every rank, or None if there are none. An utterance that was
            computed twice (to even out the ranks) counts once.
        """
        mine = (self.ids, _array(self.logits), _array(self.targets))
        everybody = [part for part in _all_ranks(mine) if part[0]]
        if not everybody:
            return None
        ids = [name for part in everybody for name in part[0]]
        logits = np.concatenate([part[1] for part in everybody]).astype(np.float32)
        targets = np.concatenate([part[2] for part in everybody])
        names, first = np.unique(np.array(ids), return_index=True)
        return Outputs(tuple(names.tolist()), logits[first], targets[first])


def _array(tensors: list[Tensor]) -> np.ndarray:
    return torch.cat(tensors).cpu().numpy() if tensors else np.zeros(0)


def _all_ranks(mine: Part) -> list[Part]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [mine]
    gathered: list[Part] = [mine] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, mine)
    return gathered
