"""Body signals for the sample: skin conductance, skin temperature, heart-beat intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

WINDOW_S = 10.0
# Heart-beat intervals are events, so they have no rate.
RATE_HZ: Mapping[str, float | None] = MappingProxyType({"eda": 4.0, "temp": 4.0, "ibi": None})


@dataclass(frozen=True)
class SignalSynth:
    """A speaker's body at rest."""

    eda_us: float  # skin conductance in microsiemens
    temp_c: float  # skin temperature in degrees Celsius
    ibi_s: float  # interval between heart beats in seconds

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "SignalSynth":
        """Draw a speaker."""
        return cls(rng.uniform(0.5, 4.0), rng.uniform(31, 34.5), rng.uniform(0.82, 0.95))


def synth_signals(
    body: SignalSynth, rng: np.random.Generator, *, aroused: bool
) -> dict[str, np.ndarray]:
    """Synthesise the signals around one utterance.

    Args:
        body: The speaker.
        rng: Random generator.
        aroused: Whether conductance responds, the skin cools and the heart beats faster.

    Returns:
        `eda` and `temp` `[sample]` at 4 Hz; `ibi` `[event, 2]`: seconds from the start, interval.
    """
    seconds = np.arange(0, WINDOW_S, 0.25)
    response = np.zeros(len(seconds))
    for _ in range(2 if aroused else 0):
        onset = rng.uniform(0.5, 6.5)
        after = np.clip(seconds - onset, 0, None)
        response += rng.uniform(0.15, 0.4) * (np.exp(-after / 3.5) - np.exp(-after / 0.7))
    drift = rng.normal(0, 0.01) * seconds + rng.normal(0, 0.006, len(seconds))
    eda = body.eda_us * (1 + response + drift)
    slope = rng.normal(-0.02 if aroused else 0.01, 0.008)
    temp = body.temp_c + slope * seconds + rng.normal(0, 0.01, len(seconds))
    mean_ibi_s = body.ibi_s * (0.78 if aroused else 1.0)
    beats = mean_ibi_s + rng.normal(0, 0.02 if aroused else 0.045, int(WINDOW_S / mean_ibi_s) + 1)
    offsets = np.cumsum(beats)
    ibi = np.stack([offsets, beats], axis=1)[offsets < WINDOW_S]
    return {
        "eda": eda.astype(np.float32),
        "temp": temp.astype(np.float32),
        "ibi": ibi.astype(np.float32),
    }
