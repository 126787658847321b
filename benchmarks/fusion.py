"""Deep fusion on stored features: real lengths in buckets, against everything padded to 5 s."""

import logging
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import device
from benchmarks.heads import Numbers
from benchmarks.loop import Clock
from benchmarks.rows import Row, row
from polymodal.config.compose import compose
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import build_callbacks, build_trainer, fit_fold, predict_split
from polymodal.schemas.batch import Batch, PaddedSequence
from polymodal.schemas.predictions import PredictionTable
from polymodal.tracking.metrics_log import MetricsLog
from polymodal.tracking.run_folder import FoldDir
from polymodal.tracking.run_writer import RunWriter
from polymodal.tracking.trackers.background import BackgroundTracker
from polymodal.tracking.trackers.base import NoTracker
from polymodal.training.checkpoints import read_checkpoint
from polymodal.training.logger import RecordLogger

CLASSES, RATES_HZ = "abcd", {"speech": 50.0, "text": 4.0}  # frames and tokens a second
LONGEST_S, PADDED, BATCH = 5.0, 249, 64  # what the first version of this pipeline padded all to


@dataclass(frozen=True)
class Size:
    """How large the task is.

    Args:
        num_rows: Number of utterances; a fifth of them is tested.
        feature_size: Width of the stored features.
        width: Width of the model.
        num_layers: Number of its layers.
    """

    num_rows: int
    feature_size: int
    width: int
    num_layers: int


SMALL, LARGE, REHEARSED = Size(640, 64, 64, 2), Size(6400, 1024, 256, 4), Size(40, 16, 16, 2)
EPOCHS = 3


