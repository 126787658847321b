"""The embedded sample: a generated corpus for trying the program out.

It is synthetic and no evidence about emotion. Four emotions are the quadrants of arousal and
valence: anger (high, negative), happiness (high, positive), sadness (low, negative) and contentment
(low, positive). Speech shows arousal alone (pitch, energy, rate), words show valence alone, body
signals (skin conductance, temperature, heart-beat intervals) show arousal weakly. Each shows the
wrong thing in a fixed share of the utterances, drawn independently: speech in 8 %, words in 8 %,
signals in 28 %; and each is missing in 4 % of the utterances (never two at once). So no model can
be expected to be right more often than `CEILINGS` says on new speakers:

    speech .452, text .452, physiology .356, all of them .824

Ten annotators who know the truth say what they hear, each wrong in about a third of the cases, and
rate valence and arousal from 1 to 5; the means are in the manifest.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
import soundfile

from polymodal.corpora.sample_audio import SAMPLING_RATE_HZ, SpeakerSynth, synth_speech
from polymodal.corpora.sample_signals import RATE_HZ, SignalSynth, synth_signals
from polymodal.corpora.sample_text import synth_text
from polymodal.errors import ManifestError
from polymodal.schemas.manifest import Manifest

VERSION = 1
OPINIONS = 1  # version of what the annotators say, which comes after all else is drawn
NUM_ANNOTATORS = 10
CLASSES = ("anger", "happiness", "sadness", "contentment")
AROUSED = frozenset({"anger", "happiness"})
POSITIVE = frozenset({"happiness", "contentment"})
SHOWN: Mapping[str, float] = MappingProxyType({"speech": 0.92, "text": 0.92, "physiology": 0.72})
MISSING = 0.04


def bayes_accuracy(modalities: Sequence[str]) -> float:
    """Returns the accuracy that the best possible model expects from some modalities.

    Of the three, speech and physiology tell the same thing, and speech is right more often, so
    physiology adds something only where speech is missing.

    Args:
        modalities: Some of `speech`, `text` and `physiology`.

    Returns:
        The share of utterances.

    Example:
        >>> round(bayes_accuracy(["speech"]), 4), round(bayes_accuracy(["speech", "text"]), 4)
        (0.4516, 0.8155)
    """
    total = 0.0
    for absent, share in [(None, 1 - 3 * MISSING), *((name, MISSING) for name in SHOWN)]:
        here = {name: SHOWN[name] for name in modalities if name != absent}
        arousal = max(here.get("speech", 0.5), here.get("physiology", 0.5))
        total += share * arousal * here.get("text", 0.5)
    return total


CEILINGS: Mapping[str, float] = MappingProxyType(
    {**{name: bayes_accuracy([name]) for name in SHOWN}, "all": bayes_accuracy(list(SHOWN))}
)


def read_sample(
    root: str,
    *,
    classes: Sequence[str] = CLASSES,
    num_speakers: int = 15,
    num_utterances: int = 44,
    seed: int = 0,
    max_refused: int | None = 0,
) -> Manifest:
    """Generates the sample on first use, and reads it.

    Args:
        root: Folder below which it is kept, a folder for each set of options.
        classes: The declared classes.
        num_speakers: Number of speakers, at least 3.
        num_utterances: Utterances of each speaker.
        seed: Seed of everything random.
        max_refused: Not used; every reader has it.

    Returns:
        The manifest.

    Raises:
        ManifestError: The folder cannot be written, or there are fewer than three speakers.
    """
    if num_speakers < 3 or num_utterances < len(CLASSES):
        raise ManifestError(
            f"a sample of {num_speakers} speakers with {num_utterances} utterances each",
            expected="at least 3 speakers and 4 utterances",
        )
    folder = (
        Path(root).expanduser()
        / f"v{VERSION}.{OPINIONS}-{num_speakers}x{num_utterances}-seed{seed}"
    )
    if not (folder / "manifest.parquet").is_file():
        try:
            _generate(folder, num_speakers, num_utterances, seed)
        except OSError as error:
            raise ManifestError(
                f"the sample cannot be written to {folder}: {error}",
                hint="set paths.cache to a folder that can be written",
            ) from None
    return Manifest.read(folder / "manifest.parquet")


def _generate(folder: Path, num_speakers: int, num_utterances: int, seed: int) -> None:
    """Writes everything beside the folder, then renames; of two processes one wins, equal bytes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
    try:
        (beside / "audio").mkdir()
        rows, values = _utterances(beside, num_speakers, num_utterances, seed)
        for name, arrays in values.items():
            np.save(beside / f"{name}.npy", np.concatenate(arrays))
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(beside / "manifest.parquet")
        about = {"corpus": "polymodal sample, synthetic", "ceilings": dict(CEILINGS)}
        (beside / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        beside.chmod(0o755)
        try:
            beside.rename(folder)
        except OSError:
            if not (folder / "manifest.parquet").is_file():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _utterances(
    folder: Path, num_speakers: int, num_utterances: int, seed: int
) -> tuple[list[dict[str, Any]], dict[str, list[np.ndarray]]]:
    rows: list[dict[str, Any]] = []
    values: dict[str, list[np.ndarray]] = {"eda": [], "temp": [], "ibi": []}
    starts = dict.fromkeys(values, 0)
    for speaker in range(num_speakers):
        drawn = np.random.default_rng((VERSION, seed, speaker))
        voice, body = SpeakerSynth.draw(drawn, woman=speaker % 2 == 0), SignalSynth.draw(drawn)
        for number in range(num_utterances):
            rng = np.random.default_rng((VERSION, seed, speaker, number))
            row, signals = _utterance(
                folder, voice, body, f"s{speaker:02d}-{number:02d}", number, rng
            )
            row["signals"] = [
                {
                    "name": name,
                    "path": f"{name}.npy",
                    "rate_hz": RATE_HZ[name],
                    "start": starts[name],
                    "length": len(array),
                }
                for name, array in signals.items()
            ]
            for name, array in signals.items():
                values[name].append(array)
                starts[name] += len(array)
            rows.append(row)
    return rows, values


def _utterance(
    folder: Path,
    voice: SpeakerSynth,
    body: SignalSynth,
    name: str,
    number: int,
    rng: np.random.Generator,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One row, its audio written, its signals returned; some modality may be missing."""
    label = CLASSES[number % len(CLASSES)]
    shown = {one: rng.random() < share for one, share in SHOWN.items()}
    absent = rng.choice([*SHOWN, "nothing"], p=[*[MISSING] * 3, 1 - 3 * MISSING])
    aroused, positive = label in AROUSED, label in POSITIVE
    row: dict[str, Any] = {
        "utterance_id": name,
        "corpus": "sample",
        "speaker": name[:3],
        "label": label,
        "audio": None,
        "text": None,
        "shown_arousal": str(aroused == shown["speech"]),
        "shown_valence": str(positive == shown["text"]),
    }
    if absent != "speech":
        waveform = synth_speech(voice, rng, aroused=aroused == shown["speech"])
        row |= {"audio": f"audio/{name}.flac", "duration_s": len(waveform) / SAMPLING_RATE_HZ}
        soundfile.write(folder / row["audio"], waveform, SAMPLING_RATE_HZ, subtype="PCM_16")
    if absent != "text":
        row["text"] = synth_text(rng, positive=positive == shown["text"])
    signals = synth_signals(body, rng, aroused=aroused == shown["physiology"])
    row |= _opinions(label, rng)
    return row, {} if absent == "physiology" else signals


def _opinions(label: str, rng: np.random.Generator) -> dict[str, Any]:
    """What the annotators say: votes, and the mean of their ratings from 1 to 5."""
    aroused, positive = label in AROUSED, label in POSITIVE
    shares = [
        0.68 if one == label else 0.16 if (one in AROUSED) == aroused else 0.08 for one in CLASSES
    ]
    counts = rng.multinomial(NUM_ANNOTATORS, np.array(shares) / sum(shares))
    ratings = {
        name: np.clip(np.rint(rng.normal(4 if high else 2, 0.8, NUM_ANNOTATORS)), 1, 5).mean()
        for name, high in (("valence", positive), ("arousal", aroused))
    }
    votes = [
        {"label": one, "count": int(count)}
        for one, count in zip(CLASSES, counts, strict=True)
        if count
    ]
    return {"votes": votes, **{name: float(mean) for name, mean in ratings.items()}}
