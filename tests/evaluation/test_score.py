import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.errors import PredictionError
from polymodal.evaluation.classification import CrossEntropy, MacroF1, UnweightedAverageRecall
from polymodal.evaluation.score import score_table
from polymodal.schemas.predictions import PredictionTable, concatenate

SCORES = {"uar": UnweightedAverageRecall(), "macro_f1": MacroF1(), "loss": CrossEntropy()}
CLASSES = ("anger", "joy", "fear")


def table(num_rows=12, *, seed=0, split="test", fold=0, prefix="u", targets=None):
    generator = np.random.default_rng(seed)
    if targets is None:
        targets = generator.integers(0, 3, num_rows)
    logits = generator.normal(size=(num_rows, 3)).astype(np.float32)
    ids = [f"{prefix}{row:02d}" for row in range(num_rows)]
    return PredictionTable.from_logits(ids, logits, targets, CLASSES, split=split, fold=fold)


def test_names_are_split_and_key_and_folds_are_pooled():
    folds = [table(fold=0, prefix="a"), table(30, fold=1, prefix="b", seed=1)]
    pooled = concatenate(folds)
    values = score_table(concatenate([pooled, table(split="val")]), SCORES)
    assert set(values) == {f"{split}/{name}" for split in ("test", "val") for name in SCORES}
    assert values["test/uar"] == pytest.approx(SCORES["uar"](pooled.logits(), pooled.targets()))
    per_fold = [score_table(fold, SCORES)["test/uar"] for fold in folds]
    assert values["test/uar"] != pytest.approx(np.mean(per_fold))


@settings(deadline=None)
@given(order=st.permutations(range(12)))
def test_not_even_the_last_digit_depends_on_the_order_of_rows(order):
    original = table()
    shuffled = PredictionTable(original.frame[list(order)], CLASSES)
    assert score_table(shuffled, SCORES) == score_table(original, SCORES)


def test_unlabelled_rows_are_left_out():
    targets = np.array([0, 1, 2] * 4)
    targets[6:] = -1
    half = PredictionTable(table(targets=np.array([0, 1, 2] * 4)).frame[:6], CLASSES)
    assert score_table(table(targets=targets), SCORES) == score_table(half, SCORES)
    assert score_table(table(targets=np.full(12, -1)), SCORES) == {}


def test_an_id_twice_in_a_fold_is_rejected():
    doubled = concatenate([table(), PredictionTable(table().frame[3:5], CLASSES)])
    with pytest.raises(PredictionError, match=r"2 duplicate ids .*'u03', 'u04'"):
        score_table(doubled, SCORES)


def test_a_label_that_is_not_a_declared_class_is_rejected():
    frame = table().frame.with_columns(pl.lit("boredom").alias("label"))
    with pytest.raises(PredictionError, match="boredom"):
        score_table(PredictionTable(frame, CLASSES), SCORES)
