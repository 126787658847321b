"""What runs with which words: the default experiment, or the record of the run to continue."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from polymodal.preflight.check import Report

SMALL = [
    *("corpus.num_speakers=6", "corpus.num_utterances=8", "split.val=0.3", "split.test=0.3"),
    *("trainer.max_epochs=1", "tracker=none", "optimizer.lr=0.002"),
]
TEXT = ["experiment=sample/text", *SMALL]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, polymodal_in) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    code, _, error = polymodal_in(folder, "run", *TEXT)
    assert code == 0, error
    return folder / "runs"


@pytest.fixture
def stopped(finished, workplace) -> Path:
    """The folder of a run that was stopped after its last epoch."""
    shutil.copytree(finished, workplace / "runs")
    run = workplace / "runs" / (workplace / "runs" / "last").read_text()
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "interrupted", "scores": {}}))
    (run / "checkpoints" / "fitted.json").unlink()
    return run


def printed(polymodal, *words):
    code, out, error = polymodal("run", *words, "--cfg", "job")
    assert code == 0, error
    return yaml.safe_load(out)


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("seed=3", "seed"),
        ("trainer.max_epochs=2", "trainer"),
        ("split=k_folds", "split"),
        ("tracker=none", "tracker"),
        ("~callbacks", "callbacks"),
    ],
)
def test_an_override_changes_nothing_else_of_the_default_experiment(
    polymodal, monkeypatch, word, key
):
    composed = []
    monkeypatch.setattr(
        "polymodal.runs.train.run_experiment", lambda config, _: composed.append(config)
    )
    default, varied = printed(polymodal), printed(polymodal, word)
    assert [name for name in default if default[name] != varied[name]] == [key]
    if key != "callbacks":  # without a checkpoint `run` refuses
        assert polymodal("run", word)[0] == 0
        assert composed[0].name == "sample/fusion"
        assert yaml.safe_load(composed[0].text()) == varied


def test_every_command_has_the_same_default(polymodal, monkeypatch):
    overrides = []
    for name in ("check_all", "check_sweep"):
        module = {"check_all": "preflight", "check_sweep": "study"}[name]

        def check(words, **_):
            overrides.append([*words])
            return Report()

        monkeypatch.setattr(f"polymodal.{module}.check.{name}", check)
    for words in ([], ["-m"]):
        assert polymodal("check", *words, "seed=3")[0] == 0
    assert overrides == [["experiment=sample/fusion", "seed=3"]] * 2
    assert "speech, text, physiology" in polymodal("embed", "seed=3", *SMALL[:3])[2]
    code, _, error = polymodal("run", "-m", "--cfg", "job", "seed=3,4")
    assert (code, "exclude one another" in error) == (2, True)


@pytest.mark.parametrize("word", ["experiment=sample/text", "model=mlp", "corpus=emodb"])
def test_another_subject_is_an_experiment_of_its_own(polymodal, word):
    varied = printed(polymodal, word, "trainer.max_epochs=7")
    assert varied["model"].get("modality_dropout") != 0.1


def test_resume_alone_continues_what_was_recorded(polymodal, stopped):
    recorded = yaml.safe_load((stopped / "config.yaml").read_text())
    assert printed(polymodal, "resume=last") == {**recorded, "resume": "last"}
    assert polymodal("check", "resume=last")[0] == 0
    code, _, error = polymodal("run", "resume=last")
    assert code == 0, error
    record = json.loads((stopped / "run.json").read_text())
    assert record["status"] == "finished"
    assert "test/uar" in record["scores"]
    assert len(list(stopped.parent.glob("*/run.json"))) == 1


def test_a_difference_is_named_by_its_key_and_both_values(polymodal, stopped):
    before = (stopped / "run.json").read_bytes()
    for words in (["optimizer.lr=0.5"], [*TEXT, "optimizer.lr=0.5"]):
        for command in ("run", "check"):
            code, out, error = polymodal(command, *words, "resume=last")
            assert code == 2
            assert "optimizer.lr: 0.002 became 0.5" in out + error
            assert "weight_decay" not in out + error
    assert (stopped / "run.json").read_bytes() == before
    code, _, error = polymodal("run", *TEXT, "resume=last", "data.num_workers=0", "stages=[test]")
    assert code == 0, error


def test_what_does_not_train_is_not_continued(polymodal, finished, workplace):
    shutil.copytree(finished, workplace / "runs")
    assert polymodal("test", "last", "tracker=none")[0] == 0
    code, _, error = polymodal("run", "resume=last:test")
    assert code == 2
    assert "is a test, which resume= does not continue" in error
    run = (workplace / "runs" / "last").read_text()
    for command in ("test", "predict", "embed"):
        code, _, error = polymodal(command, "last:test")
        assert code == 2
        assert f"name the run {run}" in error
