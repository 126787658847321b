"""A score that says less than its name carries a mark, wherever it is shown."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from polymodal.data.folds import Fold, write_folds
from polymodal.runs.marks import absent_class_marks, training_marks
from polymodal.schemas.predictions import PredictionTable
from polymodal.schemas.run_record import RunRecord

SMALL = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "split.val=0.3",
    "trainer.max_epochs=1",
    "tracker=none",
]


def record(kind):
    records = [json.loads(path.read_text()) for path in Path("runs").glob("*/run.json")]
    return next(record for record in records if record["kind"] == kind)


@pytest.mark.parametrize(
    ("options", "marks"),
    [
        ([], []),
        (["split=k_folds", "split.num_folds=2"], []),
        (
            ["+trainer.limit_test_batches=1", "data.max_utterances=4"],
            [
                "partial val split: 4 of 8 rows were predicted",
                "partial test split: 4 of 16 rows were predicted",
            ],
        ),
        (
            ["+trainer.limit_val_batches=1", "data.max_utterances=4"],
            ["partial val split in each epoch: trainer.limit_val_batches=1"],
        ),
        (
            ["+trainer.overfit_batches=1", "data.max_utterances=4"],
            [
                "partial train split in each epoch: trainer.overfit_batches=1",
                "partial val split in each epoch: trainer.overfit_batches=1",
            ],
        ),
    ],
)
def test_splits_of_which_a_part_was_scored_are_marked(polymodal, options, marks):
    code, out, error = polymodal("run", *SMALL, *options)
    assert code == 0, error
    texts = [mark["text"] for mark in record("run")["marks"]]
    assert [text for text in texts if "has the class" not in text] == marks
    shown = polymodal("show", "last")[1]
    listed = polymodal("runs")[1]
    for mark in marks:
        assert f"mark: {mark}" in out
        assert f"mark: {mark}" in shown
    assert ("*" in listed) is bool(marks)


def test_scores_of_training_rows_are_marked_and_last_stays_the_trained_run(polymodal):
    code, _, error = polymodal("run", *SMALL)
    assert code == 0, error
    assert polymodal("predict", "last")[0] == 0
    (mark,) = record("predict")["marks"]
    assert mark["split"] == "predict"
    assert mark["text"].startswith("predict includes training rows: ")
    code, _, error = polymodal("test", "last")
    assert code == 0, error
    assert record("test")["marks"] == []
    assert record("test")["parent"] == record("run")["run_id"]
    assert record("test")["run_id"] in polymodal("show", "last:test")[1]
    code, _, error = polymodal("show", "last:vote")
    assert code == 2
    assert "kinds here: predict, run, test" in error


def test_a_partial_prediction_has_an_asterisk(polymodal):
    assert polymodal("run", *SMALL)[0] == 0
    partial = ["+trainer.limit_test_batches=1", "data.max_utterances=4"]
    assert polymodal("predict", "last", *partial)[0] == 0
    marks = record("predict")["marks"]
    assert [mark["split"] for mark in marks] == ["predict"] * len(marks)
    assert marks[0]["text"] == "partial corpus: 4 of 48 rows were predicted"
    listed = polymodal("runs", "kind=predict")[1]
    assert "*   " in listed


@pytest.mark.parametrize("filename", ["mine", "'{epoch}-{val/loss:.2f}'"])
def test_the_best_checkpoint_is_tested_whatever_its_name(polymodal, filename):
    """A score in the name has a slash, and makes a folder."""
    ruining = ["trainer.max_epochs=3", "optimizer.lr=0.3", "callbacks.checkpoint.monitor=val/loss"]
    code, _, error = polymodal("run", *SMALL, *ruining, f"callbacks.checkpoint.filename={filename}")
    assert code == 0, error
    (run,) = (path.parent for path in Path("runs").glob("*/run.json"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["val/loss"] for line in lines if "val/loss" in line]
    assert min(losses) < losses[-1]
    predicted = PredictionTable.read(run / "predictions/val.parquet")
    tested = torch.nn.functional.cross_entropy(
        torch.tensor(predicted.logits()), torch.tensor(predicted.targets())
    )
    assert tested.item() == pytest.approx(min(losses), rel=1e-4)


def test_a_training_that_ends_before_it_is_validated_has_no_best_epoch(polymodal):
    short = ["data.max_utterances=4", "+trainer.max_steps=2", "callbacks.early_stopping=null"]
    code, _, error = polymodal("run", *SMALL, *short)
    assert code == 1
    assert "before val/uar was computed" in error
    assert "callbacks=last" in error


def test_folds_without_a_class_are_marked_wherever_their_scores_are(polymodal):
    """Two speakers have said nothing of the class z, and one of them is a fold's test split."""
    table = "id,speaker,text,label\n" + "".join(
        f"{speaker}{number},{speaker},word {number},{label}\n"
        for speaker in "abcd"
        for number, label in enumerate(["x", "y", "z" if speaker in "ab" else "x"])
    )
    Path("own.csv").write_text(table)
    split = {"a": "test", "b": "train", "c": "train", "d": "train"}
    other = {"a": "train", "b": "train", "c": "test", "d": "train"}
    folds = [Fold(0, {"speaker": split}), Fold(1, {"speaker": other})]
    write_folds(Path("folds.json"), folds, "")
    code, out, error = polymodal(
        *("run", "corpus=table", "corpus.root=.", "corpus.file=own.csv", "corpus.classes=[x,y,z]"),
        *("encoder=[characters]", "model=unimodal", "split=file", "split.file=folds.json"),
        *("trainer.max_epochs=1", "tracker=none", "callbacks=last", "data.batch_s=50"),
    )
    assert code == 0, error
    run = Path("runs") / Path("runs/last").read_text()
    assert "mark: fold 1: no test row has the class z" in out
    text = "no test row has the class z: recall and F1 count as 0"
    marks = [json.loads((run / f"folds/{n}/run.json").read_text())["marks"] for n in (0, 1)]
    assert marks == [[], [{"split": "test", "text": text}]]
    assert record("run")["marks"] == []
    shown = polymodal("show", "last")[1].splitlines()
    assert f"mark: fold 1: {text}" in shown
    assert polymodal("report", "last")[0] == 0
    assert f"Fold 1: {text}" in (run / "report.html").read_text()
    (row,) = (line for line in shown if "speaker a" in line)
    (marked,) = (line for line in shown if "speaker c" in line)
    assert ("*" in row, "*" in marked) == (False, True)
    code, out, _ = polymodal("test", "last", "corpus.where={speaker: [c, d]}")
    assert code == 0
    assert f"mark: {text}" in out
    assert "*" in out.partition("mark:")[0]
    assert polymodal("report", "last:test")[0] == 0
    tested = record("test")["run_id"]
    assert "*" in Path("runs", tested, "tables/scores.md").read_text()


