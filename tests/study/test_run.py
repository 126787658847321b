"""A study: cells that are kept, changed ones alone run again, members that are only applied."""

import json
from pathlib import Path

import polars as pl

from polymodal.schemas.predictions import PredictionTable

# Words only: two members that take a second each, and a vote.
STUDY = """
members:
  words: experiment=sample/text
  letters: experiment=sample/text encoder.text.width=8
votes:
  soft: {voting: soft}
shared: [corpus.num_speakers=6, corpus.num_utterances=8, trainer.max_epochs=1, split.val=0.3,
  trainer.accelerator=cpu]
"""


def told(folder=None):
    path = folder or Path("runs") / Path("runs/last").read_text()
    return json.loads((path / "study.json").read_text())


def cells(kind="run"):
    records = [json.loads(path.read_text()) for path in Path("runs").glob("*/run.json")]
    return sorted(one["run_id"] for one in records if one["kind"] == kind)


def test_a_study_runs_members_votes_compares_and_keeps_what_has_run(study, polymodal):
    code, out, error = study(STUDY)
    assert code == 0, error
    first = told()
    assert first["status"] == "finished"
    assert {name: one["kind"] for name, one in first["members"].items()} == {
        "words": "member",
        "letters": "member",
        "soft": "vote",
    }
    score = first["members"]["soft"]["scores"]["test/uar"]
    assert score["low"] <= score["mean"] <= score["high"]
    assert len(first["comparisons"]) == 3
    assert all(one["verdict"] in out for one in first["comparisons"])
    assert "gap" in first["members"]["words"]
    folder = Path("runs") / first["study"]
    assert (folder / "report.html").is_file()
    assert (folder / "folds.json").is_file()
    assert sorted(first["runs"]) == cells(), "every cell is a run of its own"
    assert Path("runs/last").read_text() == first["study"], "never a cell of it"
    records = [json.loads((Path("runs") / one / "run.json").read_text()) for one in cells()]
    assert {one["parent"] for one in records} == {first["study"]}

    code, shown, _ = polymodal("show", "last", "--json")
    assert json.loads(shown)["members"] == first["members"]
    code, shown, _ = polymodal("compare", *first["runs"])
    assert "no difference can be claimed between" in shown or "is better than" in shown

    before = cells()
    code, _, error = study(STUDY.replace("width=8", "width=16"))
    assert code == 0, error
    second = told()
    assert len(cells()) == len(before) + 1, "only the changed member ran again"
    assert {one["member"]: one["reused"] for one in second["cells"]} == {
        "words": True,
        "letters": False,
    }
    assert second["members"]["words"]["scores"] == first["members"]["words"]["scores"]


def test_a_member_trained_elsewhere_is_applied_in_the_folds_of_the_study(study):
    elsewhere = """
members:
  words: experiment=sample/text
  other: {run: [experiment=sample/text, corpus.seed=5, corpus.num_utterances=12], applied: true}
protocol: [split=k_folds, split.num_folds=2, split.val=0.34, corpus.num_utterances=8]
shared: [corpus.num_speakers=6, trainer.max_epochs=1]
votes:
  calibrated: {voting: calibrated}
"""
    code, _, error = study(elsewhere)
    assert code == 0, error
    found = told()
    assert len(cells("predict")) == 1
    cell = next(one for one in found["cells"] if one["member"] == "other")
    predicted = PredictionTable.read(
        Path("runs") / cell["predicted"] / "predictions/predict.parquet"
    )
    assert len(predicted) == 48, "the study's corpus, not its own"
    own = json.loads((Path("runs") / cell["run"] / "run.json").read_text())
    assert own["data"]["rows"] == 72
    assert found["members"]["other"]["scores"]["test/uar"]["n"] == 48
    assert found["members"]["calibrated"]["scores"]["test/uar"]["n"] == 48
    code, _, error = study(elsewhere)
    assert code == 0, error
    assert len(cells("predict")) == 1, "nor is it applied again"


def test_what_cannot_be_compared_is_refused_before_anything_runs(study):
    faults = {
        STUDY.replace("width=8", "width=8 split.seed=7"): "different split: split.seed",
        STUDY.replace("width=8", "width=8 corpus.seed=3"): "different corpus: corpus.seed",
        STUDY.replace("width=8", "wdth=8"): "encoder.text.wdth",
        STUDY.replace("voting: soft", "voting: sofd"): "did you mean 'soft'",
        STUDY.replace("sample/text\n", "sample/txt\n"): "'sample/text'",
        STUDY.replace("split.val=0.3", "split.val=0, callbacks=last").replace(
            "voting: soft", "voting: calibrated"
        ): "fitted on validation rows",
        STUDY + "score: uarr\n": "did you mean 'uar'",
    }
    for text, words in faults.items():
        code, _, error = study(text)
        assert code == 2, (words, error)
        assert words in error
        assert "Traceback" not in error
        assert not cells()
        assert not cells("study")


def test_a_cell_that_fails_lets_the_others_finish_and_is_tried_again(study):
    broken = STUDY.replace("width=8", "width=8 optimizer.lr=1e38")
    code, _, error = study(broken)
    assert code == 1
    assert "1 of 2 cells failed" in error
    assert "letters, seed 0" in error
    assert told()["status"] == "running"
    code, _, error = study(STUDY)
    assert code == 0, error
    found = told()
    assert len(cells("study")) == 1, "the study goes on in its folder"
    assert [one["version"] for one in found["versions"]] == [1, 2], "it was edited in between"
    assert {one["member"]: one["version"] for one in found["cells"] if not one.get("left")} == {
        "words": 1,
        "letters": 2,
    }
    assert [one["member"] for one in found["cells"] if one.get("left")] == ["letters"]


def test_seeds_and_shares_of_the_training_rows_are_cells_as_well(study):
    alone = STUDY.replace("  letters: experiment=sample/text encoder.text.width=8\n", "")
    alone = alone.replace("votes:\n  soft: {voting: soft}\n", "")
    code, _, error = study(alone + "seeds: [0, 1]\nshares: [0.5]\n")
    assert code == 0, error
    found = told()
    assert [one["share"] for one in found["members"]["words"]["curve"]] == [0.5, 1.0]
    assert len(found["members"]["words"]["runs"]) == len(found["runs"]) == 4
    tables = [
        pl.read_parquet(Path("runs") / one["run"] / "predictions/train.parquet").height
        for one in found["cells"]
        if one["member"] == "words"
    ]
    assert tables[0] < tables[2], "half of the training rows"
