"""25 heads (5 folds, 5 seeds) on stored features: trained together, or by Lightning."""

import logging
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Row, row
from polymodal.config.compose import compose
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import build_callbacks, build_trainer, fit_fold, predict_split
from polymodal.runs.vectorized.driver import (
    HeadJob,
    fit_vectorized,
    predict_vectorized,
    why_not_vectorizable,
)
from polymodal.tracking.metrics_log import MetricsLog
from polymodal.tracking.run_folder import FoldDir
from polymodal.tracking.run_writer import RunWriter
from polymodal.tracking.trackers.background import BackgroundTracker
from polymodal.tracking.trackers.base import NoTracker
from polymodal.training.checkpoints import read_checkpoint
from polymodal.training.logger import RecordLogger

NUM_FOLDS, NUM_SEEDS, CLASSES = 5, 5, "abcd"
PARTS = ("val", "test")
OPTIONS = (
    "corpus=features",
    "corpus.modalities={speech: speech.npz}",
    f"corpus.classes=[{','.join(CLASSES)}]",
    "encoder=precomputed",
    "encoder.features.signal=speech",
    "split=k_folds",
    f"split.num_folds={NUM_FOLDS}",
    "callbacks.early_stopping=null",
    "trainer.max_epochs=30",
    "trainer.accelerator=cpu",
    "tracker=none",
)


def heads() -> list[Row]:
    """25 heads on stored features, trained together, against Lightning's way."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    pooled = _measure(535, 88, (1, 1), "mlp", num_alone=5)
    sequences = _measure(300, 64, (50, 150), "unimodal", num_alone=25)
    after_another = sequences.total / sequences.num_alone * 25
    return [
        *_times("vectors", pooled),
        row("vectors: 25 together / 1 by Lightning", pooled.together / pooled.quickest, 4, "x"),
        row("vectors: 25 together / 1 together", pooled.together / pooled.single, 25, "x"),
        *_times("sequences", sequences),
        row(
            "sequences: 25 together / 25 by Lightning", sequences.together / after_another, 0.7, "x"
        ),
        row("sequences: 25 together / 1 together", sequences.together / sequences.single, 25, "x"),
    ]


@dataclass(frozen=True)
class Seconds:
    """What heads took, from building their modules to their prediction tables.

    Args:
        total: Those by Lightning, one after another.
        quickest: The quickest of them.
        num_alone: How many these were.
        single: One head by the batched way, the quicker of two.
        together: 25 heads by the batched way, the quicker of two.
    """

    total: float
    quickest: float
    num_alone: int
    single: float
    together: float


def _times(name: str, seconds: Seconds) -> list[Row]:
    return [
        row(f"{name}: 1 head by Lightning", seconds.quickest, 5.0, "s"),
        row(f"{name}: 1 head together", seconds.single, 5.0, "s"),
        row(f"{name}: 25 heads together", seconds.together, 60.0, "s"),
    ]


@dataclass(frozen=True)
class Numbers:
    """An extractor that is never called: the benchmark fills in the features."""

    feature_size: int
    source = "signals"
    sampling_rate_hz = 16_000
    frame_rate_hz = None
    identity = "synthetic"

    def __call__(self, raw: Any) -> np.ndarray:
        """Returns what it is given."""
        return np.asarray(raw)


def numbers(feature_size: int) -> FrozenEncoder:
    """Builds the encoder of the benchmark.

    Args:
        feature_size: Width of the features.

    Returns:
        The encoder.
    """
    return FrozenEncoder(Numbers(feature_size))


def _experiment(
    root: Path, num_rows: int, width: int, frames: tuple[int, int], model: str
) -> Experiment:
    """Synthetic features whose mean tells the class a little, kept in memory as if extracted."""
    random = np.random.default_rng(0)
    labels = random.integers(len(CLASSES), size=num_rows)
    lengths = random.integers(frames[0], frames[1] + 1, size=num_rows)
    means = random.normal(size=(len(CLASSES), width)) / 2
    features = {
        f"u{place}": (random.normal(size=(length, width)) * 2 + means[label]).astype(np.float32)
        for place, (label, length) in enumerate(zip(labels, lengths, strict=True))
    }
    np.savez(root / "speech.npz", **features)
    lines = [
        f"u{place},s{place % 10},{CLASSES[label]},{3 if length == 1 else length / 50}"
        for place, (label, length) in enumerate(zip(labels, lengths, strict=True))
    ]
    head = "utterance_id,speaker,label,duration_s"
    (root / "manifest.csv").write_text("\n".join([head, *lines]) + "\n")
    paths = [f"corpus.root={root}", f"corpus.prepared={root / 'prepared'}"]
    more = [f"encoder.features.feature_size={width}", f"model={model}", *paths]
    experiment = Experiment.prepare(compose([*OPTIONS, *more]).resolved())
    section = {"_target_": "benchmarks.heads.numbers", "feature_size": width}
    return replace(
        experiment,
        config={**experiment.config, "encoder": {"features": section}},
        prototypes={"features": numbers(width)},
        features={"features": features},
    )


def _measure(
    num_rows: int, width: int, frames: tuple[int, int], model: str, *, num_alone: int
) -> Seconds:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        experiment = _experiment(root, num_rows, width, frames, model)
        reason = why_not_vectorizable(experiment)
        assert reason is None, reason
        seeded = [
            replace(experiment, config={**experiment.config, "seed": seed})
            for seed in range(NUM_SEEDS)
        ]
        folds = [(one, fold) for one in seeded for fold in one.folds]

        def jobs(name: str, num: int) -> list[HeadJob]:
            some = enumerate(folds[:num])
            return [HeadJob(one, fold, FoldDir(root / name / str(k))) for k, (one, fold) in some]

        for warm_up in (_together, _by_lightning):  # what is loaded once a process
            warm_up(jobs(warm_up.__name__, 1))
        single = min(_together(jobs(f"single-{k}", 1)) for k in range(2))
        together = min(_together(jobs(f"together-{k}", NUM_FOLDS * NUM_SEEDS)) for k in range(2))
        alone = [_by_lightning([job]) for job in jobs("alone", num_alone)]
        return Seconds(sum(alone), min(alone), num_alone, single, together)


def _together(jobs: Sequence[HeadJob]) -> float:
    began = time.perf_counter()
    for job, trained in zip(jobs, fit_vectorized(jobs), strict=True):
        journal = MetricsLog(job.directory.path / "metrics.jsonl")
        for scores, step, epoch in trained.lines:
            journal.log(scores, step=step, epoch=epoch)
        journal.close()
    for part in PARTS:
        predict_vectorized(jobs, part)
    return time.perf_counter() - began


def _by_lightning(jobs: Sequence[HeadJob]) -> float:
    began = time.perf_counter()
    for job in jobs:
        job.directory.path.mkdir(parents=True)
        writer = RunWriter(
            MetricsLog(job.directory.path / "metrics.jsonl"), BackgroundTracker(NoTracker())
        )
        callbacks = build_callbacks(job.experiment, job.directory)
        trainer = build_trainer(job.experiment, callbacks=callbacks, logger=RecordLogger(writer))
        fit_fold(job.experiment, job.fold, job.directory, job.module, trainer)
        job.module.load_weights(read_checkpoint(job.directory.best_or_last_checkpoint))
        for part in PARTS:
            predict_split(trainer, job.module, job.loader(part), part)
        writer.close()
    return time.perf_counter() - began