def test_marks_are_those_of_labelled_rows():
    unlabelled = PredictionTable.from_logits(
        ["u", "v"], np.eye(2, dtype=np.float32), np.array([-1, -1]), "xy", split="predict"
    )
    assert [*absent_class_marks([unlabelled])] == []
    labelled = PredictionTable.from_logits(
        ["u", "v"], np.eye(2, dtype=np.float32), np.array([0, 0]), "xy", split="val"
    )
    (mark,) = absent_class_marks([labelled])
    assert (mark["split"], "the class y" in mark["text"]) == ("val", True)


def test_marks_of_early_records_are_read():
    texts = ["partial test split: 4 of 16 rows were predicted", "predict includes training rows"]
    run = RunRecord.from_dict({"run_id": "a", "marks": texts})
    assert [run.is_marked(f"{split}/uar") for split in ("test", "predict", "val")] == [
        True,
        True,
        False,
    ]
    assert RunRecord.from_dict(run.to_dict()) == run


def test_the_best_of_several_kept_checkpoints_is_tested(polymodal):
    """A learning rate that ruins the weights makes an early epoch the best."""
    several = ["trainer.max_epochs=4", "+callbacks.checkpoint.save_top_k=-1", "optimizer.lr=0.3"]
    code, _, error = polymodal("run", *SMALL, *several, "callbacks.checkpoint.monitor=val/loss")
    assert code == 0, error
    (run,) = (path.parent for path in Path("runs").glob("*/run.json"))
    kept = sorted(path.name for path in (run / "checkpoints").glob("best*.ckpt"))
    assert kept == [f"best-epoch={epoch}.ckpt" for epoch in range(4)]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["val/loss"] for line in lines if "val/loss" in line]
    best = losses.index(min(losses))
    assert best < 3
    assert f"best-epoch={best}.ckpt" in (run / "checkpoints" / "fitted.json").read_text()
    predicted = PredictionTable.read(run / "predictions/val.parquet")
    tested = torch.nn.functional.cross_entropy(
        torch.tensor(predicted.logits()), torch.tensor(predicted.targets())
    )
    assert tested.item() == pytest.approx(losses[best], rel=1e-4)


def test_a_fold_without_a_row_of_the_split_has_no_table(tmp_path):
    frame = pl.DataFrame({"utterance_id": ["u", "v"], "speaker": ["a", "b"]})
    folds = [Fold(0, {"speaker": {"a": "test"}}), Fold(1, {"speaker": {"a": "train", "b": "val"}})]
    write_folds(tmp_path / "folds.json", folds, "f")
    table = PredictionTable.from_logits(
        ["u", "v"], np.eye(2, dtype=np.float32), np.array([0, 1]), "xy", split="val", fold=1
    )
    marks = [*training_marks(frame, "f", "val", [table], tmp_path)]
    assert marks == [{"split": "val", "text": "val includes training rows: 1 of 2"}]
