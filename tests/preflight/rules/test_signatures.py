"""Sections are bound to the signatures of what they name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.preflight.conftest import (
    MINE,
    PACKAGE,
    TEXT,
    Planted,
    assert_found,
    mine,
    planted_faults,
)

import polymodal.configs
from polymodal.config.compose import compose
from polymodal.errors import ConfigError
from polymodal.preflight.rules.signatures import check_signatures, matches_type

CONFIGS = Path(polymodal.configs.__file__).parent


@pytest.mark.parametrize(
    ("value", "hint", "wanted"),
    [
        (3, int, True),
        (3, float, True),
        (3.0, int, False),
        (True, int, False),
        (1, bool, False),
        ("3", int, False),
        (None, int | None, True),
        (None, int, False),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        (["a"], Sequence[str], True),
        ([1], Sequence[str], False),
        ("a", Sequence[str], False),
        ({"a": 1}, Mapping[str, float], True),
        ({"a": "x"}, Mapping[str, float], False),
        ("p", Path, True),
        ("x", Any, True),
    ],
)
def test_types(value, hint, wanted):
    assert matches_type(value, hint) is wanted


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainer.max_epochs=abc", "trainer.max_epochs='abc' has the wrong type"),
        ("trainer.max_epochs=1.5", "trainer.max_epochs=1.5 has the wrong type"),
        ("trainer.accumulate_grad_batches=many", "trainer.accumulate_grad_batches"),
        ("+trainer.gpus=1", "trainer.gpus is unknown"),
        ("+trainer.max_epoch=1", "did you mean 'trainer.max_epochs'"),
        ("+trainer.callbacks=[]", "trainer.callbacks is unknown"),
        ("optimizer.lr=fast", "optimizer.lr='fast'"),
        ("+optimizer.learning_rate=1", "optimizer.learning_rate is unknown"),
        ("split.groups=5", "split.groups=5"),
        ("split.groups=speaker", "split.groups='speaker'"),
        ("split.test=true", "split.test=true"),
        ("split._target_=polymodal.data.splits.holdut", "did you mean 'holdout'"),
        ("model.num_layers=two", "model.num_layers='two'"),
        ("+model.num_outputs=3", "model.num_outputs is unknown"),
        ("~task.classes", "task.classes is missing"),
        ("encoder.speech.num_mels=64.5", "encoder.speech.num_mels=64.5"),
        ("+encoder.text.units=bytes", "did you mean 'encoder.text.unit'"),
        ("loss.label_smoothing=high", "loss.label_smoothing='high'"),
        ("scheduler.warmup=a", "scheduler.warmup='a'"),
        ("callbacks.early_stopping.patience=long", "callbacks.early_stopping.patience='long'"),
        (
            "+callbacks.early_stopping.patiense=3",
            "did you mean 'callbacks.early_stopping.patience'",
        ),
        ("+scores.uar.averag=macro", "scores.uar.averag is unknown"),
        ("seed=1.5", "seed=1.5"),
        ("stages=fit", "stages='fit'"),
        ("stages=[fitt]", "fit or train or test or predict"),
        ("evaluate_on=tests", "evaluate_on='tests'"),
    ],
)
def test_a_planted_fault_is_found(workplace, override, words):
    with pytest.raises(ConfigError) as caught:
        check_signatures(compose([override]).resolved())
    assert words in str(caught.value)


SHIPPED = sorted(
    path.relative_to(CONFIGS).with_suffix("").as_posix()
    for path in CONFIGS.rglob("*.yaml")
    if path.parent != CONFIGS
    and path.relative_to(CONFIGS).parts[0] not in ("hydra", "study", "ensemble")
)


CLASSES = "corpus.classes=[a,b]"
MUST_BE_GIVEN = {
    "corpus/table": [CLASSES],
    "corpus/folders": [CLASSES],
    "corpus/huggingface": [CLASSES],
    "corpus/features": [CLASSES, "corpus.modalities={face: face.npz}"],
    "corpus/manifest": [CLASSES, "corpus.file=m.parquet"],
    "encoder/precomputed": ["encoder.features.signal=face", "encoder.features.feature_size=5"],
    "split/file": ["split.file=folds.json"],
    "alert/apprise": ["alert.channel.credential_urls=[json://localhost]"],
    "alert/email": ["alert.channel.sender=a@b", "alert.channel.recipients=[c@d]"],
    "alert/webhook": ["alert.channel.webhook=https://localhost"],
}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_option_passes(workplace, name):
    group, _, option = name.partition("/")
    if name != "tracker/wandb":
        chosen = [f"{group}={option}", *MUST_BE_GIVEN.get(name, ())]
        check_signatures(compose(chosen).resolved())


PLANTED = {
    "options": Planted(
        mine(
            TEXT
            + """
