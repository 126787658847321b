"""A speech encoder trained from scratch: log-mel energies, convolutions, transformer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from polymodal.encoders.base import Encoder, Transform
from polymodal.layers.attention import Transformer
from polymodal.layers.convolution import ConvolutionBlock
from polymodal.layers.mel import HOP_S, LogMel
from polymodal.layers.specaugment import SpecAugment
from polymodal.layers.waveform_augment import waveform_changes
from polymodal.schemas.batch import PaddedSequence

SUBSAMPLING = 4


class LogMelEncoder(Encoder):
    """Waveform to 25 vectors per second.

    100 log-mel frames of `num_mels` bands per second, two convolutions of stride 2, then a
    transformer. `normalise` is `utterance`, which takes out the level and the channel of each
    utterance, or `none`, which keeps them (see `LogMel`). `dropout` is that of all layers. With
    `spec_augment` spans of bands and of time are masked in training (see `SpecAugment`).
    `waveform_augment` are options of `WaveformAugment`; None for none.

    Raises:
        ConfigError: The width is not divisible by the heads, or an option is out of its range.

    Example:
        >>> import torch
        >>> encoder = LogMelEncoder(width=16, num_layers=1, num_heads=2)
        >>> second = PaddedSequence(torch.zeros(1, 16000), torch.ones(1, 16000, dtype=torch.bool))
        >>> encoder(second).values.shape
        torch.Size([1, 25, 16])
    """

    source = "audio"

    def __init__(
        self,
        sampling_rate_hz: int = 16000,
        num_mels: int = 64,
        normalise: str = "utterance",
        width: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.1,
        spec_augment: bool = True,
        num_frequency_masks: int = 2,
        max_bands: int = 8,
        num_time_masks: int = 2,
        max_time_fraction: float = 0.1,
        waveform_augment: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.sampling_rate_hz, self.feature_size = sampling_rate_hz, width
        self.frame_rate_hz = 1 / HOP_S / SUBSAMPLING
        changes = waveform_changes(waveform_augment, normalised=normalise == "utterance")
        self.waveform_augment, self.augments_waveform = changes, changes.is_on
        self.log_mel = LogMel(num_mels, sampling_rate_hz, normalise)
        self.augment: nn.Module = nn.Identity()
        if spec_augment:
            self.augment = SpecAugment(
                num_frequency_masks, max_bands, num_time_masks, max_time_fraction
            )
        self.convolutions = nn.Sequential(
            ConvolutionBlock(num_mels, width, kernel=5, stride=2, dropout=dropout),
            ConvolutionBlock(width, width, kernel=5, stride=2, dropout=dropout),
        )
        self.transformer = Transformer(width, num_layers, num_heads, dropout)

    def transform(self) -> Transform:
        """Return the check of a waveform; the spectrum is computed in `encode`."""
        return usable_waveform

    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return `[batch, time, width]` for waveforms `[batch, sample]` in [-1, 1].

        An utterance shorter than a window is padded with silence.
        """
        frames = self.augment(self.log_mel(self.waveform_augment(sequence)))
        encoded: PaddedSequence = self.transformer(self.convolutions(frames))
        return encoded


def usable_waveform(waveform: Any) -> npt.NDArray[np.float32] | None:
    """Return the waveform `[sample]` as float32, or None without samples.

    Example:
        >>> usable_waveform([0.5, 1.0]), usable_waveform([])
        (array([0.5, 1. ], dtype=float32), None)
    """
    samples = np.asarray(waveform, dtype=np.float32)
    return samples if samples.size else None
