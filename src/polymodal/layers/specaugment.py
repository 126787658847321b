"""Mask random spans of a spectrum in training.

Legend: batch = utterances, time = frames, band = mel bands.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from polymodal.errors import ConfigError
from polymodal.layers.masks import mask_to_lengths
from polymodal.schemas.batch import PaddedSequence

Mask = Bool[Tensor, "batch time"]


class SpecAugment(nn.Module):
    """Set random bands and random spans of time to zero, in training only.

    Park et al. 2019 (arXiv 1904.08779), without time warping. It draws from torch's default
    generator, so the run's seed fixes it.

    There are `num_frequency_masks` spans of at most `max_bands` bands, and `num_time_masks` spans
    of at most `max_time_fraction` of the utterance.

    Raises:
        ConfigError: A number is negative, or the fraction above 1.
    """

    def __init__(
        self,
        num_frequency_masks: int = 2,
        max_bands: int = 8,
        num_time_masks: int = 2,
        max_time_fraction: float = 0.1,
    ) -> None:
        super().__init__()
        counts = (num_frequency_masks, max_bands, num_time_masks)
        if min(counts) < 0 or not 0 <= max_time_fraction <= 1:
            raise ConfigError(
                f"SpecAugment with counts {counts} and max_time_fraction {max_time_fraction}",
                expected="counts of 0 or more and a fraction from 0 to 1",
            )
        self.num_frequency_masks, self.max_bands = num_frequency_masks, max_bands
        self.num_time_masks, self.max_time_fraction = num_time_masks, max_time_fraction

    def forward(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return `[batch, time, band]` with spans of zeros (the same sequence outside training)."""
        if not self.training:
            return sequence
        values, lengths = sequence.values, mask_to_lengths(sequence.valid_mask)
        num_bands = lengths.new_full(lengths.shape, values.shape[2])
        hidden = torch.zeros_like(values, dtype=torch.bool)
        for _ in range(self.num_frequency_masks):
            widths = num_bands.clamp(max=self.max_bands)
            hidden |= _sample_span(num_bands, widths, values.shape[2])[:, None, :]
        for _ in range(self.num_time_masks):
            widths = (lengths * self.max_time_fraction).long()
            hidden |= _sample_span(lengths, widths, values.shape[1])[:, :, None]
        return PaddedSequence(values.masked_fill(hidden, 0.0), sequence.valid_mask)


def sample_mask_spans(real: Mask, fraction: float, span: int) -> Mask:
    """Sample masked frames in spans: each frame starts a span with the same probability.

    wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477). It draws from torch's default generator.

    `real` is True for real frames. `fraction` of these are masked, before overlaps, in spans of
    `span` frames.
    """
    begins = torch.rand(real.shape, device=real.device) < fraction / span
    padded = functional.pad(begins.float(), (span - 1, 0))
    return (functional.max_pool1d(padded[:, None], span, 1)[:, 0] > 0) & real


def _sample_span(totals: Tensor, max_widths: Tensor, size: int) -> Bool[Tensor, "batch size"]:
    """Draw a span of at most `max_widths` within the first `totals` positions."""
    draws = torch.rand(2, len(totals), device=totals.device)
    widths: Float[Tensor, " batch"] = (draws[0] * (max_widths + 1)).floor()
    starts = (draws[1] * (totals - widths + 1)).floor()
    positions = torch.arange(size, device=totals.device)[None]
    return (positions >= starts[:, None]) & (positions < (starts + widths)[:, None])
