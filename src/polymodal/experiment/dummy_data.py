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
from polymodal.experiment.dry_run import (
    DryRunCallback,
    DryRunResult,
    components_that_read_padding,
)
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import trainer_from
from polymodal.schemas.manifest import Manifest
from polymodal.training.tasks import Task

NUM_ROWS = 12  # four of them to validate
BATCH_S = 12.0  # budget of a batch
NUM_FRAMES = 25  # of features that are stored
DURATIONS_S = (2.0, 1.0, 1.5, 3.0)
MODALITIES = ("audio", "text", "signals")


def dry_run(
    config: Mapping[str, Any],
    task: Task,
    scores: Mapping[str, Score],
    folder: Path,
    corpus: Manifest | None = None,
) -> DryRunResult:
    """Train and validate on two batches of noise on the CPU, with the real components.

    Args:
        config: The configuration; its encoders are built as they stand there.
        task: The task.
        scores: Name to score.
        folder: An empty folder for the noise.
        corpus: The corpus, if it could be read: signals are taken from it, since their names,
            widths and rates are known only there.

    Raises:
        Exception: What a component raises.
    """
    encoders = build_encoders(config["encoder"])
    manifest = dummy_manifest(task, folder, corpus, num_modalities=len(encoders))
    ids = manifest.frame["utterance_id"].to_list()
    splits = {
        utterance: "val" if index % 3 == 2 else "train" for index, utterance in enumerate(ids)
    }
    fold = Fold(0, {"utterance_id": splits})
    plain = {**config, "data": {**config["data"], "num_workers": 0, "batch_s": BATCH_S}}
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
    validation = experiment.build_loader(fold, "val")
    trainer.fit(module, training, validation)
    if validation is not None:
        callback.seen.reads_padding = components_that_read_padding(module, next(iter(validation)))
    return callback.seen


def dummy_manifest(
    task: Task, folder: Path, corpus: Manifest | None, *, num_modalities: int
) -> Manifest:
    """Write noise for every modality, and the table of it; signals are those of the corpus.

    Of several modalities each is missing once, as it can be in real data.

    Args:
        task: The task; every class is there.
        folder: An empty folder.
        corpus: The corpus, if it could be read.
        num_modalities: Number of modalities that the experiment reads.
    """
    rng = np.random.default_rng(0)
    signals = [] if corpus is None else _some_signals(corpus)
    rows = [_row(number, task, folder, rng) for number in range(NUM_ROWS)]
    for number, row in enumerate(rows):
        if signals:
            row["signals"] = signals[number % len(signals)]
        if num_modalities > 1 and number < len(MODALITIES):
            row[MODALITIES[number]] = None
    frame = pl.DataFrame(rows, infer_schema_length=None)
    root = None if corpus is None else corpus.signals_folder
    return add_transcript_groups(Manifest(frame, folder, signals_root=root))


def _some_signals(corpus: Manifest) -> list[list[dict[str, Any]]]:
    """Return the signals of rows that have the most of them, from short ones to the median."""
    num_signals = pl.col("signals").list.len()
    complete = corpus.frame.filter((num_signals > 0) & (num_signals == num_signals.max()))
    shorter = complete.sort("duration_s").head(max(NUM_ROWS, len(complete) // 2))
    return shorter["signals"].gather_every(max(1, len(shorter) // NUM_ROWS)).to_list()


def _row(number: int, task: Task, folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    names = task.classes or task.values
    label, duration_s = names[number % len(names)], DURATIONS_S[number % len(DURATIONS_S)]
    name = f"noise{number:02d}"
    sampled = rng.normal(0, 0.1, int(duration_s * 16000)).astype(np.float32)
    soundfile.write(folder / f"{name}.wav", sampled, 16000)
    return {
        "utterance_id": name,
        "speaker": f"s{number % 4}",
        "label": label if task.name != "regression" else None,
        "votes": [{"label": label, "count": 3}] if task.name != "regression" else None,
        "duration_s": duration_s,
        "audio": f"{name}.wav",
        "text": f"오늘 날씨가 좋네요 number {number}",
        "signals": None,
        **{value: float(rng.uniform(1, 5)) for value in ("valence", "arousal")},
        **{value: float(rng.uniform(1, 5)) for value in task.values},
    }


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
