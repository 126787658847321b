"""`data.batch_s=auto`: found once a run on a GPU, the usual budget on the CPU."""

import json

import pytest

from polymodal.config.compose import compose
from polymodal.errors import ConfigError
from polymodal.experiment import batch_size
from polymodal.experiment.batch_size import with_budget
from polymodal.experiment.experiment import Experiment

OPTIONS = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "split.val=0.3",
    "data.batch_s=auto",
    "data.max_utterances=1000",
    "trainer.accelerator=gpu",
]


@pytest.fixture
def prepare(workplace):
    return lambda *more: Experiment.prepare(compose([*OPTIONS, *more]).resolved())


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    asked = []
    monkeypatch.setattr(batch_size, "_found", lambda *what: asked.append(what) or 6.0)
    return asked


def test_the_cpu_has_the_usual_one(prepare, workplace):
    experiment = prepare("trainer.accelerator=cpu")
    fold = experiment.folds[0]
    assert with_budget(experiment, fold, workplace).batch_s is None
    usual = prepare("trainer.accelerator=cpu", "data.batch_s=120")
    assert len(experiment.build_loader(fold, "train")) == len(usual.build_loader(fold, "train"))


def test_it_is_found_once_and_kept_for_the_run(prepare, gpu, workplace):
    experiment = prepare()
    fold = experiment.folds[0]
    for _ in range(2):
        found = with_budget(experiment, fold, workplace)
        assert found.batch_s == 6.0
    assert len(gpu) == 1
    assert json.loads((workplace / "budget.json").read_text()) == {"batch_s": 6.0}
    assert len(found.build_loader(fold, "train")) > len(experiment.build_loader(fold, "train"))


def test_a_number_is_taken_as_it_is(prepare, gpu, workplace):
    experiment = prepare("data.batch_s=50")
    assert with_budget(experiment, experiment.folds[0], workplace).batch_s is None
    assert not gpu


def test_several_devices_are_refused_as_they_could_differ(prepare, gpu, workplace):
    experiment = prepare("trainer.devices=2")
    with pytest.raises(ConfigError, match=r"batch_s=auto with trainer\.devices=2"):
        with_budget(experiment, experiment.folds[0], workplace)
