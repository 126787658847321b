"""Training and scoring: once an epoch, from all predictions, never on a loss that is no number."""

import json
from pathlib import Path

import polars as pl
import pytest
import torch

from polymodal.assemble.compose import compose
from polymodal.assemble.experiment import Experiment
from polymodal.assemble.training import make_trainer
from polymodal.errors import CheckpointError

SMALL = ["corpus.num_speakers=6", "corpus.num_utterances=8", "split.val=0.3", "tracker=none"]
TEXT = ["experiment=sample/text", *SMALL, "trainer.max_epochs=2", "trainer.accelerator=cpu"]


@pytest.fixture
def experiment(workplace):
    return Experiment.prepare(compose(TEXT).resolved())


def fit(experiment, **changes):
    fold = experiment.folds[0]
    module = experiment.module(fold)
    for name, value in changes.items():
        setattr(module, name, value)
    trainer = make_trainer(experiment, callbacks=[], logger=False)
    trainer.fit(
        module, experiment.loader(fold, "train", training=True), experiment.loader(fold, "val")
    )
    return module, trainer


def test_every_epoch_scores_each_validation_utterance_once(experiment, monkeypatch):
    from polymodal.training.module import TrainingModule

    seen = []
    real = TrainingModule._log_scores

    def spy(self, outputs, part):
        seen.append((self.trainer.sanity_checking, outputs.utterance_ids))
        return real(self, outputs, part)

    monkeypatch.setattr(TrainingModule, "_log_scores", spy)
    fit(experiment)
    wanted = experiment.folds[0].select(experiment.manifest, "val").frame["utterance_id"].to_list()
    epochs = [list(ids) for sanity, ids in seen if not sanity]
    assert any(sanity for sanity, _ in seen)
    assert epochs == [sorted(wanted)] * 2


def test_weights_are_loaded_for_the_same_classes_and_parameters_only(experiment):
    module, _ = fit(experiment)
    state = {"state_dict": module.state_dict(), "polymodal_classes": module.declared}
    other = experiment.module(experiment.folds[0])
    other.load_weights(state)
    for name, value in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    swapped = {**state, "polymodal_classes": module.declared[::-1]}
    with pytest.raises(CheckpointError, match="in this order"):
        other.load_weights(swapped)
    with pytest.raises(CheckpointError, match="does not fit"):
        other.load_weights({**state, "state_dict": {"wrong": torch.zeros(1)}})


def test_a_loss_that_is_no_number_stops_before_the_update(experiment):
    class Broken(torch.nn.Module):
        def forward(self, logits, targets):
            return logits.sum() * float("nan")

    fold = experiment.folds[0]
    before = {name: value.clone() for name, value in experiment.module(fold).state_dict().items()}
    module = experiment.module(fold)
    module.loss = Broken()
    trainer = make_trainer(experiment, callbacks=[], logger=False)
    with pytest.raises(FloatingPointError, match=r"nan in epoch 0, batch 0, with the utterances s"):
        trainer.fit(module, experiment.loader(fold, "train", training=True), None)
    for name, value in before.items():
        assert torch.equal(module.state_dict()[name], value)


def record():
    (path,) = Path("runs").glob("*/run.json")
    return json.loads(path.read_text())


def test_the_key_in_the_yaml_names_the_score(polymodal):
    mine = ["+scores.mine._target_=torchmetrics.Recall", "+scores.mine.average=macro"]
    monitors = [f"callbacks.{name}.monitor=val/mine" for name in ("checkpoint", "early_stopping")]
    code, _, error = polymodal("run", *TEXT, *mine, *monitors)
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
    table = pl.read_parquet(next(Path("runs").glob("*/predictions/test.parquet")))
    assert table.select(pl.col("^logit_.*$").is_finite().all()).to_numpy().all()
