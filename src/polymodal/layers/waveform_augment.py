"""Augment the waveform in training: speed, noise, level.

Legend: batch = utterances, sample = samples, tap = input samples of a resampled value.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from polymodal.errors import ConfigError, nearest
from polymodal.layers.masks import lengths_to_mask, mask_to_lengths
from polymodal.schemas.batch import PaddedSequence

Samples = Float[Tensor, "batch sample"]
Changed = Float[Tensor, "batch new_sample"]
# Exponent of the power spectrum, 1/f^exponent.
COLOURS: Mapping[str, float] = {"white": 0.0, "pink": 1.0, "brown": 2.0}
# Speeds are whole thousandths, so that positions are exact integers however long the audio.
SPEED_STEPS = 1000
# Zero crossings of the interpolating sinc on each side.
CROSSINGS = 8
LIMITS: Mapping[str, tuple[float, float]] = {
    "speed": (0.5, 2.0),
    "noise_snr_db": (-20.0, 100.0),
    "gain_db": (-60.0, 60.0),
}


class WaveformAugment(nn.Module):
    """Change the speed, add noise, and change the level of utterances, in training only.

    Each utterance draws its own values, uniformly between two bounds, from torch's default
    generator on the device of the batch, so the run's seed fixes them.

    Speed changes pitch and length as a tape does (Ko et al. 2015, "Audio augmentation for speech
    recognition", Interspeech). The level of the noise is set against the power of the utterance's
    own samples; digital silence stays silent.

    Args:
        speed: Minimum and maximum speed, from 0.5 to 2, such as `[0.9, 1.1]`; 2 is twice as fast.
            None for none.
        noise_snr_db: Minimum and maximum ratio of speech to noise, in decibels. None for no noise.
        noise_colour: `white`; `pink`, whose power falls by 3 dB an octave; `brown`, by 6 dB.
        gain_db: Minimum and maximum change of the level, in decibels. None for none.
        probability: Probability that each change is made to an utterance.

    Raises:
        ConfigError: A bound is out of its range, or the colour is unknown.

    Example:
        >>> augment = WaveformAugment(gain_db=[6.0206, 6.0206]).train()
        >>> mask = torch.ones(1, 2, dtype=torch.bool)
        >>> sequence = PaddedSequence(torch.tensor([[0.1, -0.2]]), mask)
        >>> augment(sequence).values.mul(10).round().tolist()
        [[2.0, -4.0]]
    """

    def __init__(
        self,
        speed: Sequence[float] | None = None,
        noise_snr_db: Sequence[float] | None = None,
        noise_colour: str = "white",
        gain_db: Sequence[float] | None = None,
        probability: float = 1.0,
    ) -> None:
        super().__init__()
        if noise_colour not in COLOURS:
            hint = nearest(noise_colour, COLOURS)
            raise ConfigError(f"noise_colour is {noise_colour!r}", hint=hint)
        if not 0 <= probability <= 1:
            message = f"probability={probability} of an augmentation"
            raise ConfigError(message, expected="a number from 0 to 1")
        self.speed = _bounds("speed", speed)
        self.noise_snr_db = _bounds("noise_snr_db", noise_snr_db)
        self.gain_db = _bounds("gain_db", gain_db)
        self.exponent, self.probability = COLOURS[noise_colour], probability

    @property
    def is_on(self) -> bool:
        """Whether anything is ever changed."""
        changes = (self.speed, self.noise_snr_db, self.gain_db)
        return self.probability > 0 and changes != (None, None, None)

    def forward(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return the changed waveforms `[batch, sample]` (the same ones outside training)."""
        if not self.training or not self.is_on or not sequence.valid_mask.numel():
            return sequence
        samples = sequence.values.float().masked_fill(~sequence.valid_mask, 0.0)
        mask = sequence.valid_mask
        if self.speed is not None:
            samples, mask = self._change_speed(samples, mask_to_lengths(mask), self.speed)
        if self.noise_snr_db is not None:
            samples = samples + self._noise(samples, mask, self.noise_snr_db)
        if self.gain_db is not None:
            decibels = self._draw(samples, self.gain_db) * self._select(samples)
            samples = samples * _ratio(decibels)[:, None]
        return PaddedSequence(samples, mask)

    def _change_speed(
        self, samples: Samples, lengths: Int[Tensor, " batch"], bounds: tuple[float, float]
    ) -> tuple[Changed, Bool[Tensor, "batch new_sample"]]:
        thousandths = (self._draw(samples, bounds) * SPEED_STEPS).round().long()
        thousandths = torch.where(self._select(samples), thousandths, SPEED_STEPS)
        changed = -(-lengths * SPEED_STEPS // thousandths)
        # Wait for the device once: computing the padding would cost more.
        mask = lengths_to_mask(changed, max(1, int(changed.max())))
        return resampled(samples, thousandths, mask.shape[1]).masked_fill(~mask, 0.0), mask

    def _noise(
        self, samples: Samples, mask: Bool[Tensor, "batch sample"], bounds: tuple[float, float]
    ) -> Samples:
        noise = coloured(torch.randn_like(samples), self.exponent).masked_fill(~mask, 0.0)
        powers = [wave.square().sum(dim=1) for wave in (samples, noise)]
        level = (powers[0] / powers[1].clamp(min=torch.finfo(noise.dtype).tiny)).sqrt()
        level = level * _ratio(-self._draw(samples, bounds)) * self._select(samples)
        return noise * level[:, None]

    def _draw(self, samples: Tensor, bounds: tuple[float, float]) -> Float[Tensor, " batch"]:
        low, high = bounds
        return low + (high - low) * torch.rand(len(samples), device=samples.device)

    def _select(self, samples: Tensor) -> Bool[Tensor, " batch"]:
        return torch.rand(len(samples), device=samples.device) < self.probability


def waveform_changes(options: Mapping[str, Any] | None, *, normalised: bool) -> WaveformAugment:
    """Build the augmentation whose arguments an encoder's options describe; None for none.

    Where waveforms are `normalised`, the encoder takes the level out of each utterance, so that a
    change of it would do nothing.

    Raises:
        ConfigError: An option is unknown, out of its range, or would do nothing.
    """
    parameters = inspect.signature(WaveformAugment).parameters
    for name in options or {}:
        if name not in parameters:
            raise ConfigError(f"waveform_augment.{name} is unknown", hint=nearest(name, parameters))
    augment = WaveformAugment(**(options or {}))
    if normalised and augment.gain_db is not None:
        raise ConfigError(
            "waveform_augment.gain_db changes the level, which the encoder takes out again",
            hint="set gain_db to null, or keep the level (encoder=logmel: normalise=none; "
            "pretrained: normalise_waveform=false)",
        )
    return augment


def resampled(samples: Samples, thousandths: Int[Tensor, " batch"], width: int) -> Changed:
    """Play each row at a speed of its own, in thousandths, by a windowed sinc.

    What would be above half the sampling rate is filtered out (Smith, "Digital audio resampling",
    ccrma.stanford.edu/~jos/resample).

    Example:
        >>> tone = torch.arange(40.0).mul(0.3).sin()[None]
        >>> twice = resampled(tone, torch.tensor([2000]), 20)
        >>> bool((twice - tone[:, ::2])[:, 8:12].abs().max() < 0.01)
        True
    """
    positions = torch.arange(width, device=samples.device) * thousandths[:, None]
    full, fraction = positions // SPEED_STEPS, (positions % SPEED_STEPS) / SPEED_STEPS
    cutoff = (SPEED_STEPS / thousandths.clamp(min=SPEED_STEPS))[:, None]
    half = math.ceil(CROSSINGS * max(1.0, int(thousandths.max()) / SPEED_STEPS))
    padded = functional.pad(samples, (half, half))
    total, last = torch.zeros_like(fraction), padded.shape[1] - 1
    for tap in range(1 - half, half + 1):
        distance = (tap - fraction) * cutoff
        bell = torch.cos(distance * (math.pi / 2 / CROSSINGS)).square()
        weight = cutoff * torch.sinc(distance) * bell * (distance.abs() < CROSSINGS)
        total = total + weight * padded.gather(1, (full + tap + half).clamp(max=last))
    return total


def coloured(white: Samples, exponent: float) -> Samples:
    """Give white noise the power spectrum 1/f^exponent, without a mean, at any level.

    Timmer & König 1995, Astronomy and Astrophysics 300.
    """
    if exponent == 0 or white.shape[1] < 2:
        return white
    spectrum = torch.fft.rfft(white)
    bins = torch.arange(spectrum.shape[1], device=white.device, dtype=white.dtype)
    scale = torch.where(bins > 0, bins.clamp(min=1) ** (-exponent / 2), 0.0)
    noise: Tensor = torch.fft.irfft(spectrum * scale, n=white.shape[1])
    return noise


def _ratio(decibels: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    return torch.exp(decibels * (math.log(10) / 20))


def _bounds(name: str, bounds: Sequence[float] | None) -> tuple[float, float] | None:
    if bounds is None:
        return None
    low, high = LIMITS[name]
    numbers = list(bounds) if isinstance(bounds, list | tuple) else []
    given = [number for number in numbers if isinstance(number, int | float)]
    if len(numbers) != 2 or len(given) != 2 or not low <= given[0] <= given[1] <= high:
        expected = f"null, or two numbers from {low:g} to {high:g}"
        raise ConfigError(f"{name}={bounds!r}", expected=expected)
    return float(given[0]), float(given[1])
