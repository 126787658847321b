"""Heads that are trained together equal those that Lightning trains alone."""

import json
import logging
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from polymodal.config.compose import compose
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.encoders.text import TextEncoder
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import build_callbacks, build_trainer, fit_fold, predict_split
from polymodal.runs.vectorized import frames
from polymodal.runs.vectorized.driver import (
    HeadJob,
    fit_vectorized,
    predict_vectorized,
    why_not_vectorizable,
)
from polymodal.schemas.predictions import PredictionTable
from polymodal.tracking.run_folder import FoldDir
from polymodal.training.checkpoints import read_checkpoint
from polymodal.training.logger import RecordLogger

OPTIONS = [
    "corpus=features",
    "corpus.root=features",
    "corpus.prepared=prepared",
    "corpus.modalities={face: face.npz, voice: voice.npz}",
    "corpus.classes=[a,b,c]",
    "encoder=precomputed",
    "encoder.features.signal=face",
    "encoder.features.feature_size=6",
    "split=k_folds",
    "split.num_folds=3",
    "split.val=0.3",
    "data.max_utterances=8",
    "data.batch_s=6",
    "optimizer.lr=0.01",
    "trainer.max_epochs=5",
    "trainer.log_every_n_steps=2",
    "trainer.accelerator=cpu",
    "tracker=none",
]
MLP = ["model=mlp", "model.hidden_sizes=[8]"]
ATTENTION = ["model=unimodal", "model.hidden_sizes=[8]", "model.dropout=0.3"]
FUSION = ["model=fusion/early", "model.width=8", "model.dropout=0.3"]


NUMBERS = pl.selectors.starts_with("logit_", "value_")


class Numbers:
    """An extractor that is never called."""

    source, sampling_rate_hz, frame_rate_hz, identity = "signals", 16000, None, "numbers"
    feature_size = 6

    def __call__(self, raw):
        raise AssertionError


