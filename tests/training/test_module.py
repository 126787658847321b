"""Training and scoring: once an epoch, from all predictions, never on a non-finite loss."""

import json
from dataclasses import replace
from pathlib import Path

import polars
import pytest
import pytorch_lightning as pl
import torch

from polymodal.config.compose import compose
from polymodal.errors import CheckpointError
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import build_trainer
from polymodal.training.logger import RecordLogger
from polymodal.training.tasks import Classification

SMALL = ["corpus.num_speakers=6", "corpus.num_utterances=8", "split.val=0.3", "tracker=none"]
TEXT = ["experiment=sample/text", *SMALL, "trainer.max_epochs=2", "trainer.accelerator=cpu"]


@pytest.fixture
def experiment(workplace):
    return Experiment.prepare(compose(TEXT).resolved())


def fit(experiment, **changes):
    fold = experiment.folds[0]
    module = experiment.build_module(fold)
    for name, value in changes.items():
        setattr(module, name, value)
    trainer = build_trainer(experiment, callbacks=[], logger=False)
    trainer.fit(
        module,
        experiment.build_loader(fold, "train", training=True),
        experiment.build_loader(fold, "val"),
    )
    return module, trainer


class RecordingTask(Classification):
    """A task that records the utterances of each prediction table."""

    def __init__(self, classes):
        super().__init__(classes)
        self.tables = []

    def table(self, utterance_ids, outputs, targets, **where):
        self.tables.append(list(utterance_ids))
        return super().table(utterance_ids, outputs, targets, **where)


def test_every_epoch_scores_each_validation_utterance_once(experiment):
    task = RecordingTask(experiment.task.classes)
    fit(experiment, task=task)
    manifest = experiment.folds[0].select(experiment.manifest, "val")
    expected = sorted(manifest.frame["utterance_id"].to_list())
    _sanity_check, *epochs = task.tables
    assert epochs == [expected] * 2


def test_weights_are_loaded_for_the_same_classes_and_parameters_only(experiment):
    module, _ = fit(experiment)
    state = {"state_dict": module.state_dict(), "polymodal_classes": module.declared}
    loaded = experiment.build_module(experiment.folds[0])
    loaded.load_weights(state)
    for name, value in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    swapped = {**state, "polymodal_classes": module.declared[::-1]}
    with pytest.raises(CheckpointError, match="in this order"):
        loaded.load_weights(swapped)
    with pytest.raises(CheckpointError, match="does not fit"):
        loaded.load_weights({**state, "state_dict": {"wrong": torch.zeros(1)}})


def in_pairs(experiment, **trainer):
    """The same with two utterances a batch, and other options of the trainer."""
    data = {**experiment.config["data"], "max_utterances": 2}
    trainer = {**experiment.config["trainer"], **trainer}
    return replace(experiment, config={**experiment.config, "data": data, "trainer": trainer})


class NonFinite(torch.nn.Module):
    """A loss that is NaN in one batch, or whose gradient is not finite anywhere."""

    def __init__(self, batch=None):
        super().__init__()
        self.batch, self.calls = batch, 0

    def forward(self, logits, targets):
        self.calls += 1
        if self.batch is None:
            return 1 + (0 * logits.sum()).sqrt()
        return logits.sum() * (float("nan") if self.calls == self.batch + 1 else 1)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (NonFinite(0), "the loss is nan in epoch 0, batch 0, with the utterances s"),
        (NonFinite(), r"the gradient is .* \(of encoders.* more\) in epoch 0, batch 1, with"),
    ],
)
@pytest.mark.parametrize("clip", [1.0, None])
def test_a_non_finite_loss_or_gradient_stops_before_the_update(experiment, loss, message, clip):
    """Two batches an update: the loss of the first counts, though it is looked at later."""
    experiment = in_pairs(experiment, gradient_clip_val=clip, accumulate_grad_batches=2)
    module = experiment.build_module(fold := experiment.folds[0])
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.loss, loss.calls = loss, 0
    trainer = build_trainer(experiment, callbacks=[], logger=False)
    with pytest.raises(FloatingPointError, match=message):
        trainer.fit(module, experiment.build_loader(fold, "train", training=True), None)
    assert loss.calls == 2
    for name, value in before.items():
        assert torch.equal(module.state_dict()[name], value)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_fused_optimisers_are_clipped_under_bfloat16(experiment, algorithm):
    """Lightning rejects this for any fused optimiser, though nothing is scaled under bfloat16."""
    optimizer = {**experiment.config["optimizer"], "fused": True}
    options = {"precision": "bf16-mixed", "gradient_clip_val": 1e-3, "max_epochs": 1}
    experiment = in_pairs(experiment, **options, gradient_clip_algorithm=algorithm)
    experiment = replace(experiment, config={**experiment.config, "optimizer": optimizer})
    largest = []

    class Watch(pl.Callback):
        def on_before_zero_grad(self, trainer, module, optimizer):
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            if gradients:
                norm = torch.nn.utils.get_total_norm(gradients)
                highest = max(gradient.abs().max() for gradient in gradients)
                largest.append(float(norm if algorithm == "norm" else highest))

    trainer = build_trainer(experiment, callbacks=[Watch()], logger=False)
    module = experiment.build_module(fold := experiment.folds[0])
    trainer.fit(module, experiment.build_loader(fold, "train", training=True), None)
    assert trainer.optimizers[0].defaults["fused"]
    assert largest
    assert max(largest) == pytest.approx(1e-3, rel=1e-3)


