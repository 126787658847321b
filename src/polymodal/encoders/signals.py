"""An encoder of physiological signals trained from scratch: one clock, convolutions, transformer.

Legend: time = ticks of the common clock, channel = three for each signal, event = heart beats.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from polymodal.encoders.base import Encoder, Transform
from polymodal.encoders.standardised import Features, moments_of
from polymodal.errors import ConfigError, DataError
from polymodal.layers.attention import Transformer
from polymodal.layers.convolution import ConvolutionBlock
from polymodal.layers.masks import zero_padding
from polymodal.schemas.batch import PaddedSequence

Values = npt.NDArray[np.float64]
CHANNELS_PER_SIGNAL = 3
LEVEL, OBSERVED = 0, 2  # positions of channels
UNSCALED = (0.0, 1.0)
# No utterance is longer; times since 1970 or in milliseconds are.
MAX_DURATION_S = 86400.0
# Typical centre and spread in adults at rest (microsiemens, degrees Celsius, seconds): they make
# the level of a signal, which differs with arousal, independent of the corpus.
DEFAULT_CHANNELS: Mapping[str, tuple[float, float]] = {
    "eda": (2.0, 3.0),
    "temp": (33.0, 2.0),
    "ibi": (0.8, 0.15),
}


class SignalEncoder(Encoder):
    """Physiological signals to `rate_hz` vectors per second.

    `signals` are the names of those that are read, such as `eda`, `temp`, `ibi`. `kernel`, the
    width of both convolutions in ticks of the common clock, is odd; `dropout` is that of all
    layers. `scales` gives a signal its typical centre and spread; those of `eda`, `temp` and `ibi`
    have defaults, those of other signals are mean and deviation over the training rows.

    Raises:
        ConfigError: No signal is named, one twice, the rate or a spread is not positive, the
            kernel is even, or the width is not divisible by the heads.

    Example:
        >>> encoder = SignalEncoder(["eda"], rate_hz=4.0)
        >>> encoder.transform()({"eda": (np.ones(8), 4.0)}).shape
        (8, 3)
    """

    source = "signals"
    level_mean: Tensor
    level_scale: Tensor

    def __init__(
        self,
        signals: Collection[str] = ("eda", "temp", "ibi"),
        rate_hz: float = 4.0,
        width: int = 64,
        num_layers: int = 1,
        num_heads: int = 4,
        dropout: float = 0.1,
        kernel: int = 5,
        scales: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        super().__init__()
        names, all_scales = tuple(signals), {**DEFAULT_CHANNELS, **(scales or {})}
        pairs = tuple(all_scales.get(name, UNSCALED) for name in names)
        _check(names, rate_hz, kernel, pairs)
        self.signals = names
        self.clock = Resampler(names, rate_hz, tuple((float(a), float(b)) for a, b in pairs))
        self.feature_size, self.frame_rate_hz = width, rate_hz
        self.unscaled = [index for index, name in enumerate(names) if name not in all_scales]
        self.learns_moments = bool(self.unscaled)
        if self.unscaled:
            self.register_buffer("level_mean", torch.zeros(len(self.unscaled)))
            self.register_buffer("level_scale", torch.ones(len(self.unscaled)))
            self.register_load_state_dict_pre_hook(_as_trained)  # type: ignore[no-untyped-call]
        self.convolutions = nn.Sequential(
            ConvolutionBlock(CHANNELS_PER_SIGNAL * len(names), width, kernel, dropout=dropout),
            ConvolutionBlock(width, width, kernel, dropout=dropout),
        )
        self.transformer = Transformer(width, num_layers, num_heads, dropout)

    def transform(self) -> Transform:
        """Return the resampling of one utterance to the common clock."""
        return self.clock

    def fit(self, features: Features, ids: Sequence[str]) -> None:
        """Learn the levels of signals without a scale, from the ticks at which they are observed.

        A signal that no training row has keeps its level.
        """
        moments = moments_of(_ObservedLevels(features, self.unscaled), ids)
        if moments.num_rows:
            self.level_mean.copy_(torch.from_numpy(moments.mean))
            self.level_scale.copy_(torch.from_numpy(moments.scale))

    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return `[batch, time, width]` for `[batch, time, channel]`; zeros under the padding."""
        if self.unscaled:
            sequence = PaddedSequence(self._scaled(sequence), sequence.valid_mask)
        encoded: PaddedSequence = self.transformer(self.convolutions(sequence))
        return encoded

    def _scaled(self, sequence: PaddedSequence) -> Float[Tensor, "batch time channel"]:
        """Return the channels with the levels scaled; a signal that an utterance lacks stays 0."""
        values = zero_padding(sequence.values, sequence.valid_mask)
        shaped = values.reshape(*values.shape[:2], -1, CHANNELS_PER_SIGNAL).clone()
        level, observed = shaped[:, :, self.unscaled, LEVEL], shaped[:, :, self.unscaled, OBSERVED]
        is_present = observed.amax(dim=1, keepdim=True) > 0
        scaled = torch.where(is_present, (level - self.level_mean) / self.level_scale, 0.0)
        shaped[:, :, self.unscaled, LEVEL] = scaled
        return shaped.flatten(-2)


