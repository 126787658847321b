"""A batch of sequences of different lengths, and which of their frames are real."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass
class Sequence:
    """Values padded to one length, and the mask that tells real frames from padding.

    Legend: batch = utterances, time = frames (waveform samples, characters, ...), feature = width.

    Args:
        values: `[batch, time, feature]`, or `[batch, time]` for waveforms and for indices of text.
        valid_mask: `[batch, time]`, True = real. A row without a True is an absent modality.
    """

    values: Float[Tensor, "batch time *feature"] | torch.Tensor
    valid_mask: Bool[Tensor, "batch time"]

    def to(self, device: torch.device, non_blocking: bool = False) -> "Sequence":
        """Returns the sequence on another device.

        Args:
            device: The device.
            non_blocking: Whether the copy may go on while the host continues.

        Returns:
            The moved sequence.
        """
        return Sequence(
            self.values.to(device, non_blocking=non_blocking),
            self.valid_mask.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> "Sequence":
        """Returns the sequence in page-locked memory."""
        return Sequence(self.values.pin_memory(), self.valid_mask.pin_memory())

    @property
    def num_valid(self) -> Tensor:
        """Number of real frames of each utterance, `[batch]`, int64."""
        return self.valid_mask.sum(dim=1)

    @property
    def present(self) -> Tensor:
        """Which utterances have this modality at all, `[batch]`, bool."""
        return self.valid_mask.any(dim=1)
