"""An update weighs every target alike, whatever batches and ranks it lies in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars
import pytest
import pytorch_lightning as pl
import torch

from polymodal.config.compose import compose
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import build_trainer
from polymodal.training.gradient_window import target_weight

TEXT = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=7",
    "tracker=none",
    "trainer.accelerator=cpu",
    "trainer.precision=64-true",
    "trainer.max_epochs=1",
    "trainer.gradient_clip_val=null",
    "encoder.text.dropout=0",
    "model.dropout=0",
]


class FirstGradient(pl.Callback):
    """Copy the gradient of the first update."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == 0:
            self.gradient = {
                name: parameter.grad.clone()
                for name, parameter in pl_module.named_parameters()
                if parameter.grad is not None
            }


def first_gradient(overrides, num_batches, max_utterances):
    trainer_options = {"accumulate_grad_batches": num_batches, "max_epochs": 1}
    experiment = Experiment.prepare(compose([*TEXT, *overrides]).resolved())
    config = {
        **experiment.config,
        "trainer": {**experiment.config["trainer"], **trainer_options},
        "data": {**experiment.config["data"], "max_utterances": max_utterances, "batch_s": 1e9},
    }
    experiment = replace(experiment, config=config)
    watch, fold = FirstGradient(), experiment.folds[0]
    pl.seed_everything(0, verbose=False)
    trainer = build_trainer(experiment, callbacks=[watch], logger=False)
    loader = experiment.build_loader(fold, "train", training=True)
    trainer.fit(experiment.build_module(fold), loader, None)
    return watch.gradient, len(loader), len(experiment.train_rows(fold))


@pytest.mark.parametrize(
    "loss",
    [
        [],
        ["loss=balanced"],
        ["loss=balanced", "loss.label_smoothing=0.1"],
        ["loss=focal"],
        ["task=soft_labels"],
        ["task=multilabel"],
        ["task=regression", "loss=mse"],
    ],
    ids=lambda options: " ".join(options) or "cross_entropy",
)
def test_a_window_of_uneven_batches_has_the_gradient_of_its_rows_as_one_batch(workplace, loss):
    """Batches of 5 leave a short one; all of them are one window, which is shorter than asked."""
    whole, one, num_rows = first_gradient(loss, 1, 1000)
    parts, several, _ = first_gradient(loss, 50, 5)
    assert one == 1
    assert several > 2
    assert num_rows % 5
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-6, atol=1e-8)


def test_a_loss_of_a_library_is_weighed_by_its_rows():
    assert target_weight(torch.nn.CrossEntropyLoss(), torch.tensor([1, -1, 0])) == 2
    targets = torch.tensor([[1.0, float("nan")], [float("nan"), float("nan")]])
    assert target_weight(torch.nn.MSELoss(), targets) == 1


def test_two_ranks_are_one_window(process):
    """Two processes take the batches in turn that one accumulates in pairs."""
    options = [*TEXT, "data.max_utterances=5", "trainer.max_epochs=2", "optimizer.lr=0.01"]
    one = process("run", *options, "trainer.accumulate_grad_batches=2")
    assert one.returncode == 0, one.stderr
    two = process("run", *options, "trainer.devices=2", "trainer.strategy=ddp")
    assert two.returncode == 0, two.stderr
    runs = sorted(path.parent for path in Path("runs").glob("*/run.json"))
    first, second = (
        polars.read_parquet(run / "predictions/test.parquet").select("^logit_.*$").to_numpy()
        for run in runs
    )
    np.testing.assert_allclose(first, second, atol=1e-6)