@pytest.fixture
def prepare(workplace, monkeypatch):
    """Overrides to an experiment of 66 utterances of 1 to `longest` frames, by 11 speakers."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    monkeypatch.setattr(frames, "MAX_PASS", 1000)  # several passes a step

    def make(*overrides, longest=9, encoders=None):
        rng = np.random.default_rng(3)
        (workplace / "features").mkdir(exist_ok=True)
        labels, lengths = rng.integers(3, size=66), rng.integers(1, longest + 1, size=66)
        for name in ("face", "voice"):
            arrays = {
                f"u{row}": (rng.normal(size=(length, 6)) + label / 2).astype(np.float32)
                for row, (label, length) in enumerate(zip(labels, lengths, strict=True))
                if name == "face" or row % 5  # some lack their voice
            }
            np.savez(workplace / f"features/{name}.npz", **arrays)
        # Speakers of different size, so that folds differ in their batches.
        lines = [
            f"u{row},s{int(row**0.5) + row % 3},{'abc'[label]},{length / 9},{label + row % 2}"
            for row, (label, length) in enumerate(zip(labels, lengths, strict=True))
        ]
        head = "utterance_id,speaker,label,duration_s,valence"
        (workplace / "features/manifest.csv").write_text("\n".join([head, *lines]) + "\n")
        experiment = Experiment.prepare(compose([*OPTIONS, *overrides]).resolved())
        return _with_frozen(experiment, workplace) if encoders == "frozen" else experiment

    return make


def _with_frozen(experiment, root):
    """Two modalities as frozen encoders keep them, which every fold standardises by itself."""
    section = {"_target_": "polymodal.encoders.frozen.FrozenEncoder", "extractor": Numbers()}
    names = ("face", "voice")
    return replace(
        experiment,
        config={**experiment.config, "encoder": dict.fromkeys(names, section)},
        prototypes={name: FrozenEncoder(Numbers()) for name in names},
        features={name: dict(np.load(root / f"features/{name}.npz")) for name in names},
    )


class Lines:
    """A writer that stores what is logged."""

    def __init__(self):
        self.lines = []

    def log(self, scores, step, epoch=None, fold=None):
        self.lines.append((dict(scores), step, epoch))


def by_lightning(job, directory):
    """Train and apply the fold of a job; return its log and the weights of its last epoch."""
    writer, module = Lines(), job.experiment.build_module(job.fold, job.run_id)
    module.predictions = directory.predictions
    callbacks = build_callbacks(job.experiment, directory)
    trainer = build_trainer(job.experiment, callbacks=callbacks, logger=RecordLogger(writer))
    fit_fold(job.experiment, job.fold, directory, module, trainer)
    last = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_weights(read_checkpoint(directory.best_or_last_checkpoint))
    for split in ("val", "test", "train"):
        predict_split(trainer, module, job.loader(split), split)
    return writer.lines, last


def seeded(experiment, root, num_seeds=2):
    config = experiment.config
    several = [replace(experiment, config={**config, "seed": seed}) for seed in range(num_seeds)]
    return [
        HeadJob(seeded, fold, FoldDir(root / f"together/{seeded.seed}-{fold.index}"), "run")
        for seeded in several
        for fold in seeded.folds
    ]


def close(ours, theirs):
    assert [*ours] == [*theirs]
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-6, msg=name)


def check(jobs, root):
    """Train the jobs both ways and compare all results; return their numbers of epochs."""
    trained = fit_vectorized(jobs)
    for split in ("val", "test", "train"):
        predict_vectorized(jobs, split)
    for job, ours in zip(jobs, trained, strict=True):
        directory = FoldDir(root / f"alone/{job.experiment.seed}-{job.fold.index}")
        lines, last = by_lightning(job, directory)
        checkpoint, theirs = (
            read_checkpoint(job.directory.best_or_last_checkpoint),
            read_checkpoint(directory.best_or_last_checkpoint),
        )
        close(checkpoint["state_dict"], theirs["state_dict"])
        for key in ("global_step", "polymodal_classes", "pytorch-lightning_version"):
            assert checkpoint[key] == theirs[key], key
        close(read_checkpoint(job.directory.last_checkpoint)["state_dict"], last)
        assert job.directory.best_or_last_checkpoint.name == directory.best_or_last_checkpoint.name
        assert [line[1:] for line in ours.lines] == [line[1:] for line in lines]
        for (scores, *_), (expected, *_) in zip(ours.lines, lines, strict=True):
            assert scores == pytest.approx(expected, abs=1e-5)
        for path in [*directory.predictions.iterdir()]:
            table = PredictionTable.read(job.directory.predictions / path.name)
            expected = PredictionTable.read(path)
            assert (table.classes, table.run_id) == (expected.classes, "run")
            assert table.frame.drop(NUMBERS).equals(expected.frame.drop(NUMBERS))
            for kind in ("logits", "predicted_values"):
                ours, theirs = (getattr(x, kind)() for x in (table, expected))
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
        marks = [x.checkpoints / "fitted.json" for x in (job.directory, directory)]
        assert json.loads(marks[0].read_text()) == json.loads(marks[1].read_text())
    return [result.epochs for result in trained]


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ([*MLP, "data.max_utterances=2"], {"longest": 1}),
        ([*ATTENTION, "loss=balanced", "data.sampling=balanced"], {}),
        (FUSION, {"encoders": "frozen"}),
    ],
    ids=["mlp", "attention", "fusion"],
)
def test_each_head_becomes_what_it_becomes_alone(prepare, workplace, options, more):
    experiment = prepare(*options, "callbacks.early_stopping.patience=2", **more)
    assert why_not_vectorizable(experiment) is None
    jobs = seeded(experiment, workplace)
    num_batches = {len(job.spec().training) for job in jobs}
    epochs = check(jobs, workplace)
    assert len(num_batches) > 1, "folds of different size"
    assert len(set(epochs)) > 1, "some stop earlier"


@pytest.mark.parametrize(
    "options",
    [
        ["callbacks=last", "split.val=0", "optimizer=sgd", "trainer.gradient_clip_val=null"],
        [
            "callbacks.early_stopping.monitor=val/loss",
            "callbacks.checkpoint.monitor=val/loss",
            "callbacks.early_stopping.patience=2",
            "+callbacks.early_stopping.min_delta=0.02",
            "trainer.gradient_clip_val=0.1",
            "scheduler=constant",
        ],
        ["task=regression", "task.values=[valence]"],
    ],
    ids=["last", "loss", "values"],
)
def test_callbacks_clipping_and_tasks_are_supported(prepare, workplace, options):
    experiment = prepare(*MLP, *options, longest=1)
    assert why_not_vectorizable(experiment) is None
    check(seeded(experiment, workplace, num_seeds=1), workplace)


def test_the_whole_corpus_is_predicted_under_the_name_of_the_stage(prepare, workplace):
    experiment = prepare(*MLP, "trainer.max_epochs=1", longest=1)
    jobs = seeded(experiment, workplace, num_seeds=1)
    reports = []
    fit_vectorized(jobs, progress=lambda *report: reports.append(report))
    predict_vectorized(jobs, "all", "predict")
    table = PredictionTable.read(jobs[0].directory.predictions / "predict.parquet")
    assert len(table) == 66
    assert set(table.frame["split"]) == {"predict"}
    assert reports[-1] == (1, 1, 1.0)


def test_a_non_finite_loss_stops_before_the_update(prepare, workplace):
    jobs = seeded(prepare(*MLP, longest=1), workplace, num_seeds=1)
    with torch.no_grad():
        next(jobs[1].module.model.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"nan in fold 1, seed 0, epoch 0, batch 0, .* u"):
        fit_vectorized(jobs)
    assert not jobs[0].directory.is_done


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["trainer.precision=bf16-mixed"], "trainer.precision=bf16-mixed"),
        (["trainer.devices=2"], "trainer.devices=2"),
        (["+trainer.max_time=00:01:00:00"], "trainer.max_time=00:01:00:00"),
        (["trainer.accumulate_grad_batches=2"], "trainer.accumulate_grad_batches=2"),
        (["debug=fast"], "trainer.limit_train_batches=2"),
        (["+callbacks.checkpoint.save_top_k=2"], "ModelCheckpoint.save_top_k=2"),
        (["+callbacks.early_stopping.check_finite=false"], "EarlyStopping.check_finite=False"),
        (["callbacks.checkpoint.monitor=train/loss"], "does not monitor the validation split"),
        (["callbacks.last=null"], "the callbacks are others"),
        (["+callbacks.checkpoint.every_n_epochs=2"], "ModelCheckpoint.every_n_epochs=2"),
        (["optimizer._target_=torch.optim.LBFGS"], "LBFGS may see several heads as one"),
    ],
)
def test_what_is_not_supported_is_named(prepare, options, reason):
    assert reason in (why_not_vectorizable(prepare(*MLP, *options, longest=1)) or "")


def test_models_that_draw_by_themselves_are_trained_alone(prepare):
    experiment = prepare(*FUSION, "model.modality_dropout=0.2", encoders="frozen")
    assert "vmap" in (why_not_vectorizable(experiment) or "")


def test_encoders_that_learn_and_balances_are_trained_alone(prepare):
    experiment = prepare(*FUSION, encoders="frozen")
    balanced = {**experiment.config, "balance": {"_target_": "a.AuxiliaryLosses"}}
    assert (
        why_not_vectorizable(replace(experiment, config=balanced)) == "balance is AuxiliaryLosses"
    )
    learning = {"face": TextEncoder(width=8, num_heads=2)}
    assert (
        why_not_vectorizable(replace(experiment, prototypes=learning)) == "encoder.face is trained"
    )


def test_more_features_than_memory_are_trained_alone(prepare, monkeypatch):
    from polymodal.runs.vectorized import driver

    monkeypatch.setattr(driver, "MAX_GB", 1e-6)
    assert "GB" in (why_not_vectorizable(prepare(*FUSION, encoders="frozen")) or "")
    assert "GB" in (why_not_vectorizable(prepare(*MLP, longest=1)) or "")
