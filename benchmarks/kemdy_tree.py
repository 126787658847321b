"""Writes synthetic trees in the layout of KEMDy19 and KEMDy20, for tests and for the clock.

No word and no sound is ETRI's. What is not certain about the corpora (words of the second header
row, how time is written, the ECG's rate and field order) is an option, so that a reader can be
shown to depend on none of it.
"""

import csv
import wave
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

EMOTIONS = ("happy", "surprise", "angry", "neutral", "disgust", "fear", "sad")
WORDS = ("그래 알았어", "정말이야", "그만해", "밥 먹었어", "무슨 소리야", "몰라", "괜찮아")
BEGAN = datetime(2019, 10, 1, 10)
Rows = list[list[object]]


def usual_time(at_s: float) -> str:
    """Writes a time as `2019-10-01 10:00:00.250`."""
    return (BEGAN + timedelta(seconds=at_s)).isoformat(" ", "milliseconds")


@dataclass(frozen=True)
class Layout:
    """How a tree is written.

    Args:
        heads: Words of the second header row for emotion, valence and arousal.
        time: Seconds to how a time is written.
        ecg_rate_hz: Rate of the ECG.
        ecg_has_time: Whether field 0 of an ECG row is the time, or the ECG itself.
        encoding: Of the annotation tables.
        text_encoding: Of the transcripts.
        text: Utterance number to transcript.
        utterance_s: Length of every utterance; a number to (shortest, longest) draws it.
    """

    heads: tuple[str, str, str] = ("Emotion", "Valence", "Arousal")
    time: Callable[[float], str] = usual_time
    ecg_rate_hz: float = 250.0
    ecg_has_time: bool = True
    encoding: str = "utf-8"
    text_encoding: str = "utf-8"
    text: Callable[[int], str] = field(
        default=lambda number: f"b/ {WORDS[number % len(WORDS)]}* o/ (아니 {number})\n"
    )
    utterance_s: tuple[float, float] = (0.4, 0.9)


def write_kemdy19(
    folder: Path, *, sessions: int = 2, utterances: int = 4, layout: Layout | None = None
) -> Path:
    """Writes a tree of KEMDy19 without dirt.

    Args:
        folder: Where `KEMDy19` is made.
        sessions: Number of sessions, each with ten dialogues.
        utterances: Utterances a dialogue, in turns.
        layout: How it is written.

    Returns:
        The root of the corpus.
    """
    how, root = layout or Layout(), folder / "KEMDy19"
    rng, noise = np.random.default_rng(19), np.random.default_rng(0)
    dialogues = [f"script{n:02d}" for n in range(1, 7)] + [f"impro{n:02d}" for n in range(1, 5)]
    for session in range(1, sessions + 1):
        tables: dict[str, Rows] = {"F": [], "M": []}
        signals = {(who, kind): Rows() for who in "FM" for kind in ("EDA", "TEMP", "ECG")}
        clock_s = 0.0
        for dialogue in dialogues:
            place = root / f"wav/Session{session:02d}/Sess{session:02d}_{dialogue}"
            place.mkdir(parents=True)
            at_s = 0.0
            for number in range(utterances):
                letter = "FM"[number % 2]
                segment = f"Sess{session:02d}_{dialogue}_{letter}{number // 2 + 1:03d}"
                seconds = _utterance(place / segment, number, how, rng)
                for who in "FM":
                    times = [f"{at_s:.3f}", f"{at_s + seconds:.3f}"]
                    values = ["-0.14", "-0.02", "0.14", "0.15", "30.69", "30.71"]
                    row = [*times, *values, segment, *_said(rng)]
                    tables[who].append([len(tables[who]) + 1, *row])
                    _sample19(signals, who, segment, clock_s, seconds, how, noise)
                at_s, clock_s = at_s + seconds + 0.3, clock_s + seconds + 0.3
        for who in "FM":
            heads = [
                ["Numb", "Wav", "", "ECG", "", "E4-EDA", "", "E4-TEMP", "", "Segment ID"]
                + ["Total Evaluation", "", ""]
                + [cell for n in range(1, 11) for cell in (f"Eval{n:02d}", "", "")],
                ["", *["start", "end"] * 4, "", *how.heads * 11],
            ]
            path = root / f"annotation/Session{session:02d}_{who}_res.csv"
            write_csv(path, heads + tables[who], how.encoding)
        for (who, kind), rows in signals.items():
            name = f"{kind}/Session{session:02d}/Original/Sess{session:02d}{who}.csv"
            write_csv(root / name, rows)
    return root


