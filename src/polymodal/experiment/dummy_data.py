"""A small corpus of noise, and an experiment on it: the real components, without the real data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import soundfile

from polymodal.data.folds import Fold
from polymodal.data.leakage import add_transcript_groups
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.evaluation.classification import Score
from polymodal.experiment.components import build_encoders
from polymodal.experiment.dry_run import DryRunCallback, DryRunResult
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import trainer_from
from polymodal.schemas.manifest import Manifest
from polymodal.training.tasks import Task

NUM_ROWS = 12  # four of them to validate
BATCH_S = 12.0  # budget of a batch
NUM_FRAMES = 25  # of features that are stored
DURATIONS_S = (2.0, 1.0, 1.5, 3.0)
RATES_HZ: Mapping[str, float | None] = {"eda": 4.0, "temp": 4.0, "ibi": None, "ecg": 256.0}


def dry_run(
    config: Mapping[str, Any], task: Task, scores: Mapping[str, Score], folder: Path
) -> DryRunResult:
    """Train and validate on two batches of noise on the CPU, with the real components.

    Args:
        config: The configuration; its encoders are built as they stand there.
        task: The task.
        scores: Name to score.
        folder: An empty folder for the noise.

    Raises:
        Exception: What a component raises.
    """
    manifest = dummy_manifest(config, task, folder)
    ids = manifest.frame["utterance_id"].to_list()
    splits = {
        utterance: "val" if index % 3 == 2 else "train" for index, utterance in enumerate(ids)
    }
    fold = Fold(0, {"utterance_id": splits})
    plain = {**config, "data": {**config["data"], "num_workers": 0, "batch_s": BATCH_S}}
    encoders = build_encoders(config["encoder"])
    experiment = Experiment(plain, manifest, [fold], task, dict(scores), encoders, "", [])
    for name, encoder in experiment.frozen.items():
        experiment.features[name] = _features(encoder, ids)
    callback = DryRunCallback()
    trainer = trainer_from(
        {**_kept(config["trainer"]), **_short_training()},
        "32-true",
        several=len(encoders) > 1,
        callbacks=[callback],
        logger=False,
    )
    module = experiment.build_module(fold)
    training = experiment.build_loader(fold, "train", training=True)
    trainer.fit(module, training, experiment.build_loader(fold, "val"))
    return callback.seen


def dummy_manifest(config: Mapping[str, Any], task: Task, folder: Path) -> Manifest:
    """Write noise for every modality, and the table of it.

    Of several modalities each is missing once, as it can be in real data.

    Args:
        config: The configuration, whose encoders say which signals they read.
        task: The task; every class is there.
        folder: An empty folder.
    """
    rng = np.random.default_rng(0)
    rows = [_row(number, task, config["encoder"], folder, rng) for number in range(NUM_ROWS)]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return add_transcript_groups(Manifest(frame, folder))


def _row(
    number: int, task: Task, encoders: Mapping[str, Any], folder: Path, rng: np.random.Generator
) -> dict[str, Any]:
    names = task.classes or task.values
    label, duration_s = names[number % len(names)], DURATIONS_S[number % len(DURATIONS_S)]
    name = f"noise{number:02d}"
    row: dict[str, Any] = {
        "utterance_id": name,
        "speaker": f"s{number % 4}",
        "label": label if task.name != "regression" else None,
        "votes": [{"label": label, "count": 3}] if task.name != "regression" else None,
        "duration_s": duration_s,
        "audio": None,
        "text": None,
        "signals": None,
        **{value: float(rng.uniform(1, 5)) for value in ("valence", "arousal")},
        **{value: float(rng.uniform(1, 5)) for value in task.values},
    }
    absent = number if len(encoders) > 1 else -1  # the number of the modality that is missing
    sampled = rng.normal(0, 0.1, int(duration_s * 16000)).astype(np.float32)
    if absent != 0:
        soundfile.write(folder / f"{name}.wav", sampled, 16000)
        row["audio"] = f"{name}.wav"
    if absent != 1:
        row["text"] = f"오늘 날씨가 좋네요 number {number}"
    if absent != 2:
        row["signals"] = [
            _signal(signal, folder, name, duration_s, rng, size)
            for signal, size in _signals(encoders).items()
        ]
    return row


def _signal(
    signal: str,
    folder: Path,
    name: str,
    duration_s: float,
    rng: np.random.Generator,
    size: int | None,
) -> dict[str, Any]:
    rate = RATES_HZ.get(signal, 25.0)
    num = max(2, int(duration_s * (rate or 1.2)))
    values = rng.normal(size=num if size is None else (num, size)).astype(np.float32)
    if rate is None:  # one interval between heart beats after the other, in seconds
        values = (0.8 + 0.05 * np.tanh(values)).astype(np.float32)
    path = f"{name}-{signal.replace('/', '_')}.npy"
    np.save(folder / path, values)
    return {"name": signal, "path": path, "rate_hz": rate, "start": 0, "length": None}


def _signals(encoders: Mapping[str, Any]) -> dict[str, int | None]:
    """Return the signals to write, and the width of vectors."""
    signals: dict[str, int | None] = dict.fromkeys(RATES_HZ)
    for section in encoders.values():
        named = section.get("signals") or []
        signals |= dict.fromkeys(map(str, named))
        if section.get("signal"):
            signals[str(section["signal"])] = section.get("feature_size")
    return signals


def _features(encoder: FrozenEncoder, ids: list[str]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    frames = 1 if encoder.frame_rate_hz is None else NUM_FRAMES
    shape = (frames, encoder.feature_size)
    return {utterance: rng.normal(size=shape).astype(np.float32) for utterance in ids[1:]}


def _kept(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the trainer options that change the result, not the device or the duration."""
    names = ("_target_", "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")
    return {name: section[name] for name in names if name in section}


def _short_training() -> dict[str, Any]:
    return {
        "accelerator": "cpu",
        "devices": 1,
        "strategy": "auto",
        "max_epochs": 1,
        "limit_train_batches": 2,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
        "log_every_n_steps": 1,
        "inference_mode": True,
    }