stages: fit
test_subsets: maybe
trainer:
  max_epoch: 3
  gpus: 1
  checkpoint_callback: true
  resume_from_checkpoint: last.ckpt
  progress_bar_refresh_rate: 0
  terminate_on_nan: true
  gradient_clip_val: high
callbacks:
  early_stopping:
    patiense: 3
  checkpoint:
    period: 2
    every_n_val_epochs: 1
data:
  sampling: balancd
  max_utterances: many
  num_workers: two
optimizer:
  lr: "1e-3"
  weight_decay: 0,01
scheduler:
  warmup: [0.1]
model:
  num_outputs: 4
  pooling: 3
encoder:
  text:
    widht: 64
split:
  groups: speaker
scores:
  kappa:
    _target_: torchmetrics.F1
"""
        ),
        [
            ("wrong type", "stages", MINE, "stages: fit"),
            ("wrong type", "test_subsets", MINE, "test_subsets: maybe"),
            ("unknown option", "trainer.max_epoch", MINE, "max_epoch: 3"),
            # lcn-kul/madress-2023#1, lavis-nlp/jerex#19
            ("removed option", "trainer.gpus", MINE, "gpus: 1"),
            # ray-project/ray_lightning#169
            ("removed option", "trainer.checkpoint_callback", MINE, "checkpoint_callback"),
            # clovaai/donut#231
            ("removed option", "trainer.resume_from_checkpoint", MINE, "resume_from"),
            ("removed option", "trainer.progress_bar_refresh_rate", MINE, "progress_bar"),
            ("removed option", "trainer.terminate_on_nan", MINE, "terminate_on_nan"),
            ("wrong type", "trainer.gradient_clip_val", MINE, "gradient_clip_val"),
            ("unknown option", "callbacks.early_stopping.patiense", MINE, "patiense"),
            ("removed option", "callbacks.checkpoint.period", MINE, "period: 2"),
            ("removed option", "callbacks.checkpoint.every_n_val_epochs", MINE, "every_n_val"),
            ("wrong type", "data.sampling", MINE, "sampling: balancd"),
            ("wrong type", "data.max_utterances", MINE, "max_utterances: many"),
            ("wrong type", "data.num_workers", MINE, "num_workers: two"),
            # hiyouga/LlamaFactory#4014, h2oai/h2o-llmstudio#699, Noble-Lab/casanovo#64
            ("wrong type", "optimizer.lr", MINE, 'lr: "1e-3"'),
            ("wrong type", "optimizer.weight_decay", MINE, "weight_decay: 0,01"),
            ("wrong type", "scheduler.warmup", MINE, "warmup: [0.1]"),
            ("unknown option", "model.num_outputs", MINE, "num_outputs: 4"),
            ("wrong type", "model.pooling", MINE, "pooling: 3"),
            ("unknown option", "encoder.text.widht", MINE, "widht: 64"),
            # ancestor.md 1: a list where a flag belongs, and the other way round.
            ("wrong type", "split.groups", MINE, "groups: speaker"),
            ("target", "scores.kappa._target_", MINE, "torchmetrics.F1"),
        ],
    ),
    "targets": Planted(
        mine(
            TEXT
            + """
optimizer:
  _target_: torch.optim.AdamWW
loss:
  _target_: os.system
model:
  _target_: polymodal.models.unimodl.UnimodalClassifier
scheduler:
  _target_: mine.nothing.schedule
callbacks:
  early_stopping:
    _target_: pytorch_lightning.callbacks.EarlyStoping
task:
  classes: null
""",
            files=PACKAGE,
        ),
        [
            ("target", "optimizer._target_", MINE, "AdamWW"),
            # faults.md 55
            ("target", "loss._target_", MINE, "os.system"),
            ("target", "model._target_", MINE, "unimodl.Unimodal"),
            ("target", "scheduler._target_", MINE, "mine.nothing"),
            ("target", "callbacks.early_stopping._target_", MINE, "EarlyStoping"),
            ("wrong type", "task.classes", MINE, "classes: null"),
        ],
    ),
    "constructor": Planted(
        mine(TEXT + "model:\n  _target_: mine.heads.Raising\n  pooling: null\n", files=PACKAGE),
        [
            ("unknown option", "model.pooling", MINE, "pooling: null"),
        ],
    ),
}


@pytest.mark.parametrize(("name", "fault"), planted_faults(PLANTED))
def test_a_fault_is_found_with_its_line(checked, shape_checks_off, name, fault):
    assert_found(checked(name, PLANTED[name].project)[1], fault)
