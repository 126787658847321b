"""`polymodal vote`: whose scores it takes, and what it refuses before anything is written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf
from tests.conftest import newest_run

from polymodal.config.compose import compose
from polymodal.errors import PredictionError
from polymodal.runs.vote import vote_tables
from polymodal.schemas.predictions import PredictionTable

CLASSES = ("anger", "joy", "sad")
IDS = [f"u{row}" for row in range(30)]
TRUTH = np.arange(30) % 3
SCORES = {
    "classification": ["uar"],
    "soft_labels": ["uar"],
    "joint": ["uar", "ccc"],
    "regression": ["ccc", "rmse"],
    "multilabel": ["micro_f1", "map"],
}


def told(name, part, *, task="classification", classes=CLASSES):
    """What a member says of the part."""
    generator = np.random.default_rng([*map(ord, name + part)])
    said = generator.normal(size=(30, 3)).astype(np.float32) + np.eye(3, dtype=np.float32)[TRUTH]
    ids = [f"{part}-{one}" for one in IDS]
    values = PredictionTable.from_values(
        ids, said[:, :2], np.eye(3, dtype=np.float32)[TRUTH, :2], ["v", "a"], split=part, task=task
    )
    if task in ("regression", "multilabel"):
        return values
    order = [CLASSES.index(one) for one in classes]
    where = np.argsort(order)[TRUTH]
    one = PredictionTable.from_logits(ids, said[:, order], where, classes, split=part, task=task)
    return one.beside(values) if task == "joint" else one


def member(name, *, task="classification", change=lambda table, part: table, **options):
    """A run that has finished, as far as a vote looks at it."""
    folder = Path("runs") / name
    (folder / "predictions").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"run_id": name, "status": "finished"}))
    (folder / "config.yaml").write_text(compose([f"task={task}"]).text())
    for part in ("val", "test"):
        table = change(told(name, part, task=task, **options), part)
        replace(table, run_id=name).write(folder / "predictions" / f"{part}.parquet")
    return name


def changed(only, **columns):
    """A change of the frame in one part alone."""
    return lambda table, part: (
        table.with_frame(table.frame.with_columns(**columns)) if part == only else table
    )


def without(only, rows):
    return lambda table, part: table.with_frame(table.frame.filter(rows)) if part == only else table


def last():
    """Return folder and record of what the last command made, of any kind."""
    folder = newest_run()
    return folder, json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("task", SCORES)
def test_a_vote_is_scored_as_its_members(polymodal, task):
    names = [member(name, task=task) for name in "ab"]
    code, _, error = polymodal("vote", *names, "tracker=none")
    assert code == 0, error
    folder, record = last()
    assert {f"test/{name}" for name in SCORES[task]} <= {*record["scores"]}
    stored = OmegaConf.load(folder / "config.yaml").scores
    assert stored == compose([f"task={task}"]).config.scores


def test_every_score_of_the_members_is_taken_and_others_can_be_named(polymodal):
    names = [member(name) for name in "ab"]
    more = compose(["scores=extended"]).text()
    (Path("runs") / "a" / "config.yaml").write_text(more)
    assert polymodal("vote", *names, "tracker=none")[0] == 0
    assert "test/kappa" in last()[1]["scores"]
    assert polymodal("vote", *names, "scores=classification", "tracker=none")[0] == 0
    assert "test/kappa" not in last()[1]["scores"]
    assert polymodal("vote", *names, "+scores.ece.num_bins=3", "tracker=none")[0] == 0
    assert OmegaConf.load(last()[0] / "config.yaml").scores.ece.num_bins == 3


def test_scores_that_do_not_fit_are_refused(polymodal):
    names = [member(name, task="regression") for name in "ab"]
    code, _, error = polymodal("vote", *names, "scores=classification", "tracker=none")
    assert code == 2
    assert "scores=regression" in error


@pytest.mark.parametrize("task", [task for task in SCORES if task != "classification"])
def test_a_fitted_vote_refuses_other_tasks(polymodal, task):
    names = [member(name, task=task) for name in "ab"]
    code, _, error = polymodal("vote", *names, "ensemble=stacked", "tracker=none")
    assert code == 2
    assert f"cannot be over the task '{task}'" in error
    assert "ensemble=soft" in error


BAD = {
    "other ids": (without("test", pl.col("utterance_id") != "test-u3"), "b lacks 1 rows of a"),
    "other folds": (
        changed("test", fold=pl.int_range(pl.len()) % 2),
        "joined by utterance_id, split, fold",
    ),
    "no validation row": (without("val", pl.lit(False)), "b lacks 30 rows of a"),
    "not a number": (changed("test", logit_joy=float("nan")), "b has logits that are not finite"),
    "not a number in validation": (
        changed("val", logit_joy=float("nan")),
        "b has logits that are not finite",
    ),
    "other labels": (changed("val", label=pl.lit("joy")), "b has other labels"),
}


@pytest.mark.parametrize("what", BAD)
def test_tables_that_do_not_fit_end_before_anything_is_written(polymodal, what):
    change, words = BAD[what]
    names = [member("a"), member("b", change=change)]
    code, out, error = polymodal("vote", *names, "ensemble=calibrated", "tracker=none")
    assert (code, out) == (2, "")
    assert words in error
    assert "Traceback" not in error
    assert sorted(path.name for path in Path("runs").iterdir()) == names


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (["a"], "a vote over 1 run(s)"),
        ([], "a vote over 0 run(s)"),
        (["a", "b", "runs/a"], "run a is named twice"),
    ],
)
@pytest.mark.parametrize("scores", [[], ["scores=classification"]])
def test_too_few_runs_and_the_same_run_twice_are_refused(polymodal, named, words, scores):
    for name in "ab":
        member(name)
    code, _, error = polymodal("vote", *named, "tracker=none", *scores)
    assert code == 2
    assert words in error


def test_without_validation_tables_a_fitted_vote_is_refused(polymodal):
    names = [member(name) for name in "ab"]
    (Path("runs") / "b" / "predictions" / "val.parquet").unlink()
    code, _, error = polymodal("vote", *names, "ensemble=greedy", "tracker=none")
    assert code == 2
    assert "run b has no predictions for split 'val'" in error


@pytest.mark.parametrize("ensemble", ["soft", "stacked"])
def test_classes_in_another_order_are_no_matter(polymodal, ensemble):
    names = [member("a"), member("b", classes=("sad", "anger", "joy"))]
    code, _, error = polymodal("vote", *names, f"ensemble={ensemble}", "tracker=none")
    assert code == 0, error
    turned = last()[1]["scores"]
    for part in ("val", "test"):
        told("b", part).write(Path("runs/b/predictions") / f"{part}.parquet")
    assert polymodal("vote", *names, f"ensemble={ensemble}", "tracker=none")[0] == 0
    assert turned == pytest.approx(last()[1]["scores"], abs=1e-6)


@pytest.mark.parametrize("ensemble", ["soft", "calibrated"])
def test_unlabelled_rows_are_voted_on_and_a_fold_may_lack_a_class(polymodal, ensemble):
    def half(table, part):
        frame = table.frame.with_columns(
            fold=pl.int_range(pl.len()) % 2,
            label=pl.when(pl.int_range(pl.len()) > 3).then("label"),
            speaker=pl.lit("s1"),
        )
        if part == "val":
            frame = frame.filter((pl.col("label") != "joy") | (pl.col("fold") == 0))
        return table.with_frame(pl.DataFrame(frame))

    names = [member(name, change=half) for name in "ab"]
    code, out, error = polymodal("vote", *names, f"ensemble={ensemble}", "tracker=none")
    assert code == 0, error
    assert ("fold 1: no validation row of the classes joy" in out) is (ensemble != "soft")
    voted = PredictionTable.read(last()[0] / "predictions" / "test.parquet")
    assert len(voted) == 30
    assert {*voted.speakers()} == {"s1"}


def test_tables_in_memory_are_voted_on_as_runs_are(polymodal):
    names = [member(name) for name in "ab"]
    assert polymodal("vote", *names, "ensemble=calibrated", "tracker=none")[0] == 0
    folder, record = last()
    section = compose(["ensemble=calibrated"], config_name="vote").resolved()["ensemble"]
    tables, validation = (
        [replace(told(name, part), run_id=name) for name in names] for part in ("test", "val")
    )
    said = []
    voted = vote_tables(section, tables, validation, said.append)
    assert voted.frame.equals(PredictionTable.read(folder / "predictions/test.parquet").frame)
    assert said == record["notes"]["ensemble"]
    with pytest.raises(PredictionError, match="1 of 2 members have a validation table"):
        vote_tables(section, tables, validation[:1])
