"""A study: finished jobs are kept, only changed ones run again, some members are only applied."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from polymodal.schemas.predictions import PredictionTable

# Words only: two members that take a second each, and a vote.
STUDY = """
members:
  words: experiment=sample/text
  letters: experiment=sample/text encoder.text.width=8
votes:
  soft: {ensemble: soft}
shared: [corpus.num_speakers=6, corpus.num_utterances=8, trainer.max_epochs=1, split.val=0.3,
  trainer.accelerator=cpu]
"""


def read_study(folder=None):
    path = folder or Path("runs") / Path("runs/last").read_text()
    return json.loads((path / "study.json").read_text())


def run_ids(kind="run"):
    records = [json.loads(path.read_text()) for path in Path("runs").glob("*/run.json")]
    return sorted(entry["run_id"] for entry in records if entry["kind"] == kind)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, polymodal_in):
    """A study that has run, in a folder that the tests only read: the folder, and what it said."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "configs/study").mkdir(parents=True)
    (folder / "configs/study/small.yaml").write_text(STUDY)
    code, out, error = polymodal_in(folder, "study", "study=small", "tracker=none")
    assert code == 0, error
    return folder, out


@pytest.fixture
def first(finished, monkeypatch):
    """The record of the finished study, whose folder is the current one."""
    monkeypatch.chdir(finished[0])
    return read_study()


def test_a_study_has_its_members_and_votes(first):
    assert first["status"] == "finished"
    assert {name: entry["kind"] for name, entry in first["members"].items()} == {
        "words": "member",
        "letters": "member",
        "soft": "vote",
    }


def test_the_interval_of_a_score_holds_its_mean(first):
    score = first["members"]["soft"]["scores"]["test/uar"]
    assert score["low"] <= score["mean"] <= score["high"]
    assert score["low"] < score["high"]


def test_members_have_a_generalisation_gap(first):
    assert "gap" in first["members"]["words"]


def test_every_pair_is_compared_and_its_verdict_printed(first, finished):
    pairs = {frozenset((entry["a"], entry["b"])) for entry in first["comparisons"]}
    assert len(pairs) == len(first["comparisons"]) == 3
    assert all(entry["verdict"] in finished[1] for entry in first["comparisons"])


def test_a_study_has_a_report_and_its_folds(first):
    folder = Path("runs") / first["study"]
    assert (folder / "report.html").is_file()
    assert (folder / "folds.json").is_file()


def test_every_job_of_a_study_is_a_run_below_it(first):
    assert sorted(first["runs"]) == run_ids()
    records = [json.loads((Path("runs") / entry / "run.json").read_text()) for entry in run_ids()]
    assert {entry["parent"] for entry in records} == {first["study"]}


def test_the_last_run_is_the_study_never_one_of_its_jobs(first):
    assert Path("runs/last").read_text() == first["study"]


def test_a_study_is_shown(finished, first, polymodal_in):
    code, shown, _ = polymodal_in(finished[0], "show", "last", "--json")
    assert code == 0
    assert json.loads(shown)["members"] == first["members"]


def test_the_jobs_of_a_study_can_be_compared(finished, first, polymodal_in):
    code, shown, _ = polymodal_in(finished[0], "compare", *first["runs"])
    assert code == 0
    assert "no difference can be claimed between" in shown or "is better than" in shown


def test_only_the_changed_member_of_a_study_runs_again(study, finished, workplace):
    before, _ = finished
    shutil.copytree(before / "runs", workplace / "runs")
    first, jobs = read_study(), run_ids()
    code, _, error = study(STUDY.replace("width=8", "width=16"))
    assert code == 0, error
    second = read_study()
    assert len(run_ids()) == len(jobs) + 1
    assert {entry["member"]: entry["reused"] for entry in second["cells"]} == {
        "words": True,
        "letters": False,
    }
    assert second["members"]["words"]["scores"] == first["members"]["words"]["scores"]