class Lines:
    """A writer that stores what is logged."""

    def __init__(self):
        self.lines = []

    def log(self, scores, step, epoch=None, fold=None):
        self.lines.append((step, epoch, dict(scores)))


@pytest.mark.parametrize("accumulated", [1, 2])
def test_every_so_many_updates_are_logged_with_the_rate_that_they_used(experiment, accumulated):
    options = {"log_every_n_steps": 5, "max_epochs": 1, "accumulate_grad_batches": accumulated}
    experiment = in_pairs(experiment, **options)
    losses, rates, shown = [], [], []

    class Watch(pl.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            rates.append(optimizer.param_groups[0]["lr"])

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            losses.append(float(outputs["loss"]) * accumulated)
            shown.append(
                module.latest.get("train/loss", trainer.callback_metrics.get("train/loss"))
            )

    writer, fold = Lines(), experiment.folds[0]
    trainer = build_trainer(experiment, callbacks=[Watch()], logger=RecordLogger(writer))
    loader = experiment.build_loader(fold, "train", training=True)
    trainer.fit(experiment.build_module(fold), loader, None)
    assert len(losses) > 8
    lines = [line for line in writer.lines if "train/lr" in line[2]]
    due = list(range(4, len(rates), 5))
    assert due[-1] < len(rates) - 1
    due.append(len(rates) - 1)  # the end of an epoch is always there
    norms = [line for line in writer.lines if "train/grad_norm" in line[2]]
    assert [(step, epoch) for step, epoch, _ in norms] == [(step, 0) for step in due]
    assert [(step, epoch) for step, epoch, _ in lines] == [(step, 0) for step in due]
    for step, _, scores in lines:
        last = min((step + 1) * accumulated, len(losses)) - 1
        assert scores["train/loss"] == pytest.approx(losses[last], rel=1e-6)
        assert scores["train/lr"] == pytest.approx(rates[step], rel=1e-6)
    assert shown[:2] == [None, None]
    assert shown[-1] == pytest.approx(losses[-1], rel=1e-6)


def record():
    (path,) = Path("runs").glob("*/run.json")
    return json.loads(path.read_text())


def test_the_key_in_the_yaml_names_the_score(polymodal):
    scores = ["+scores.mine._target_=torchmetrics.Recall", "+scores.mine.average=macro"]
    monitors = [f"callbacks.{name}.monitor=val/mine" for name in ("checkpoint", "early_stopping")]
    code, _, error = polymodal("run", *TEXT, *scores, *monitors)
    assert code == 0, error
    scores = record()["scores"]
    assert scores["test/mine"] == pytest.approx(scores["test/uar"], abs=1e-6)
    assert scores["val/mine"] == pytest.approx(scores["val/uar"], abs=1e-6)


def test_a_modality_that_whole_batches_lack_is_survived(polymodal):
    """Signals are missing in some utterances; batches of one meet that alone."""
    code, _, error = polymodal(
        "run",
        *SMALL,
        "experiment=sample/physiology",
        "data.max_utterances=1",
        "trainer.max_epochs=1",
    )
    assert code == 0, error
    table = polars.read_parquet(next(Path("runs").glob("*/predictions/test.parquet")))
    assert table.select(polars.col("^logit_.*$").is_finite().all()).to_numpy().all()
