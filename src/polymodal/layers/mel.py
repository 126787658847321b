"""The waveform as energies in mel bands.

Legend: batch = utterances, sample = waveform samples, time = frames, bin = frequencies of the
Fourier transform, band = mel bands.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from polymodal.errors import ConfigError
from polymodal.layers.masks import lengths_to_mask, mask_to_lengths
from polymodal.schemas.batch import PaddedSequence

Bands = Float[Tensor, "batch time band"]
Mask = Bool[Tensor, "batch time"]
WINDOW_S, HOP_S = 0.025, 0.010
MIN_HZ = 20.0
# Added before the logarithm: about the power of 16-bit rounding noise in a band.
FLOOR = 1e-6
# Where the log energies of speech in [-1, 1] mostly lie; brings them to about unit scale.
TYPICAL_MEAN, TYPICAL_STD = -4.0, 4.0


def mel_filter_bank(
    num_mels: int, num_bins: int, sampling_rate_hz: int
) -> Float[Tensor, "bin band"]:
    """Return triangular filters at equal distances on the mel scale: weights from 0 to 1.

    mel = 2595 log10(1 + f / 700 Hz) (O'Shaughnessy 1987); triangles straight on the mel scale.

    `num_bins` is the number of Fourier bins from 0 Hz to half the sampling rate.

    Raises:
        ConfigError: The bands are so narrow that one holds no bin.

    Example:
        >>> mel_filter_bank(64, 257, 16000).shape
        torch.Size([257, 64])
    """
    nyquist_hz = sampling_rate_hz / 2
    bins = _mel(torch.linspace(0.0, nyquist_hz, num_bins, dtype=torch.float64))
    low, high = _mel(torch.tensor([MIN_HZ, nyquist_hz], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, num_mels + 2, dtype=torch.float64)
    distance = (bins[:, None] - edges[1:-1]).abs() / (edges[1] - edges[0])
    bank = (1 - distance).clamp(min=0).float()
    if (bank.sum(dim=0) == 0).any():
        raise ConfigError(
            f"num_mels={num_mels} at {sampling_rate_hz} Hz leaves a band without a frequency",
            hint="choose fewer bands (64 or 80 at 16000 Hz)",
        )
    return bank


class LogMel(nn.Module):
    """Logarithm of the energy in mel bands, 25 ms windows every 10 ms, always in float32.

    The end is padded with silence until each sample lies in a window, so an utterance of one
    sample has one frame.

    `normalise` is `utterance`: each band gets mean 0 and standard deviation 1 over the real frames
    of the utterance, which takes out the channel and the level; or `none`: a fixed shift and scale,
    the level is kept.

    Raises:
        ConfigError: `normalise` is unknown, or `num_mels` too large.
    """

    def __init__(
        self, num_mels: int = 64, sampling_rate_hz: int = 16000, normalise: str = "utterance"
    ) -> None:
        super().__init__()
        if normalise not in ("utterance", "none"):
            message = f"normalise {normalise!r} is unknown"
            raise ConfigError(message, expected="'utterance' or 'none'")
        self.normalise = normalise
        self.window_size = round(WINDOW_S * sampling_rate_hz)
        self.hop_size = round(HOP_S * sampling_rate_hz)
        self.transform_size = 2 ** math.ceil(math.log2(self.window_size))
        bank = mel_filter_bank(num_mels, self.transform_size // 2 + 1, sampling_rate_hz)
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("window", torch.hann_window(self.window_size), persistent=False)
        self.bank: Tensor
        self.window: Tensor

    def forward(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return the frames `[batch, time, band]` of waveforms `[batch, sample]` in [-1, 1]."""
        with torch.autocast(sequence.values.device.type, enabled=False):
            valid_mask = self._frame_mask(sequence.valid_mask)
            waveform = sequence.values.float().masked_fill(~sequence.valid_mask, 0.0)
            energies = self._log_energies(waveform, valid_mask.shape[1])
            values = self._normalised(energies, valid_mask)
        return PaddedSequence(values.masked_fill(~valid_mask[..., None], 0.0), valid_mask)

    def _frame_mask(self, valid_mask: Bool[Tensor, "batch sample"]) -> Mask:
        lengths = mask_to_lengths(valid_mask)
        after_first = (lengths - self.window_size).clamp(min=0)
        num_frames = -(-after_first // self.hop_size) + 1
        # At least one frame wide, even if the batch has no sample.
        width = max(1, int(num_frames.max())) if len(lengths) else 1
        return lengths_to_mask(num_frames * (lengths > 0), width)

    def _log_energies(self, waveform: Float[Tensor, "batch sample"], num_frames: int) -> Bands:
        needed = (num_frames - 1) * self.hop_size + self.window_size
        padded = functional.pad(waveform, (0, max(0, needed - waveform.shape[1])))[:, :needed]
        frames = padded.unfold(1, self.window_size, self.hop_size) * self.window.float()
        spectrum = torch.fft.rfft(frames, n=self.transform_size)
        power = spectrum.real.square() + spectrum.imag.square()
        energies: Tensor = (power @ self.bank.float() + FLOOR).log()
        return energies

    def _normalised(self, energies: Bands, valid_mask: Mask) -> Bands:
        if self.normalise == "none":
            return (energies - TYPICAL_MEAN) / TYPICAL_STD
        weight = valid_mask[..., None].float()
        count = weight.sum(dim=1, keepdim=True).clamp(min=1)
        centred = energies - (energies * weight).sum(dim=1, keepdim=True) / count
        variance = (centred.square() * weight).sum(dim=1, keepdim=True) / count
        normalised: Tensor = centred * (variance + 1e-3).rsqrt()
        return normalised


def _mel(frequencies_hz: Tensor) -> Tensor:
    return 2595.0 * torch.log10(1.0 + frequencies_hz / 700.0)
