"""Fine-tuned encoders of Hugging Face models: taken from runs with all that belongs to them."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from polymodal.config.compose import compose
from polymodal.errors import UserError
from polymodal.experiment.experiment import Experiment
from polymodal.training.checkpoints import read_checkpoint

SMALL = ["corpus=sample", "corpus.num_speakers=6", "corpus.num_utterances=4", "split.val=0.3"]
SMALL += ["tracker=none", "trainer.max_epochs=1", "trainer.accelerator=cpu", "paths.store=store"]
SMALL += ["model=unimodal", "optimizer.lr=0.01"]
KINDS = {"hubert": "speech", "whisper": "speech", "roberta": "text"}


@pytest.fixture(params=[*KINDS])
def kind(request) -> str:
    return request.param


@pytest.fixture
def trained(polymodal, small_models, workplace, kind, monkeypatch):
    """Fine-tune a tiny model whose folder is gone afterwards, and return the run's folder."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = workplace / "pretrained"
    shutil.copytree(small_models / kind, folder)
    words = [f"encoder.{KINDS[kind]}.name={folder}"]
    words += ["encoder.speech.max_length_s=1"] if kind == "whisper" else []
    code, _, error = polymodal("run", *SMALL, f"encoder=[{kind}]", *words)
    assert code == 0, error
    shutil.rmtree(folder)
    return Path("runs") / Path("runs/last").read_text()


def extracted(kind: str, run: Path, **options: object) -> tuple[Experiment, dict[str, np.ndarray]]:
    modality = KINDS[kind]
    words = [f"encoder.{modality}.{name}={value}" for name, value in options.items()]
    words += [f"encoder.{modality}.from_run={run.name}", f"encoder=[{kind}]"]
    experiment = Experiment.prepare(compose([*SMALL, *words]).resolved())
    experiment.extract(lambda name, done, total: None)
    stored = (
        experiment.stored_features(modality, experiment.folds[0]) if experiment.features else {}
    )
    return experiment, {name: np.array(stored[name]) for name in stored}


def test_it_needs_nothing_but_the_run(trained, kind):
    """Configuration, tokenizer and feature extractor lie in the run; weights in its checkpoint."""
    modality = KINDS[kind]
    described = trained / "encoders" / modality
    names = {path.name for path in described.iterdir()}
    assert "config.json" in names
    assert ("tokenizer.json" if modality == "text" else "preprocessor_config.json") in names
    assert not [*described.glob("*.safetensors")]
    experiment, stored = extracted(kind, trained, pooling="mean")
    assert {one.shape for one in stored.values()} == {(1, 16)}
    state = read_checkpoint(trained / "checkpoints" / "best.ckpt")["state_dict"]
    built = experiment.trained[modality].encoder(0).state_dict()
    for name, value in built.items():
        assert torch.equal(value, state[f"encoders.{modality}.{name}"]), name


def test_another_layer_gives_other_embeddings_and_one_that_is_not_there_is_refused(trained, kind):
    _, last = extracted(kind, trained)
    _, first = extracted(kind, trained, layer=1)
    name = next(iter(last))
    assert first[name].shape == last[name].shape
    assert not np.allclose(first[name], last[name])
    with pytest.raises(UserError, match="layer"):
        extracted(kind, trained, layer=3)


def test_a_warm_start_trains_on(trained, kind, polymodal):
    modality = KINDS[kind]
    more = [f"encoder.{modality}.from_run=last", f"encoder.{modality}.mode=trainable"]
    more += [f"encoder.{modality}.options.freeze=1"]
    code, _, error = polymodal("run", *SMALL, f"encoder=[{kind}]", *more)
    assert code == 0, error
    warm = Path("runs") / Path("runs/last").read_text()
    about = json.loads((warm / "run.json").read_text())
    assert about["encoders"][modality]["run"] == trained.name
    assert "frozen_prefix" not in about["notes"], "its first blocks are not those of the hub"
    before, after = (
        read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"] for run in (trained, warm)
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    blocks = {found[1] for name in changed if (found := re.search(r"layers?\.(\d+)\.", name))}
    assert blocks == {"1"}


def test_other_weights_are_other_entries_of_the_store(trained, kind, polymodal):
    modality = KINDS[kind]
    experiment, _ = extracted(kind, trained)
    digest = experiment.trained[modality].digests[0]
    assert digest in experiment.frozen[modality].extractor.identity
