"""Options of training in pairs, against the gradient of the first update written in NumPy.

Each alone is tested elsewhere. Here every value meets every value of the other options at least
once: loss, sampling, balancing, accumulation, precision, normalisation and freezing.
"""

import itertools
import sys

import numpy as np
import pytest
import pytorch_lightning as pl

from polymodal.config.compose import compose
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import build_trainer

CLASSES, WEIGHTS, WIDTH = "abc", (1.0, 3.0, 0.5), 4
LABELS = [0] * 13 + [1] * 6 + [2] * 4  # of the training rows
SCALES = np.array([1e2, 1.0, 1e-2, 10.0])
NAMES = ("face", "voice")
MODEL = """
import torch
from polymodal.models.base import Model

class Sum(Model):
    def __init__(self, feature_sizes, num_outputs, *, frozen: str = ""):
        super().__init__(feature_sizes, num_outputs)
        self.layers = torch.nn.ModuleDict(
            {name: torch.nn.Linear(size, num_outputs) for name, size in feature_sizes.items()}
        )
        if frozen:
            self.layers[frozen].requires_grad_(False)
    def forward(self, modalities):
        outputs = []
        for name, layer in self.layers.items():
            real = modalities[name].valid_mask.unsqueeze(-1)
            pooled = (modalities[name].values * real).sum(1) / real.sum(1).clamp(min=1)
            outputs.append(layer(pooled))
        return sum(outputs)
"""
LOSSES = {
    "cross_entropy": [],
    "balanced": ["loss=balanced"],
    "weights": ["loss.class_weights={a: 1.0, b: 3.0, c: 0.5}"],
    "smoothing": ["loss.label_smoothing=0.2"],
    "balanced and smoothing": ["loss=balanced", "loss.label_smoothing=0.2"],
    "focal": ["loss=focal"],
    "focal and weights": ["loss=focal", "loss.class_weights={a: 1.0, b: 3.0, c: 0.5}"],
}
OPTIONS = {
    "loss": [*LOSSES],
    "sampling": ["natural", "balanced"],
    "balance": ["none", "auxiliary"],
    "accumulation": [1, 50],
    "precision": ["64-true", "32-true", "bf16-mixed"],
    "normalise": ["corpus", "none"],
    "frozen": ["", "voice"],
}
TOLERANCES = {"64-true": 1e-6, "32-true": 1e-4, "bf16-mixed": 3e-2}


def rows_for_all_pairs(options):
    """Return combinations in which every two values of two options meet, chosen greedily."""
    keys = [*options]
    missing = {
        frozenset({(one, first), (other, second)})
        for one, other in itertools.combinations(keys, 2)
        for first in options[one]
        for second in options[other]
    }
    every = [{*zip(keys, values, strict=True)} for values in itertools.product(*options.values())]
    chosen = []
    while missing:
        best = max(every, key=lambda row: sum(pair <= row for pair in missing))
        missing -= {pair for pair in missing if pair <= best}
        values = dict(best)
        chosen.append({key: values[key] for key in keys})
    return chosen


ROWS = rows_for_all_pairs(OPTIONS)


def test_every_pair_of_values_is_walked():
    for one, other in itertools.combinations(OPTIONS, 2):
        met = {(row[one], row[other]) for row in ROWS}
        assert met == {*itertools.product(OPTIONS[one], OPTIONS[other])}


class FirstUpdate(pl.Callback):
    """Keeps the rows of the first update, and its gradients."""

    def __init__(self):
        self.ids, self.gradients = [], None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.gradients is None:
            self.ids += batch.utterance_ids

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if self.gradients is None:
            self.gradients = {
                name: parameter.grad.double().numpy().copy()
                for name, parameter in pl_module.named_parameters()
                if parameter.grad is not None
            }


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A project with features of two modalities: a folder, and the arrays by modality and id."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    (folder / "data").mkdir()
    (folder / "configs/encoder").mkdir(parents=True)
    (folder / "configs/model").mkdir()
    (folder / "mine_pairs").mkdir()
    (folder / "mine_pairs/__init__.py").touch()
    (folder / "mine_pairs/model.py").write_text(MODEL)
    (folder / "configs/model/sum.yaml").write_text("_target_: mine_pairs.model.Sum\nfrozen: ''\n")
    labels = [*LABELS, 0, 1, 2]  # the last rows are the test split
    arrays = {}
    for modality in NAMES:
        arrays[modality] = {
            f"u{row:02}": ((rng.normal(size=(1 + row % 3, WIDTH)) + label) * SCALES).astype(
                np.float32
            )
            for row, label in enumerate(labels)
        }
        np.savez(folder / f"data/{modality}.npz", **arrays[modality])
        (folder / f"configs/encoder/{modality}.yaml").write_text(
            f"{modality}:\n  _target_: polymodal.encoders.precomputed.PrecomputedEncoder\n"
            f"  signal: {modality}\n  feature_size: {WIDTH}\n  normalise: corpus\n"
        )
    lines = ["utterance_id,speaker,label,split"]
    for row, label in enumerate(labels):
        split = "train" if row < len(LABELS) else "test"
        lines.append(f"u{row:02},s{row:02},{CLASSES[label]},{split}")
    (folder / "data/manifest.csv").write_text("\n".join(lines) + "\n")
    return folder, arrays


