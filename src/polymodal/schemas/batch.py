"""What a step of training or testing gets: padded sequences and their targets."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


@dataclass
class PaddedSequence:
    """Values padded to one length, and the mask that tells real frames from padding.

    Legend: batch = utterances, time = frames (waveform samples, characters, ...), feature = width.

    Args:
        values: `[batch, time, feature]`, or `[batch, time]` for waveforms and for indices of text.
        valid_mask: `[batch, time]`, True = real. A row without a True is an absent modality.
    """

    values: Float[Tensor, "batch time *feature"] | torch.Tensor
    valid_mask: Bool[Tensor, "batch time"]

    def to(self, device: torch.device, non_blocking: bool = False) -> "PaddedSequence":
        """Return the sequence on another device.

        Args:
            device: The device.
            non_blocking: Whether the copy may go on while the host continues.

        Returns:
            The moved sequence.
        """
        return PaddedSequence(
            self.values.to(device, non_blocking=non_blocking),
            self.valid_mask.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> "PaddedSequence":
        """Return the sequence in page-locked memory."""
        return PaddedSequence(self.values.pin_memory(), self.valid_mask.pin_memory())

    @property
    def num_valid(self) -> Tensor:
        """Number of real frames of each utterance, `[batch]`, int64."""
        return self.valid_mask.sum(dim=1)

    @property
    def present(self) -> Tensor:
        """Which utterances have this modality at all, `[batch]`, bool."""
        return self.valid_mask.any(dim=1)


@dataclass
class Batch:
    """A batch of utterances: their modalities, ids and targets.

    Args:
        modalities: Name of a modality to its sequence; an utterance that lacks it has no True in
            the mask, a modality that the whole batch lacks may be left out.
        utterance_ids: The names of the utterances, in the order of the rows.
        targets: One row an utterance, as the task reads them: indices of classes (int64, -1 where
            unknown) or numbers (float32, NaN where unknown).
    """

    modalities: Mapping[str, PaddedSequence]
    utterance_ids: tuple[str, ...]
    targets: Shaped[Tensor, "batch ..."]

    def __len__(self) -> int:
        return len(self.utterance_ids)

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """Return the batch on another device.

        Args:
            device: The device.
            non_blocking: Whether the copy may go on while the host continues.

        Returns:
            The moved batch.
        """
        moved = {
            name: sequence.to(device, non_blocking) for name, sequence in self.modalities.items()
        }
        targets = self.targets.to(device, non_blocking=non_blocking)
        return Batch(moved, self.utterance_ids, targets)

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory, as the data loader asks for it."""
        pinned = {name: sequence.pin_memory() for name, sequence in self.modalities.items()}
        return Batch(pinned, self.utterance_ids, self.targets.pin_memory())
