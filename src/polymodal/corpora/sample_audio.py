"""Speech-like sound for the sample: a pulse source, vowels as formants, syllables.

A small source-filter model of speech (Fant, 1960): a pulse train with falling pitch and some noise
is shaped by three resonances a syllable.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

SAMPLING_RATE_HZ = 16_000
# First three resonances of five vowels, in Hz, near those of an adult's a, e, i, o, u.
VOWELS_HZ = np.array(
    [[750, 1200, 2600], [500, 1800, 2500], [300, 2200, 3000], [450, 850, 2500], [320, 750, 2400]]
)
BANDWIDTHS_HZ = np.array([90.0, 120.0, 180.0])


@dataclass(frozen=True)
class SpeakerSynth:
    """How a speaker sounds when calm."""

    pitch_hz: float  # mean
    tract: float  # factor on the resonances: below 1 for a long vocal tract
    gain: float  # relative loudness
    breath: float  # amplitude of noise in the source

    @classmethod
    def draw(cls, rng: np.random.Generator, *, woman: bool) -> "SpeakerSynth":
        """Draw a speaker; pitch and resonances of a woman are higher."""
        pitch_hz = rng.uniform(175, 225) if woman else rng.uniform(95, 130)
        tract = rng.uniform(1.08, 1.2) if woman else rng.uniform(0.94, 1.06)
        return cls(pitch_hz, tract, gain=rng.uniform(0.8, 1.25), breath=rng.uniform(0.02, 0.08))


def synth_speech(
    voice: SpeakerSynth, rng: np.random.Generator, *, aroused: bool
) -> Float[np.ndarray, " sample"]:
    """Synthesise one utterance: `[sample]` at `SAMPLING_RATE_HZ`, within -1 to 1.

    With `aroused` pitch is higher and livelier, and speech louder, faster and brighter.
    """
    rate_hz = rng.normal(5.4, 0.4) if aroused else rng.normal(3.6, 0.3)
    num_syllables = int(rng.integers(5, 9))
    syllables = [
        _syllable(voice, rng, index / num_syllables, rate_hz, aroused)
        for index in range(num_syllables)
    ]
    pause = np.zeros(int(SAMPLING_RATE_HZ * rng.uniform(0.03, 0.1)))
    loudness = (0.32 if aroused else 0.13) * voice.gain * rng.uniform(0.85, 1.15)
    waveform = np.concatenate([pause, *syllables, pause])
    waveform *= loudness / np.abs(waveform).max()
    waveform += rng.normal(0, 1e-3, len(waveform))
    return np.asarray(np.clip(waveform, -1, 1))


def _syllable(
    voice: SpeakerSynth, rng: np.random.Generator, position: float, rate_hz: float, aroused: bool
) -> Float[np.ndarray, " sample"]:
    num_samples = int(SAMPLING_RATE_HZ / rate_hz * rng.uniform(0.8, 1.2))
    raised, liveliness = (1.4, 0.14) if aroused else (1.0, 0.05)
    level = voice.pitch_hz * raised * (1.08 - 0.16 * position) * np.exp(rng.normal(0, liveliness))
    pitch_hz = level * np.linspace(1 + rng.normal(0, liveliness), 1, num_samples)
    phase = np.cumsum(pitch_hz) / SAMPLING_RATE_HZ
    source = np.diff(np.floor(phase), prepend=0.0)  # one pulse a period
    source += rng.normal(0, voice.breath, num_samples)
    spectrum = np.fft.rfft(source)
    frequency_hz = np.fft.rfftfreq(num_samples, 1 / SAMPLING_RATE_HZ)
    tilt = 0.9 if aroused else 1.4
    shape = _resonances(frequency_hz, VOWELS_HZ[rng.integers(len(VOWELS_HZ))] * voice.tract)
    shaped = np.fft.irfft(spectrum * shape / (1 + frequency_hz / 500) ** tilt, num_samples)
    return np.asarray(shaped * np.hanning(num_samples) ** 0.5)


def _resonances(
    frequency_hz: Float[np.ndarray, " bin"], centres_hz: Float[np.ndarray, " formant"]
) -> Float[np.ndarray, " bin"]:
    distance = (frequency_hz[:, None] - centres_hz) / BANDWIDTHS_HZ
    return np.asarray((1 / (1 + distance**2)).sum(axis=1) + 0.02)
