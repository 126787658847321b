"""Rows that weights have been trained on are found by id and by speaker."""

import polars as pl
import pytest

from polymodal.data.folds import Fold
from polymodal.data.trained_rows import trained_rows
from polymodal.errors import SplitError

FRAME = pl.DataFrame(
    {
        "utterance_id": ["a1", "a2", "b1", "b2", "c1"],
        "speaker": ["a", "a", "b", "b", "c"],
        "text": ["x", "y", "x", "y", "x"],
    }
)
HERE = Fold(0, {"speaker": {"a": "train", "b": "val", "c": "test"}})


def found(weights: Fold, here: Fold = HERE, *, speaker_dependent: bool = False):
    return trained_rows(FRAME, here, weights, speaker_dependent=speaker_dependent)


def test_the_same_split_shares_nothing():
    assert found(HERE).num_rows == 0


def test_validation_rows_count_as_test_rows_do():
    seen = found(Fold(0, {"speaker": {"a": "test", "b": "train", "c": "val"}}))
    assert (seen.num_rows, seen.speakers, seen.example) == (2, ("b",), "b1")


def test_a_speaker_of_whom_one_row_was_trained_on_counts_whole():
    by_id = Fold(0, {"utterance_id": {"b1": "train", "a1": "val"}})
    assert found(by_id).num_rows == 2
    here = Fold(0, {"utterance_id": {"b1": "train", "b2": "test"}})
    assert found(by_id, here, speaker_dependent=True).num_rows == 0
    assert found(by_id, here).num_rows == 1


def test_a_trained_speaker_whose_rows_are_not_here_counts():
    both = Fold(0, {"speaker": {"b": "train"}, "text": {"z": "train"}})
    assert found(both).speakers == ("b",), "that speaker's sentence z is not in this corpus"


def test_rows_that_belong_to_no_split_do_not_judge():
    here = Fold(0, {"speaker": {"a": "train", "c": "test"}})
    assert found(Fold(0, {"speaker": {"b": "train"}}), here).num_rows == 0


def test_inner_folds_judge_too():
    inner = Fold(0, {"speaker": {"a": "val"}})
    here = Fold(0, HERE.assignment, (inner,))
    assert found(HERE, here).num_rows == 2


def test_a_column_that_is_not_here_cannot_be_compared():
    with pytest.raises(SplitError, match="'session'"):
        found(Fold(0, {"session": {"1": "train"}}))
