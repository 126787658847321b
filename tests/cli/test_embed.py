"""`polymodal embed`: fills the store, once."""

import json
import shutil
from types import SimpleNamespace

import pytest

from polymodal.config.compose import compose
from polymodal.experiment.experiment import Experiment

EXPERIMENT = ("encoder=physiology", "model=mlp", "data.extract_workers=0", "paths.store=store")
SMALL = ("corpus.root=tiny", "corpus.num_speakers=6", "corpus.num_utterances=4")


@pytest.fixture
def sample(polymodal):
    """The words that embed an experiment whose features are quick to compute."""
    pytest.importorskip("neurokit2")
    return lambda *words: polymodal("embed", *EXPERIMENT, *SMALL, *words)


def test_a_store_is_filled_once_and_then_only_read(sample, polymodal, workplace):
    code, out, error = sample()
    assert code == 0, error
    assert "are missing in the store, about" in error
    assert "utterances/s" in error
    first = int(out.split(" computed now")[0].split()[-1])
    assert first > 10
    code, out, error = sample()
    assert (code, "0 of " in error, "; 0 computed now" in out) == (0, True, True)
    (stored,) = json.loads(polymodal("features", "--store", "store", "--json")[1])
    assert stored["identity"].startswith("physiology")
    assert stored["entries"] <= first  # equal content is stored once
    experiment = Experiment.prepare(compose([*EXPERIMENT, *SMALL]).resolved())
    experiment.extract(lambda *_: None)
    assert len(experiment.features["physiology"]) >= stored["entries"]
    assert len(list((workplace / "store").rglob("*.data"))) == 1  # a run computes nothing


def test_too_little_room_is_said_before_anything_is_computed(sample, workplace, monkeypatch):
    usage = SimpleNamespace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    code, _, error = sample()
    assert code == 2
    assert "are free" in error
    assert "data.store_dtype=bfloat16" in error
    assert not (workplace / "store").exists()


def test_without_a_frozen_encoder_there_is_nothing_to_store(polymodal):
    code, _, error = polymodal("embed", "encoder=characters", "model=unimodal", *SMALL)
    assert code == 2
    assert "is frozen, or nothing of it is stored: text" in error


def test_unknown_numbers_are_refused(sample):
    code, _, error = sample("data.store_dtype=float8")
    assert code == 2
    assert "did you mean 'float" in error