def fusion() -> list[Row]:
    """Utterances a second of fusion on stored features, against all padded to 5 s in float32."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    cuda = device.large()
    size = REHEARSED if device.rehearsed else LARGE if cuda else SMALL
    with tempfile.TemporaryDirectory() as folder:
        experiment = _experiment(Path(folder), size)
        warm_up = replace(experiment, config={**experiment.config, "seed": 1})
        for way in (_padded, _ours):
            way(warm_up, Path(folder) / f"warm{way.__name__}")
        theirs, their_accuracy = _padded(experiment, Path(folder))
        ours, our_accuracy = _ours(experiment, Path(folder) / "ours")
    on_gpu = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if on_gpu else "CPU; on a GPU: not measured"
    goal = 2500 if cuda else 1.5 * theirs
    speed = row(f"trained on, {where}", ours, goal, "utt/s", more_is_better=True)
    accuracy = row("accuracy of the test part", our_accuracy, 0.95, "share", more_is_better=True)
    return [
        {**speed, "peer": round(theirs, 4)},
        row("ours over the padded way", ours / theirs, 1.5, "x", more_is_better=True),
        {**accuracy, "peer": round(their_accuracy, 4)},
    ]


def _experiment(root: Path, size: Size) -> Experiment:
    """Features whose mean tells the class, lengths log-normal with a median of 3 s, cut at 5 s."""
    random = np.random.default_rng(0)
    seconds = np.minimum(random.lognormal(np.log(3), 0.6, size.num_rows), LONGEST_S)
    labels = random.integers(len(CLASSES), size=size.num_rows)
    features = {name: {} for name in RATES_HZ}
    for name, rate_hz in RATES_HZ.items():
        means = random.normal(size=(len(CLASSES), size.feature_size)) / 8
        for place, (length_s, label) in enumerate(zip(seconds, labels, strict=True)):
            frames = max(1, min(PADDED, round(length_s * rate_hz)))
            values = random.normal(size=(frames, size.feature_size)) + means[label]
            features[name][f"u{place}"] = values.astype(np.float32)
    lines = [
        f"u{place},s{place % 10},{CLASSES[label]},{length_s},word"
        for place, (length_s, label) in enumerate(zip(seconds, labels, strict=True))
    ]
    head = "utterance_id,speaker,label,duration_s,text"
    (root / "manifest.csv").write_text("\n".join([head, *lines]))
    experiment = Experiment.prepare(compose(_options(root, size)).resolved())
    sections = {name: _section(size) for name in RATES_HZ}
    return replace(
        experiment,
        config={**experiment.config, "encoder": sections},
        prototypes={name: numbers(size.feature_size) for name in RATES_HZ},
        features=features,
    )


def _options(root: Path, size: Size) -> list[str]:
    return [
        "corpus=table",
        f"corpus.root={root}",
        "corpus.file=manifest.csv",
        f"corpus.classes=[{','.join(CLASSES)}]",
        "encoder=characters",
        "split=k_folds",
        "split.num_folds=5",
        "split.val=0",
        f"model.width={size.width}",
        f"model.num_layers={size.num_layers}",
        "callbacks=last",
        f"data.max_utterances={BATCH}",
        "data.batch_s=320",
        f"trainer.max_epochs={EPOCHS}",
        "tracker=none",
        # What a GPU takes by itself.
        *(["trainer.precision=bf16-mixed", "data.num_workers=2"] if device.rehearsed else []),
    ]


class Stored(Numbers):
    """An extractor that is never called, of what every row has."""

    source = "text"


def numbers(feature_size: int) -> FrozenEncoder:
    """Builds an encoder of the benchmark, which takes the features as they are.

    Args:
        feature_size: Width of the features.

    Returns:
        The encoder.
    """
    return FrozenEncoder(Stored(feature_size), normalise="none")


def _section(size: Size) -> dict[str, Any]:
    return {"_target_": "benchmarks.fusion.numbers", "feature_size": size.feature_size}


def _ours(experiment: Experiment, folder: Path) -> tuple[float, float]:
    """Utterances a second, and test accuracy, of a run with everything recorded."""
    place, clock, fold = FoldDir(folder), Clock(), experiment.folds[0]
    place.path.mkdir(parents=True)
    writer = RunWriter(MetricsLog(place.path / "metrics.jsonl"), BackgroundTracker(NoTracker()))
    callbacks = [*build_callbacks(experiment, place), clock]
    trainer = build_trainer(experiment, callbacks=callbacks, logger=RecordLogger(writer))
    module = experiment.build_module(fold)
    module.predictions = place.predictions
    fit_fold(experiment, fold, place, module, trainer)
    module.load_weights(read_checkpoint(place.best_or_last_checkpoint))
    predict_split(trainer, module, experiment.build_loader(fold, "test"), "test")
    writer.close()
    table = PredictionTable.read(place.predictions / "test.parquet").frame
    right = float((table["label"] == table["predicted"]).mean())
    return EPOCHS * len(experiment.train_rows(fold)) / clock.wall_s, right


def _padded(experiment: Experiment, folder: Path) -> tuple[float, float]:
    """The same of a plain loop over batches of 64, every modality padded to 249 frames."""
    fold = experiment.folds[0]
    where = torch.device(device.name())
    module = experiment.build_module(fold).to(where).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=experiment.config["optimizer"]["lr"])
    data = {part: _as_one(experiment, fold, part) for part in ("train", "test")}
    num = len(data["train"])
    began = time.perf_counter()
    for _ in range(EPOCHS):
        for places in torch.randperm(num).split(BATCH):
            batch = _taken(data["train"], places).to(where)
            optimizer.zero_grad()
            module.loss(module(batch), batch.targets).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
    device.wait()
    seconds = time.perf_counter() - began
    module.eval()
    right = 0
    with torch.inference_mode():
        for places in torch.arange(len(data["test"])).split(BATCH):
            batch = _taken(data["test"], places).to(where)
            right += int((module(batch).argmax(dim=1) == batch.targets).sum())
    return EPOCHS * num / seconds, right / len(data["test"])


def _as_one(experiment: Experiment, fold: Any, part: str) -> Batch:
    """A part as a single batch, padded to 249 frames."""
    loader = experiment.build_loader(fold, part)
    assert loader is not None
    batches = list(loader)
    modalities = {
        name: PaddedSequence(
            torch.cat([_widened(one.modalities[name].values) for one in batches]),
            torch.cat([_widened(one.modalities[name].valid_mask) for one in batches]),
        )
        for name in RATES_HZ
    }
    ids = tuple(name for one in batches for name in one.utterance_ids)
    return Batch(modalities, ids, torch.cat([one.targets for one in batches]))


def _widened(values: torch.Tensor) -> torch.Tensor:
    wide = values.new_zeros(len(values), PADDED, *values.shape[2:])
    wide[:, : values.shape[1]] = values
    return wide


def _taken(data: Batch, places: torch.Tensor) -> Batch:
    modalities = {
        name: PaddedSequence(one.values[places], one.valid_mask[places])
        for name, one in data.modalities.items()
    }
    return Batch(modalities, tuple(str(place) for place in places), data.targets[places])