def write_kemdy20(
    folder: Path, *, sessions: int = 2, utterances: int = 4, layout: Layout | None = None
) -> Path:
    """Writes a tree of KEMDy20 without dirt.

    Args:
        folder: Where `KEMDy20_v1_1` is made.
        sessions: Number of sessions, each with six talks of two people.
        utterances: Utterances a talk, in turns.
        layout: How it is written; transcripts are cp949 by default.

    Returns:
        The root of the corpus.
    """
    how, root = layout or Layout(text_encoding="cp949"), folder / "KEMDy20_v1_1"
    rng, noise = np.random.default_rng(20), np.random.default_rng(0)
    for session in range(1, sessions + 1):
        people = [f"User{2 * session - 1:03d}F", f"User{2 * session:03d}M"]
        table: Rows = []
        place = root / f"wav/Session{session:02d}"
        place.mkdir(parents=True)
        for script in range(1, 7):
            signals: dict[tuple[str, str], Rows] = {
                (who, kind): [["1601546400.0"], ["4.0"]]
                if kind != "IBI"
                else [["1601546400.0, IBI"]]
                for who in people
                for kind in ("EDA", "TEMP", "IBI")
            }
            at_s = 0.0
            for number in range(utterances):
                who = people[number % 2]
                segment = f"Sess{session:02d}_script{script:02d}_{who}_{number // 2 + 1:03d}"
                seconds = _utterance(place / segment, number, how, rng)
                times = [f"{at_s:.3f}", f"{at_s + seconds:.3f}"]
                table.append([len(table) + 1, *times, segment, *_said(rng, disgust="disqust")])
                _sample20(signals, who, segment, at_s, seconds, how, noise)
                at_s += seconds + 0.3
            for (who, kind), rows in signals.items():
                name = f"Sess{session:02d}_script{script:02d}_{who}.csv"
                write_csv(root / f"{kind}/Session{session:02d}/{name}", rows)
        raters = [cell for n in range(1, 11) for cell in (f"Eval{n:02d}F", " ", " ")]
        heads = [
            ["Numb", "Wav", " ", "Segment ID", "Total Evaluation", " ", " ", *raters],
            [" ", "start", "end", " ", *how.heads * 11],
        ]
        write_csv(root / f"annotation/Sess{session:02d}_eval.csv", heads + table, how.encoding)
    return root


def write_csv(path: Path, rows: Sequence[Sequence[object]], encoding: str = "utf-8") -> None:
    """Writes a table.

    Args:
        path: The file; its folder is made.
        rows: The cells.
        encoding: Of the text.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows(rows)


def write_wav(path: Path, seconds: float, rng: np.random.Generator) -> None:
    """Writes noise at 16 kHz.

    Args:
        path: The file.
        seconds: Its length.
        rng: Source of random numbers.
    """
    samples = rng.integers(-8000, 8000, int(seconds * 16_000), dtype=np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())


def _utterance(stem: Path, number: int, how: Layout, rng: np.random.Generator) -> float:
    seconds = round(float(rng.uniform(*how.utterance_s)), 3)
    write_wav(stem.with_suffix(".wav"), seconds, rng)
    stem.with_suffix(".txt").write_bytes(how.text(number).encode(how.text_encoding))
    return seconds


def _said(rng: np.random.Generator, disgust: str = "disgust") -> list[object]:
    """Majority, mean valence and arousal, then ten annotators."""
    emotion = EMOTIONS[rng.integers(7)]
    votes = [emotion] * 7 + [EMOTIONS[place] for place in rng.integers(7, size=3)]
    scores = rng.integers(1, 6, (10, 2))
    raters = [[vote, *pair] for vote, pair in zip(votes, scores.tolist(), strict=True)]
    cells = [emotion, *scores.mean(axis=0).tolist(), *(cell for one in raters for cell in one)]
    return [disgust if cell == "disgust" else cell for cell in cells]


def _sample19(
    signals: Mapping[tuple[str, str], Rows],
    who: str,
    segment: str,
    clock_s: float,
    seconds: float,
    how: Layout,
    rng: np.random.Generator,
) -> None:
    for kind, rate_hz in (("EDA", 4.0), ("TEMP", 4.0), ("ECG", how.ecg_rate_hz)):
        rows = signals[who, kind]
        for number in range(max(1, int(seconds * rate_hz))):
            at_s = clock_s + number / rate_hz
            value = f"{rng.normal():.5f}"
            first = [f"{at_s:.3f}", value] if how.ecg_has_time else [value, "1"]
            rows.append([*(first if kind == "ECG" else [value, "0.25"]), how.time(at_s), segment])
        rows.append(["0.5", "0.25", how.time(clock_s + seconds)])  # between segments


def _sample20(
    signals: Mapping[tuple[str, str], Rows],
    who: str,
    segment: str,
    at_s: float,
    seconds: float,
    how: Layout,
    rng: np.random.Generator,
) -> None:
    for kind in ("EDA", "TEMP"):
        rows = signals[who, kind]
        for number in range(max(1, int(seconds * 4))):
            rows.append([f"{rng.normal():.5f}", how.time(at_s + number / 4), segment])
        rows.append(["0.5", how.time(at_s + seconds)])
    beats = signals[who, "IBI"]
    beats.append([f"{at_s:.6f}", "0.800000", how.time(at_s), segment])
    beats.append([f"{at_s + 0.3:.6f}", "0.300000", how.time(at_s + 0.3), segment])
    beats.append([f"{at_s + seconds:.6f}", "0.812500", how.time(at_s + seconds)])
