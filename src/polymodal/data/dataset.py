"""Utterances as arrays, and how they become a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from polymodal.schemas import batch
from polymodal.schemas import batch as sequences
from polymodal.schemas.manifest import Manifest, Utterance

Reader = Callable[[Utterance], np.ndarray | None]


@dataclass(frozen=True)
class Example:
    """One utterance as arrays.

    Args:
        utterance_id: Name of the utterance.
        values: Modality to `[time]` or `[time, feature]`, None where the utterance lacks it.
        target: What is to be predicted: an index or numbers.
    """

    utterance_id: str
    values: Mapping[str, np.ndarray | None]
    target: np.ndarray


class ReadAndTransform:
    """A reader followed by an encoder's transform; worker processes get it pickled.

    Args:
        read: Utterance to raw value, or None.
        transform: Raw value to array, or None where nothing usable is in it.
    """

    def __init__(
        self, read: Callable[[Utterance], Any], transform: Callable[[Any], np.ndarray | None]
    ) -> None:
        self.read, self.transform = read, transform

    def __call__(self, utterance: Utterance) -> np.ndarray | None:
        """Reads and transforms one utterance.

        Args:
            utterance: The row of the manifest.

        Returns:
            The array, or None if the utterance lacks this modality.
        """
        raw = self.read(utterance)
        return None if raw is None else self.transform(raw)


class UtteranceDataset(Dataset[Example]):
    """The utterances of one part of a split.

    Args:
        manifest: The utterances.
        readers: Modality to its reader.
        targets: One row an utterance, in the order of the manifest.
    """

    def __init__(
        self, manifest: Manifest, readers: Mapping[str, Reader], targets: np.ndarray
    ) -> None:
        self.manifest, self.readers, self.targets = manifest, dict(readers), targets

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> Example:
        utterance = self.manifest.utterance(index)
        values = {name: read(utterance) for name, read in self.readers.items()}
        return Example(utterance.utterance_id, values, np.asarray(self.targets[index]))


def collate(items: Sequence[Example]) -> batch.Batch:
    """Pads the utterances of a batch to the longest of each modality.

    Args:
        items: The utterances.

    Returns:
        The batch; a modality that none of them has is left out.
    """
    modalities = {}
    for name in items[0].values:
        arrays = [item.values[name] for item in items]
        if any(array is not None and len(array) for array in arrays):
            modalities[name] = pad(arrays)
    targets = torch.from_numpy(np.stack([item.target for item in items]))
    return batch.Batch(modalities, tuple(item.utterance_id for item in items), targets)


def pad(arrays: Sequence[np.ndarray | None]) -> sequences.PaddedSequence:
    """Puts arrays of different lengths into one, with zeros behind the shorter ones.

    Args:
        arrays: Each `[time]` or `[time, feature]`, or None; at least one is not None.

    Returns:
        The sequence; rows of None have no True in the mask.

    Example:
        >>> pad([np.ones(2), None]).valid_mask.tolist()
        [[True, True], [False, False]]
    """
    lengths = [0 if array is None else len(array) for array in arrays]
    like = next(array for array in arrays if array is not None)
    values = np.zeros((len(arrays), max(lengths), *like.shape[1:]), dtype=like.dtype)
    for row, array in enumerate(arrays):
        if array is not None:
            values[row, : len(array)] = array
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    tensor = torch.from_numpy(values)
    return sequences.PaddedSequence(tensor.float() if tensor.is_floating_point() else tensor, mask)