class _ObservedLevels(Mapping[str, npt.NDArray[np.float32]]):
    """The level of some signals by utterance id, `[time, signal]`; NaN where not observed."""

    def __init__(self, channels: Features, signals: Sequence[int]) -> None:
        self.channels, self.signals = channels, list(signals)

    def __getitem__(self, utterance_id: str) -> npt.NDArray[np.float32]:
        channels = self.channels[utterance_id]
        shaped = channels.reshape(len(channels), -1, CHANNELS_PER_SIGNAL)[:, self.signals]
        levels = np.where(shaped[..., OBSERVED] > 0, shaped[..., LEVEL], np.nan)
        return levels.astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.channels)

    def __len__(self) -> int:
        return len(self.channels)


def _as_trained(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Leave levels unchanged for weights without mean and scale, which were trained so."""
    assert isinstance(module, SignalEncoder)
    if f"{prefix}level_mean" not in state:
        state[f"{prefix}level_mean"] = torch.zeros_like(module.level_mean)
        state[f"{prefix}level_scale"] = torch.ones_like(module.level_scale)


@dataclass(frozen=True)
class Resampler:
    """Put signals of different rates on one clock, three channels a signal.

    The channels are: the level in typical units; the course within the utterance (mean 0, standard
    deviation 1 over the observed ticks); 1 where the signal was observed, else 0. Values between
    samples are interpolated linearly, gaps (NaN, the time before the first and after the last
    sample) are filled the same way and count as not observed. A missing signal is 0 throughout.

    Example:
        >>> Resampler(("eda",), 2.0, ((0.0, 1.0),))({"eda": (np.array([1.0, 3.0]), 2.0)}).tolist()
        [[1.0, -1.0, 1.0], [3.0, 1.0, 1.0]]
    """

    names: tuple[str, ...]  # in the order of the channels
    rate_hz: float  # ticks per second
    scales: tuple[tuple[float, float], ...]  # typical centre and spread of each signal

    def __call__(self, signals: Any) -> npt.NDArray[np.float32] | None:
        """Return the channels `[time, channel]`; None where no signal has a finite value.

        Signals are a name to the values and their rate in Hz. With a rate: `[sample]`. With None:
        one value an event in seconds, `[event]` intervals between heart beats one after the other,
        or `[event, 2]` of the beat's offset and the interval that it ends.

        Raises:
            DataError: A signal has several channels, or its times are not seconds from the start of
                the utterance.
        """
        points = {}
        for name in self.names:
            if signals and name in signals and len(signals[name][0]):
                points[name] = _points(name, *signals[name])
        usable = {name: point for name, point in points.items() if np.isfinite(point[1]).any()}
        if not usable:
            return None
        duration_s = max(duration_s for _, _, duration_s in usable.values())
        ticks_s = np.arange(max(1, round(duration_s * self.rate_hz))) / self.rate_hz
        channels = [
            _channels(ticks_s, usable.get(name), scale)
            for name, scale in zip(self.names, self.scales, strict=True)
        ]
        return np.concatenate(channels, axis=1).astype(np.float32)


def _points(name: str, values: Any, rate_hz: float | None) -> tuple[Values, Values, float]:
    """Return times in seconds, values, and the duration in seconds."""
    numbers = np.asarray(values, dtype=np.float64)
    if rate_hz is not None:
        if numbers.ndim > 1 and numbers[0].size > 1:
            raise DataError(
                f"signal {name!r} has the shape {numbers.shape}",
                expected="one value a sample",
                hint="name each channel separately in the manifest",
            )
        return np.arange(len(numbers)) / rate_hz, numbers.reshape(-1), len(numbers) / rate_hz
    if numbers.ndim == 1:
        ends_s = np.cumsum(np.where(np.isfinite(numbers), numbers, 0.0))
        numbers = np.stack([ends_s, numbers], axis=1)
    numbers = numbers[np.isfinite(numbers[:, 0])]
    numbers = numbers[np.argsort(numbers[:, 0], kind="stable")]
    duration_s = float(numbers[:, 0].max(initial=0.0))
    if duration_s > MAX_DURATION_S:
        raise DataError(
            f"signal {name!r} has an event at {duration_s:g} s",
            expected="seconds from the start of the utterance",
            hint="subtract the utterance's start, and divide milliseconds by 1000",
        )
    return numbers[:, 0], numbers[:, 1], duration_s


def _channels(
    ticks_s: Values, points: tuple[Values, Values, float] | None, scale: tuple[float, float]
) -> Values:
    if points is None:
        return np.zeros((len(ticks_s), CHANNELS_PER_SIGNAL))
    times_s, values, _ = points
    finite = np.isfinite(values)
    filled = np.interp(ticks_s, times_s[finite], values[finite])
    finite_fraction = np.interp(ticks_s, times_s, finite.astype(float), left=0.0, right=0.0)
    observed = finite_fraction > 0.5
    level = (filled - scale[0]) / scale[1]
    reference = filled[observed] if observed.any() else filled
    course = (filled - reference.mean()) / max(float(reference.std()), 1e-3 * abs(scale[1]))
    return np.stack([level, course, observed.astype(float)], axis=1)


def _check(
    names: tuple[str, ...], rate_hz: float, kernel: int, scales: tuple[tuple[float, float], ...]
) -> None:
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            f"signals {list(names)}",
            expected="at least one name, each once",
            hint="for example encoder.signals.signals=[eda,temp,ibi]",
        )
    if rate_hz <= 0 or kernel % 2 == 0 or min(spread for _, spread in scales) <= 0:
        raise ConfigError(
            f"rate_hz={rate_hz}, kernel={kernel}, scales={list(scales)}",
            expected="a rate and spreads above 0, and an odd kernel",
        )
