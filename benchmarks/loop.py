"""The training loop of the pipeline over a bare one of PyTorch: same model, same batches."""

import logging
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console

from benchmarks.rows import Row, row
from polymodal.config.compose import compose
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import build_callbacks, build_trainer, fit_fold
from polymodal.tracking.metrics_log import MetricsLog
from polymodal.tracking.run_folder import FoldDir
from polymodal.tracking.run_writer import RunWriter
from polymodal.tracking.trackers.background import BackgroundTracker
from polymodal.tracking.trackers.base import NoTracker
from polymodal.training.logger import RecordLogger
from polymodal.training.progress import Display, ProgressCallback

NUM_ROUNDS, NUM_ROWS, WIDTH, FRAMES = 8, 1280, 64, 80
OPTIONS = (
    "corpus=features",
    "corpus.modalities={speech: speech.npz}",
    "corpus.classes=[a,b,c,d]",
    "encoder=precomputed",
    "encoder.features.signal=speech",
    f"encoder.features.feature_size={WIDTH}",
    "model=fusion/cross_attention",
    "split=k_folds",
    "split.val=0",
    "callbacks=last",
    "data.max_utterances=16",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "tracker=none",
)
# So that a step takes more than 20 ms.
MODEL = ("model.width=96", "model.num_layers=1")


def loop() -> list[Row]:
    """Time of a training step with everything recorded, over that of a bare loop.

    All rounds take the same steps. On a machine that others use each step's quickest round tells
    most, and the processor's seconds (all our threads, one of PyTorch) tell more than the clock.
    """
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        experiment = _experiment(Path(folder))
        for warm_up in (_bare, _ours):
            warm_up(experiment, Path(folder) / warm_up.__name__)
        pairs = [
            (_bare(experiment, Path(folder)), _ours(experiment, Path(folder) / str(number)))
            for number in range(NUM_ROUNDS)
        ]
    torch.set_num_threads(num_threads)
    bare, ours = (np.array(rounds) for rounds in zip(*pairs, strict=True))
    step_ms = 1e3 * _quickest(bare[..., 0])
    return [
        row("a step of the bare loop, processor", step_ms, 20, "ms", more_is_better=True),
        *_rows("processor", bare[..., 0], ours[..., 0]),
        *_rows("clock", bare[..., 1], ours[..., 1]),
    ]


def _rows(name: str, bare: np.ndarray, ours: np.ndarray) -> list[Row]:
    """What a step of ours adds to one of the bare loop; seconds `[round, step]`."""
    added = _quickest(ours) - _quickest(bare)
    ratio = float(np.median(ours.sum(axis=1) / bare.sum(axis=1)))
    return [
        row(f"{name}: what ours adds to a step", 1e3 * float(added), 1, "ms"),
        row(f"{name}: ours over bare", float(1 + added / _quickest(bare)), 1.05, "x"),
        row(f"{name}: the same, median of pairs of rounds", ratio, 1.05, "x"),
    ]


def _quickest(rounds: np.ndarray) -> Any:
    """The mean over the steps of the quickest round of each; what follows the last one included."""
    return rounds.min(axis=0).sum(axis=0) / (rounds.shape[1] - 1)


def _experiment(root: Path) -> Experiment:
    random = np.random.default_rng(0)
    features = {
        f"u{place}": random.normal(size=(FRAMES, WIDTH)).astype(np.float32)
        for place in range(NUM_ROWS)
    }
    np.savez(root / "speech.npz", **features)
    lines = [f"u{place},s{place % 10},{'abcd'[place % 4]},2.0" for place in range(NUM_ROWS)]
    (root / "manifest.csv").write_text("\n".join(["utterance_id,speaker,label,duration_s", *lines]))
    paths = [f"corpus.root={root}", f"corpus.prepared={root / 'prepared'}"]
    return Experiment.prepare(compose([*OPTIONS, *MODEL, *paths]).resolved())


class Clock(pl.Callback):
    """Notes when training starts, each step ends, and all has ended, the last checkpoint included.

    Attributes:
        marks: Seconds of the processor, all threads of this process, and of the clock.
    """

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def mark(self) -> None:
        """Notes the time."""
        self.marks.append((time.process_time(), time.perf_counter()))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self.mark()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any
    ) -> None:
        """Notes the end of a step."""
        self.mark()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the clock."""
        self.mark()

    @property
    def wall_s(self) -> float:
        """Seconds of the whole training, by the clock."""
        return self.marks[-1][1] - self.marks[0][1]


def _ours(experiment: Experiment, folder: Path) -> np.ndarray:
    """Seconds `[step, 2]` as `polymodal run` takes them: journal, mirror, checkpoints, progress."""
    place, clock = FoldDir(folder), Clock()
    place.path.mkdir(parents=True)
    writer = RunWriter(MetricsLog(place.path / "metrics.jsonl"), BackgroundTracker(NoTracker()))
    with (place.path / "shown.txt").open("w", encoding="utf-8") as shown:
        progress = ProgressCallback(Display(Console(file=shown)))
        callbacks = [*build_callbacks(experiment, place), progress, clock]
        trainer = build_trainer(experiment, callbacks=callbacks, logger=RecordLogger(writer))
        fold = experiment.folds[0]
        fit_fold(experiment, fold, place, experiment.build_module(fold), trainer)
    writer.close()
    return np.diff(clock.marks, axis=0)


def _bare(experiment: Experiment, folder: Path) -> np.ndarray:
    fold, clock = experiment.folds[0], Clock()
    module: Any = experiment.build_module(fold)
    encoder, model, loss = module.encoders["features"], module.model, module.loss
    loader = experiment.build_loader(fold, "train", training=True)
    assert loader is not None
    epochs = experiment.config["trainer"]["max_epochs"]
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    module.train()
    clock.mark()
    for epoch in range(epochs):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        for batch in loader:
            optimizer.zero_grad()
            encoded = {"features": encoder(batch.modalities["features"])}
            value = loss(model(encoded), batch.targets)
            value.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            clock.mark()
    clock.mark()
    return np.diff(clock.marks, axis=0)