def first_update(row, arrays):
    options = [
        *("corpus=features", "corpus.root=data", f"corpus.classes=[{','.join(CLASSES)}]"),
        "corpus.modalities={face: face.npz, voice: voice.npz}",
        *("split=official", "encoder=[face,voice]", "model=sum", f"model.frozen='{row['frozen']}'"),
        *LOSSES[row["loss"]],
        f"data.sampling={row['sampling']}",
        f"balance={row['balance']}",
        *(["balance.pooling=mean"] if row["balance"] == "auxiliary" else []),
        f"trainer.accumulate_grad_batches={row['accumulation']}",
        f"trainer.precision={row['precision']}",
        *(f"encoder.{name}.normalise={row['normalise']}" for name in NAMES),
        f"data.max_utterances={1000 if row['accumulation'] == 1 else 4}",
        *("trainer.gradient_clip_val=null", "trainer.max_epochs=1", "trainer.accelerator=cpu"),
        *("callbacks=last", "tracker=none", "data.batch_s=1000000"),
    ]
    experiment = Experiment.prepare(compose(options).resolved())
    watch, fold = FirstUpdate(), experiment.folds[0]
    pl.seed_everything(3, verbose=False)
    module = experiment.build_module(fold)
    before = {name: value.double().numpy().copy() for name, value in module.state_dict().items()}
    trainer = build_trainer(experiment, callbacks=[watch], logger=False)
    trainer.fit(module, experiment.build_loader(fold, "train", training=True), None)
    return watch, before


def expected(row, arrays, ids, weights):
    """Return the gradient of each linear layer: of the mean loss over the rows of the update."""
    inputs = {}
    for name in NAMES:
        frames = np.concatenate([arrays[name][f"u{n:02}"] for n in range(len(LABELS))]).astype(
            float
        )
        mean, spread = frames.mean(0), frames.std(0)
        if row["normalise"] == "none":
            mean, spread = 0.0, 1.0
        inputs[name] = np.array(
            [((arrays[name][utterance] - mean) / spread).mean(0) for utterance in ids]
        )
    targets = np.array([LABELS[int(utterance[1:])] for utterance in ids])

    def slope(logits):
        powers = np.exp(logits - logits.max(1, keepdims=True))
        chances, true = powers / powers.sum(1, keepdims=True), np.eye(3)[targets]
        smoothing, focus = 0.2 * ("smoothing" in row["loss"]), 2.0 * ("focal" in row["loss"])
        of_true = chances[np.arange(len(ids)), targets][:, None]
        factor = (1 - of_true) ** focus
        if focus:
            factor -= focus * (1 - of_true) ** (focus - 1) * of_true * np.log(of_true)
        of_class = np.ones(3)
        if "balanced" in row["loss"]:
            of_class = len(LABELS) / (3 * np.bincount(LABELS))
        elif "weights" in row["loss"]:
            of_class = np.array(WEIGHTS)
        weight = of_class[targets][:, None]
        spread = (1 - smoothing) * true + smoothing / 3
        return weight / weight.sum() * factor * (chances - spread)

    def gradients(layer, names, share):
        logits = sum(
            inputs[name] @ weights[layer(name) + ".weight"].T + weights[layer(name) + ".bias"]
            for name in names
        )
        for name in names:
            yield layer(name) + ".weight", share * slope(logits).T @ inputs[name]
            yield layer(name) + ".bias", share * slope(logits).sum(0)

    result = dict(gradients("model.layers.{}".format, NAMES, 1.0))
    if row["balance"] == "auxiliary":
        for name in NAMES:
            result |= gradients("heads.{}.head.0".format, [name], 1 / len(NAMES))
    return {
        name: gradient
        for name, gradient in result.items()
        if not (row["frozen"] and name.startswith(f"model.layers.{row['frozen']}"))
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(map(str, row.values())))
def test_the_first_update_is_that_of_the_formula(row, features, monkeypatch):
    folder, arrays = features
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    watch, before = first_update(row, arrays)
    sys.modules.pop("mine_pairs", None)
    assert len(watch.ids) == len(LABELS)
    if row["sampling"] == "natural":
        assert len({*watch.ids}) == len(LABELS)
    reference = expected(row, arrays, watch.ids, before)
    assert watch.gradients.keys() == reference.keys()
    for name, gradient in reference.items():
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(
            watch.gradients[name], gradient, atol=TOLERANCES[row["precision"]] * scale, rtol=0
        )
