"""The embedded sample: a generated corpus to try the program.

It is synthetic and no evidence about emotion. Four emotions are the quadrants of arousal and
valence: anger (high, negative), happiness (high, positive), sadness (low, negative) and contentment
(low, positive). Speech shows arousal alone (pitch, energy, rate), words show valence alone, body
signals (skin conductance, temperature, heart-beat intervals) show arousal weakly. Each shows the
opposite in a fixed fraction of the utterances, drawn independently: speech in 8 %, words in 8 %,
signals in 28 %; and each is missing in 4 % of the utterances (never two at once). So no model can
be expected to exceed the accuracies of `CEILINGS` on new speakers:

    speech .452, text .452, physiology .356, all of them .824

Ten annotators who know the truth vote, each wrong in about a third of the cases, and rate valence
and arousal from 1 to 5; the means are in the manifest.
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

from polymodal.corpora.sample_synthesis import (
    RATE_HZ,
    SAMPLING_RATE_HZ,
    SignalSynth,
    SpeakerSynth,
    synth_signals,
    synth_speech,
    synth_text,
)
from polymodal.errors import ManifestError, reason_of
from polymodal.schemas.manifest import Manifest

VERSION = 1
RATINGS_VERSION = 1  # version of the votes and ratings, which are drawn last
NUM_ANNOTATORS = 10
CLASSES = ("anger", "happiness", "sadness", "contentment")
AROUSED = frozenset({"anger", "happiness"})
POSITIVE = frozenset({"happiness", "contentment"})
P_SHOWN: Mapping[str, float] = MappingProxyType({"speech": 0.92, "text": 0.92, "physiology": 0.72})
P_MISSING = 0.04


def bayes_accuracy(modalities: Sequence[str]) -> float:
    """Return the accuracy that the best possible model expects from some modalities.

    Speech and physiology both show arousal, and speech is more reliable, so physiology helps only
    where speech is missing.

    Example:
        >>> round(bayes_accuracy(["speech"]), 4), round(bayes_accuracy(["speech", "text"]), 4)
        (0.4516, 0.8155)
    """
    total = 0.0
    for absent, probability in [(None, 1 - 3 * P_MISSING), *((key, P_MISSING) for key in P_SHOWN)]:
        here = {name: P_SHOWN[name] for name in modalities if name != absent}
        arousal = max(here.get("speech", 0.5), here.get("physiology", 0.5))
        total += probability * arousal * here.get("text", 0.5)
    return total


CEILINGS: Mapping[str, float] = MappingProxyType(
    {**{name: bayes_accuracy([name]) for name in P_SHOWN}, "all": bayes_accuracy(list(P_SHOWN))}
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
    """Generate the sample on first use, and read it.

    It is cached below `root`, in a folder for each set of options: the declared classes, the number
    of speakers (at least 3) and of the utterances of each, and the seed. `max_refused` is not used;
    every reader has it.

    Raises:
        ManifestError: The folder cannot be written, or there are fewer than three speakers.
    """
    if num_speakers < 3 or num_utterances < len(CLASSES):
        raise ManifestError(
            f"a sample of {num_speakers} speakers with {num_utterances} utterances each",
            expected="at least 3 speakers and 4 utterances",
        )
    size = f"{num_speakers}x{num_utterances}"
    folder = Path(root).expanduser() / f"v{VERSION}.{RATINGS_VERSION}-{size}-seed{seed}"
    if not (folder / "manifest.parquet").is_file():
        try:
            _generate(folder, num_speakers, num_utterances, seed)
        except OSError as error:
            raise ManifestError(
                f"the sample cannot be written to {folder}: {reason_of(error)}",
                hint="set corpus.root or paths.cache to a folder that can be written",
            ) from None
    return Manifest.read(folder / "manifest.parquet")


def _generate(folder: Path, num_speakers: int, num_utterances: int, seed: int) -> None:
    """Write a temporary folder, then rename it; of two processes one wins with equal bytes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    tmp_dir = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
    try:
        (tmp_dir / "audio").mkdir()
        rows, values = _utterances(tmp_dir, num_speakers, num_utterances, seed)
        for name, arrays in values.items():
            np.save(tmp_dir / f"{name}.npy", np.concatenate(arrays))
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(tmp_dir / "manifest.parquet")
        about = {"corpus": "polymodal sample, synthetic", "ceilings": dict(CEILINGS)}
        (tmp_dir / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        tmp_dir.chmod(0o755)
        try:
            tmp_dir.rename(folder)
        except OSError:
            if not (folder / "manifest.parquet").is_file():
                raise
    finally:
        shutil.rmtree(tmp_dir, ignore_errors=True)


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
            utterance_id = f"s{speaker:02d}-{number:02d}"
            row, signals = _utterance(folder, voice, body, utterance_id, number, rng)
            row["signals"] = []
            for name, array in signals.items():
                reference = {"name": name, "path": f"{name}.npy", "rate_hz": RATE_HZ[name]}
                span = {"start": starts[name], "length": len(array)}
                row["signals"].append(reference | span)
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
    """Return a row, with its audio written, and its signals; one modality may be missing."""
    label = CLASSES[number % len(CLASSES)]
    shown = {key: rng.random() < probability for key, probability in P_SHOWN.items()}
    absent = rng.choice([*P_SHOWN, "nothing"], p=[*[P_MISSING] * 3, 1 - 3 * P_MISSING])
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
    row |= _annotations(label, rng)
    return row, {} if absent == "physiology" else signals


def _annotations(label: str, rng: np.random.Generator) -> dict[str, Any]:
    """Return votes, and the means of ratings from 1 to 5."""
    aroused, positive = label in AROUSED, label in POSITIVE
    weights = [
        0.68 if name == label else 0.16 if (name in AROUSED) == aroused else 0.08
        for name in CLASSES
    ]
    counts = rng.multinomial(NUM_ANNOTATORS, np.array(weights) / sum(weights))
    ratings = {
        name: np.clip(np.rint(rng.normal(4 if high else 2, 0.8, NUM_ANNOTATORS)), 1, 5).mean()
        for name, high in (("valence", positive), ("arousal", aroused))
    }
    pairs = zip(CLASSES, counts, strict=True)
    votes = [{"label": name, "count": int(count)} for name, count in pairs if count]
    return {"votes": votes, **{name: float(mean) for name, mean in ratings.items()}}
