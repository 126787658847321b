"""A score that says less than its name carries a mark, wherever it is shown."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from polymodal.data.folds import Fold, write_folds
from polymodal.runs.marks import training_marks
from polymodal.schemas.predictions import PredictionTable

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
            ["+trainer.limit_val_batches=0.5", "data.max_utterances=4"],
            ["partial val split in each epoch: trainer.limit_val_batches=0.5"],
        ),
    ],
)
def test_splits_of_which_a_part_was_scored_are_marked(polymodal, options, marks):
    code, out, error = polymodal("run", *SMALL, *options)
    assert code == 0, error
    assert record("run")["marks"] == marks
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
    assert mark.startswith("predict includes training rows: ")
    code, _, error = polymodal("test", "last")
    assert code == 0, error
    assert record("test")["marks"] == []
    assert record("test")["parent"] == record("run")["run_id"]
    assert record("test")["run_id"] in polymodal("show", "last:test")[1]
    code, _, error = polymodal("show", "last:vote")
    assert code == 2
    assert "kinds here: predict, run, test" in error


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
    assert marks == ["val includes training rows: 1 of 2"]
