"""Frozen beginnings of encoders that are trained: read from the store by runs, which say so."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from polymodal.config.compose import compose
from polymodal.encoders.huggingface.speech import PretrainedSpeechEncoder
from polymodal.experiment.experiment import Experiment
from polymodal.features.prefix_cache import plan_prefix_cache

transformers = pytest.importorskip("transformers")

SPEECH = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SPEECH |= {"intermediate_size": 24, "conv_dim": (8, 12), "num_feat_extract_layers": 2}
SPEECH |= {"conv_kernel": (40, 20), "conv_stride": (20, 16), "num_conv_pos_embedding_groups": 2}
SPEECH |= {"num_conv_pos_embeddings": 8}
SMALL = ("corpus=sample", "corpus.num_speakers=6", "corpus.num_utterances=4", "split.val=0.3")
SMALL += ("tracker=none", "model=unimodal", "encoder=[hubert]", "trainer.accelerator=cpu")
SMALL += ("trainer.max_epochs=2", "paths.store=store", "trainer.log_every_n_steps=1")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def hubert(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prefix") / "hubert"
    torch.manual_seed(0)
    transformers.HubertModel(transformers.HubertConfig(**SPEECH)).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture
def arguments(workplace, hubert) -> Callable[..., list[str]]:
    """The arguments of a small experiment that fine-tunes HuBERT."""
    return lambda *more: [*SMALL, f"encoder.speech.name={hubert}", *more]


@pytest.fixture
def experiment(arguments) -> Callable[..., Experiment]:
    return lambda *more: Experiment.prepare(compose(arguments(*more)).resolved())


def said(hubert, reuse="auto", trainer=None, precision="32-true", training=True, **options) -> str:
    encoder = PretrainedSpeechEncoder(str(hubert), **options)
    trainer = {"max_epochs": 3, **(trainer or {})}
    plan = plan_prefix_cache({"speech": encoder}, reuse, trainer, precision, training=training)
    note = plan.notes.get("speech", "nothing is frozen")
    assert ("speech" in plan.extractors) == note.startswith("read")
    if plan.extractors:
        half = precision == "bf16-mixed"
        assert plan.extractors["speech"].precision == ("bfloat16" if half else "float32")
    return note


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def losses(folder: Path) -> dict[str, list[float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        name: [line[name] for line in lines if name in line] for name in ("train/loss", "val/loss")
    }


def test_a_run_that_reads_it_is_the_run_that_computes_it(polymodal, arguments, monkeypatch):
    """The same losses and scores; checkpoints of either serve where the other is configured."""
    heard = []
    original = PretrainedSpeechEncoder._encode
    monkeypatch.setattr(
        PretrainedSpeechEncoder, "_encode", lambda *all_: heard.append(1) or original(*all_)
    )
    runs = {}
    for reuse in ("auto", "false"):
        options = arguments(f"data.reuse_prefix={reuse}", "data.max_utterances=4")
        code, _, error = polymodal("run", *options)
        assert code == 0, error
        assert bool(heard) == (reuse == "false")
        runs[reuse] = sorted(Path("runs").glob("2*"))[-1]
    read, computed = runs.values()
    notes = [record(run)["notes"]["frozen_prefix"]["speech"] for run in runs.values()]
    assert notes == ["read from the store (convolutions)", "computed (data.reuse_prefix=false)"]
    assert "read from the store (convolutions)" in polymodal("show", str(read), "--config")[1]
    assert len(losses(read)["train/loss"]) > 2
    for name, values in losses(read).items():
        assert values == pytest.approx(losses(computed)[name], abs=1e-6)
    assert record(read)["scores"] == pytest.approx(record(computed)["scores"], abs=1e-6)
    size = sum(path.stat().st_size for path in Path("store").rglob("*.data"))
    for run, reuse, what in ((read, "auto", "each utterance is read"), (computed, "true", "store")):
        code, _, error = polymodal("test", str(run), f"data.reuse_prefix={reuse}")
        assert code == 0, error
        tested = sorted(Path("runs").glob("2*"))[-1]
        assert record(tested)["parent"] == run.name
        assert what in record(tested)["notes"]["frozen_prefix"]["speech"]
        assert record(tested)["scores"] == pytest.approx(
            {k: v for k, v in record(run)["scores"].items() if k.startswith("test/")}, abs=1e-6
        )
    assert size == sum(path.stat().st_size for path in Path("store").rglob("*.data"))


def test_batches_stay_as_the_audio_makes_them(experiment):
    plans = []
    for reuse in ("auto", "false"):
        built = experiment(f"data.reuse_prefix={reuse}", "data.batch_s=6")
        built.plan_prefix_cache("32-true", training=True)
        built.extract(lambda *_: None)
        loader = built.build_loader(built.folds[0], "train", training=True)
        batches = list(loader)
        plans.append([batch.utterance_ids for batch in batches])
        width = batches[0].modalities["speech"].values.shape[-1]
        assert (width == 12) == (reuse == "auto")
    assert plans[0] == plans[1]
    assert len(plans[0]) > 2


@pytest.mark.parametrize(
    ("reuse", "trainer", "expected"),
    [
        ("auto", {}, "read from the store (convolutions)"),
        (True, {}, "read from the store (convolutions)"),
        (False, {}, "computed (data.reuse_prefix=false)"),
        ("auto", {"max_epochs": 1}, "computed (each utterance is read once)"),
        (True, {"max_epochs": 1}, "read from the store (convolutions)"),
        ("auto", {"limit_train_batches": 2}, "computed (only some batches are trained on)"),
        ("auto", {"overfit_batches": 4}, "computed (only some batches are trained on)"),
        ("auto", {"fast_dev_run": True}, "computed (only some batches are trained on)"),
        ("auto", {"limit_train_batches": 1.0}, "read from the store (convolutions)"),
    ],
)
def test_the_record_says_what_is_read_and_why_not(hubert, reuse, trainer, expected):
    assert said(hubert, reuse, trainer) == expected


def test_what_is_trained_precision_and_stage_decide_too(hubert):
    assert said(hubert, freeze="none") == "nothing is frozen"
    augmented = {"waveform_augment": {"speed": [0.9, 1.1]}}
    expected = "computed (waveform_augment changes the waveforms)"
    assert said(hubert, True, **augmented) == expected
    assert said(hubert, precision="bf16-mixed") == "read from the store (convolutions)"
    expected = "computed (trainer.precision=16-mixed cannot be stored)"
    assert said(hubert, True, precision="16-mixed") == expected
    assert said(hubert, training=False) == "computed (each utterance is read once)"
    assert said(hubert, True, training=False) == "read from the store (convolutions)"


def test_a_disk_that_it_would_fill_is_left_alone_unless_that_is_asked_for(experiment, monkeypatch):
    usage = SimpleNamespace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    built = experiment()
    built.plan_prefix_cache("32-true", training=True)
    assert built.prefixes.notes["speech"].startswith("read")
    built.extract(lambda *_: None)
    assert "GB would go to" in built.prefixes.notes["speech"]
    assert not built.features
    assert not built.build_module(built.folds[0]).encoders["speech"].reads_prefix
    asked = experiment("data.reuse_prefix=true")
    asked.plan_prefix_cache("32-true", training=True)
    asked.extract(lambda *_: None)
    assert len(asked.features["speech"]) == 24
    assert asked.build_module(asked.folds[0]).encoders["speech"].reads_prefix


def test_an_unknown_word_is_refused(polymodal, arguments):
    code, _, error = polymodal("run", *arguments("data.reuse_prefix=atuo"))
    assert code == 2
    assert "did you mean 'auto'" in error


def test_embed_stores_it_before_a_run(polymodal, arguments):
    code, out, error = polymodal("embed", *arguments())
    assert code == 0, error
    assert "speech: 24 utterances" in out
    code, _, error = polymodal("embed", *arguments("trainer.max_epochs=9"))
    assert (code, "0 of 24 utterances are missing" in error) == (0, True)
    code, _, error = polymodal("embed", *arguments("data.reuse_prefix=false"))
    assert (code, "speech: computed (data.reuse_prefix=false)" in error) == (2, True)