@pytest.mark.slow
def test_a_member_trained_elsewhere_is_applied_in_the_folds_of_the_study(study):
    text = """
members:
  words: experiment=sample/text
  other: {run: [experiment=sample/text, corpus.seed=5, corpus.num_utterances=12], applied: true}
protocol: [split=k_folds, split.num_folds=2, split.val=0.34, corpus.num_utterances=8]
shared: [corpus.num_speakers=6, trainer.max_epochs=1]
votes:
  calibrated: {ensemble: calibrated}
"""
    code, _, error = study(text)
    assert code == 0, error
    result = read_study()
    assert len(run_ids("predict")) == 1
    job = next(entry for entry in result["cells"] if entry["member"] == "other")
    predicted = PredictionTable.read(
        Path("runs") / job["predicted"] / "predictions/predict.parquet"
    )
    assert len(predicted) == 48, "the study's corpus, not its own"
    run = json.loads((Path("runs") / job["run"] / "run.json").read_text())
    assert run["data"]["rows"] == 72
    assert result["members"]["other"]["scores"]["test/uar"]["n"] == 48
    assert result["members"]["calibrated"]["scores"]["test/uar"]["n"] == 48
    code, _, error = study(text)
    assert code == 0, error
    assert len(run_ids("predict")) == 1, "nor is it applied again"


def test_invalid_comparisons_are_rejected_before_anything_runs(study):
    faults = {
        STUDY.replace("width=8", "width=8 split.seed=7"): "different split: split.seed",
        STUDY.replace("width=8", "width=8 corpus.seed=3"): "different corpus: corpus.seed",
        STUDY.replace("width=8", "wdth=8"): "encoder.text.wdth",
        STUDY.replace("ensemble: soft", "ensemble: sofd"): "did you mean 'soft'",
        STUDY.replace("sample/text\n", "sample/txt\n"): "'sample/text'",
        STUDY.replace("split.val=0.3", "split.val=0, callbacks=last").replace(
            "ensemble: soft", "ensemble: calibrated"
        ): "fitted on validation rows",
        STUDY + "score: uarr\n": "did you mean 'uar'",
    }
    for text, message in faults.items():
        code, _, error = study(text)
        assert code == 2, (message, error)
        assert message in error
        assert "Traceback" not in error
        assert not run_ids()
        assert not run_ids("study")


def test_a_failed_job_lets_the_others_finish_and_is_repeated(study):
    broken = STUDY.replace("width=8", "width=8 optimizer.lr=1e38")
    code, _, error = study(broken)
    assert code == 1
    assert "1 of 2 jobs failed" in error
    assert "letters, seed 0" in error
    assert read_study()["status"] == "running"
    code, _, error = study(STUDY)
    assert code == 0, error
    result = read_study()
    assert len(run_ids("study")) == 1, "the study goes on in its folder"
    assert [entry["version"] for entry in result["versions"]] == [1, 2], "it was edited in between"
    assert {
        entry["member"]: entry["version"] for entry in result["cells"] if not entry.get("left")
    } == {
        "words": 1,
        "letters": 2,
    }
    assert [entry["member"] for entry in result["cells"] if entry.get("left")] == ["letters"]


@pytest.mark.slow
def test_seeds_and_training_fractions_are_jobs_too(study):
    single = STUDY.replace("  letters: experiment=sample/text encoder.text.width=8\n", "")
    single = single.replace("votes:\n  soft: {ensemble: soft}\n", "")
    code, _, error = study(single + "seeds: [0, 1]\nfractions: [0.5]\n")
    assert code == 0, error
    result = read_study()
    assert [entry["share"] for entry in result["members"]["words"]["curve"]] == [0.5, 1.0]
    assert len(result["members"]["words"]["runs"]) == len(result["runs"]) == 4
    tables = [
        pl.read_parquet(Path("runs") / entry["run"] / "predictions/train.parquet").height
        for entry in result["cells"]
        if entry["member"] == "words"
    ]
    assert tables[0] < tables[2], "half of the training rows"
