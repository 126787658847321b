"""Speech-like sound, sentences and body signals for the sample.

A small source-filter model of speech (Fant, 1960): a pulse train with falling pitch and some noise
is shaped by three resonances a syllable. In the Korean sentences verdicts show valence, times and
topics do not. Signals are skin conductance, skin temperature and heart-beat intervals.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

SAMPLING_RATE_HZ = 16_000
# First three resonances of five vowels, in Hz, near those of an adult's a, e, i, o, u.
VOWELS_HZ = np.array(
    [[750, 1200, 2600], [500, 1800, 2500], [300, 2200, 3000], [450, 850, 2500], [320, 750, 2400]]
)
BANDWIDTHS_HZ = np.array([90.0, 120.0, 180.0])
WINDOW_S = 10.0
# Heart-beat intervals are events, so they have no rate.
RATE_HZ: Mapping[str, float | None] = MappingProxyType({"eda": 4.0, "temp": 4.0, "ibi": None})
TIMES = (
    *("오늘 아침에", "어제저녁에", "지난주에", "방금", "점심때", "주말에", "며칠 전에", "퇴근길에"),
    *("밤늦게", "오후에", "월요일에", "얼마 전에"),
)
TOPICS = (
    *("동생이 보낸 편지는", "새로 나온 책은", "회사에서 받은 소식은", "친구와 본 영화는"),
    *("이웃이 만든 음식은", "학교에서 들은 이야기는", "가족과 간 여행은", "시장에서 산 물건은"),
    *("선생님의 대답은", "동네 축제는", "기다리던 전화는", "창밖의 풍경은", "회의 결과는"),
    *("누나의 공연은", "아침 산책은", "도서관에서 한 일은"),
)
GOOD = (
    *("정말 마음에 들었어요", "참 반갑고 고마웠어요", "생각보다 훌륭했어요", "무척 즐거웠어요"),
    *("아주 따뜻했어요", "기대한 만큼 좋았어요", "모두를 웃게 했어요", "큰 힘이 되었어요"),
    *("매우 만족스러웠어요", "참 아름다웠어요", "큰 선물 같았어요", "더없이 행복한 시간이었어요"),
    *("자랑스럽기만 했어요", "믿음직하고 든든했어요"),
)
BAD = (
    *("너무 실망스러웠어요", "정말 마음에 안 들었어요", "참 속상하고 괴로웠어요"),
    *("생각보다 형편없었어요", "무척 불쾌했어요", "아주 답답했어요", "기대와 달리 나빴어요"),
    *("모두를 힘들게 했어요", "큰 상처가 되었어요", "매우 불만스러웠어요", "참 끔찍했어요"),
    *("견디기 어려운 시간이었어요", "원망스럽기만 했어요", "못 미덥고 불안했어요"),
)


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


def synth_text(rng: np.random.Generator, *, positive: bool) -> str:
    """Draw a sentence."""
    time = TIMES[rng.integers(len(TIMES))]
    topic = TOPICS[rng.integers(len(TOPICS))]
    verdicts = GOOD if positive else BAD
    return f"{time} {topic} {verdicts[rng.integers(len(verdicts))]}."


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

    With `aroused` conductance responds, the skin cools and the heart beats faster.

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
