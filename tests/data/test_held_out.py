"""Training speakers in two: nobody is in both, and validation and test stay as they were."""

import polars as pl
import pytest

from polymodal.data.folds import Fold
from polymodal.data.held_out import hold_out
from polymodal.errors import SplitError

SPEAKERS = [f"s{number:02d}" for number in range(12)]
FRAME = pl.DataFrame(
    {
        "utterance_id": [f"{speaker}-{take}" for speaker in SPEAKERS for take in range(3)],
        "speaker": [speaker for speaker in SPEAKERS for _ in range(3)],
        "session": [f"t{number // 2}" for number in range(12) for _ in range(3)],
    }
)
PARTS = ["train"] * 8 + ["val"] * 2 + ["test"] * 2


def by(column: str) -> Fold:
    values = list(dict.fromkeys(FRAME[column]))
    step = len(SPEAKERS) // len(values)
    return Fold(0, {column: {value: PARTS[n * step] for n, value in enumerate(values)}})


def rows(fold: Fold, split: str) -> set[str]:
    return {*FRAME.filter(fold.split_of_rows(FRAME) == split)["utterance_id"]}


@pytest.mark.parametrize("column", ["speaker", "session"])
def test_training_rows_are_divided_by_whole_speakers(column):
    fold = by(column)
    (first,), (second,) = hold_out(FRAME, [fold], 0.3)
    assert rows(first, "train") | rows(second, "train") == rows(fold, "train")
    assert not rows(first, "train") & rows(second, "train")
    speakers = [
        {utterance_id[:3] for utterance_id in rows(fold_rows, "train")}
        for fold_rows in (first, second)
    ]
    assert not speakers[0] & speakers[1]
    assert (len(speakers[0]), len(speakers[1])) == (6, 2)
    for split in ("val", "test"):
        assert rows(first, split) == rows(second, split) == rows(fold, split)


def test_it_is_the_same_each_time_and_another_choice_in_each_fold():
    folds = [by("speaker"), Fold(1, by("speaker").assignment)]
    first = hold_out(FRAME, folds, 0.3)
    assert hold_out(FRAME, folds, 0.3) == first
    assert rows(first[1][0], "train") != rows(first[1][1], "train")


@pytest.mark.parametrize("ratio", [0.01, 0.99])
def test_both_get_a_speaker(ratio):
    (first,), (second,) = hold_out(FRAME, [by("speaker")], ratio)
    assert rows(first, "train")
    assert rows(second, "train")


def test_one_speaker_cannot_be_divided():
    fold = Fold(0, {"speaker": {"s00": "train", "s01": "test"}})
    with pytest.raises(SplitError, match="1 speaker to train on"):
        hold_out(FRAME, [fold], 0.3)


def test_groups_that_share_speakers_are_refused():
    fold = Fold(
        0, {"utterance_id": {utterance_id: "train" for utterance_id in FRAME["utterance_id"]}}
    )
    with pytest.raises(SplitError, match="speakers in common"):
        hold_out(FRAME, [fold], 0.3)
