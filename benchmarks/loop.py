"""The training loop of the pipeline over a bare one of PyTorch: same model, same batches."""

import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from benchmarks.rows import Row, row
from polymodal.assemble.compose import compose
from polymodal.assemble.experiment import Experiment
from polymodal.assemble.places import Place
from polymodal.assemble.training import build_callbacks, fit, make_trainer
from polymodal.record.journal import Journal
from polymodal.record.trackers.base import NoTracker
from polymodal.record.trackers.mirror import Mirror
from polymodal.record.writer import RunWriter
from polymodal.training.logger import RecordLogger

NUM_ROUNDS, NUM_ROWS, WIDTH, FRAMES = 5, 1280, 64, 80
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
    """Time of a training step with everything recorded, over that of a bare loop."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        experiment = _experiment(Path(folder))
        for warm_up in (_bare, _ours):
            warm_up(experiment, Path(folder) / warm_up.__name__)
        pairs = [
            (_bare(experiment, Path(folder)), _ours(experiment, Path(folder) / str(number)))
            for number in range(NUM_ROUNDS)
        ]
    bare, ours = min(one for one, _ in pairs), min(one for _, one in pairs)
    ratio = statistics.median(ours / bare for bare, ours in pairs)
    return [
        row("a step of the bare loop", 1e3 * bare, 20, "ms", more_is_better=True),
        row("what ours adds to it", 1e3 * (ours - bare), 1, "ms"),
        row("ours over the bare loop, quickest of each", ours / bare, 1.05, "x"),
        row("the same, median of pairs", ratio, 1.05, "x"),
    ]


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
    """Measures from the first epoch's start to the last one's end, checkpoints included."""

    seconds = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self.seconds -= time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the clock."""
        self.seconds += time.perf_counter()


def _ours(experiment: Experiment, folder: Path) -> float:
    place, clock = Place(folder), Clock()
    place.path.mkdir(parents=True)
    writer = RunWriter(Journal(place.path / "metrics.jsonl"), Mirror(NoTracker()))
    callbacks = [*build_callbacks(experiment, place), clock]
    trainer = make_trainer(experiment, callbacks=callbacks, logger=RecordLogger(writer))
    fold = experiment.folds[0]
    fit(experiment, fold, place, experiment.module(fold), trainer)
    writer.close()
    return clock.seconds / trainer.global_step


def _bare(experiment: Experiment, folder: Path) -> float:
    fold, num_steps = experiment.folds[0], 0
    module: Any = experiment.module(fold)
    encoder, model, loss = module.encoders["features"], module.model, module.loss
    loader = experiment.loader(fold, "train", training=True)
    assert loader is not None
    epochs = experiment.config["trainer"]["max_epochs"]
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    module.train()
    began = time.perf_counter()
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
            num_steps += 1
    return (time.perf_counter() - began) / num_steps
