"""Sections are bound to the signatures of what they name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

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
        ("+trainer.max_epoch=1", "did you mean 'max_epochs'"),
        ("+trainer.callbacks=[]", "trainer.callbacks is unknown"),
        ("optimizer.lr=fast", "optimizer.lr='fast'"),
        ("+optimizer.learning_rate=1", "optimizer.learning_rate is unknown"),
        ("split.groups=5", "split.groups=5"),
        ("split.groups=speaker", "split.groups='speaker'"),
        ("split.test=true", "split.test=True"),
        ("split._target_=polymodal.data.splits.holdut", "did you mean 'holdout'"),
        ("model.num_layers=two", "model.num_layers='two'"),
        ("+model.num_outputs=3", "model.num_outputs is unknown"),
        ("~task.classes", "task.classes is missing"),
        ("encoder.speech.num_mels=64.5", "encoder.speech.num_mels=64.5"),
        ("+encoder.text.units=bytes", "did you mean 'unit'"),
        ("loss.label_smoothing=high", "loss.label_smoothing='high'"),
        ("scheduler.warmup=a", "scheduler.warmup='a'"),
        ("callbacks.early_stopping.patience=long", "callbacks.early_stopping.patience='long'"),
        ("+callbacks.early_stopping.patiense=3", "did you mean 'patience'"),
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
