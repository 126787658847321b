"""Utterances as arrays, and their collation to batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from polymodal.schemas.batch import Batch, PaddedSequence
from polymodal.schemas.manifest import Manifest, Utterance

Reader = Callable[[Utterance], np.ndarray | None]


@dataclass(frozen=True)
class Example:
    """One utterance as arrays."""

    utterance_id: str
    values: Mapping[str, np.ndarray | None]  # modality to `[time]` or `[time, feature]`, or None
    target: np.ndarray  # an index or values


class ReadAndTransform:
    """A reader followed by an encoder's transform, for worker processes; None without content."""

    def __init__(
        self, read: Callable[[Utterance], Any], transform: Callable[[Any], np.ndarray | None]
    ) -> None:
        self.read, self.transform = read, transform

    def __call__(self, utterance: Utterance) -> np.ndarray | None:
        """Read and transform one utterance; None if it lacks this modality."""
        raw = self.read(utterance)
        return None if raw is None else self.transform(raw)


class UtteranceDataset(Dataset[Example]):
    """The utterances of one split, a reader a modality, and a row of targets an utterance."""

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


def collate(items: Sequence[Example]) -> Batch:
    """Pad the utterances of a batch to the longest of each modality.

    A modality that none of them has is left out.

    Example:
        >>> items = [Example(name, {"text": np.ones(2)}, np.array(0)) for name in ("u", "v")]
        >>> collate(items).modalities["text"].values.shape
        torch.Size([2, 2])
    """
    modalities = {}
    for name in items[0].values:
        arrays = [item.values[name] for item in items]
        if any(array is not None and len(array) for array in arrays):
            modalities[name] = pad(arrays)
    targets = torch.from_numpy(np.stack([item.target for item in items]))
    return Batch(modalities, tuple(item.utterance_id for item in items), targets)


def pad(arrays: Sequence[np.ndarray | None]) -> PaddedSequence:
    """Put arrays of different lengths into one, with zeros behind the shorter ones.

    Each is `[time]` or `[time, feature]`, or None for a row without a True in the mask; at least
    one is not None.

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
    return PaddedSequence(tensor.float() if tensor.is_floating_point() else tensor, mask)
