"""Splits: disjoint, deterministic, and refusing what would lie."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.data import splits
from polymodal.data.folds import Fold, check_folds, values_in_several_splits
from polymodal.errors import SplitError
from polymodal.schemas.manifest import Manifest


def corpus(num_speakers: int = 10, per_speaker: int = 12, shuffle: int | None = None) -> Manifest:
    rows = [
        {
            "utterance_id": f"u{speaker:02d}-{number:02d}",
            "speaker": f"s{speaker:02d}",
            "sentence": f"t{number % 6}",
            "label": "ab"[(speaker + number) % 2],
            "split": ("train", "val", "test")[speaker % 3],
        }
        for speaker in range(num_speakers)
        for number in range(per_speaker)
    ]
    frame = pl.DataFrame(rows)
    return Manifest(
        frame if shuffle is None else frame.sample(fraction=1, shuffle=True, seed=shuffle), Path()
    )


def by_id(manifest: Manifest, fold: Fold) -> dict[str, str]:
    return dict(
        zip(manifest.frame["utterance_id"], fold.split_of_rows(manifest.frame), strict=True)
    )


@pytest.mark.parametrize("split", [splits.holdout, splits.k_fold, splits.leave_one_group_out])
@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_order_of_rows_does_not_move_a_split(split, seed):
    plain, shuffled = corpus(), corpus(shuffle=seed + 1)
    for first, second in zip(split(plain, seed=seed), split(shuffled, seed=seed), strict=True):
        assert by_id(plain, first) == by_id(shuffled, second)


def test_another_seed_gives_another_split():
    manifest = corpus()
    assignments = {str(splits.holdout(manifest, seed=seed)) for seed in range(5)}
    assert len(assignments) > 1


@pytest.mark.parametrize("groups", [["speaker"], ["speaker", "sentence"]])
@pytest.mark.parametrize("split", [splits.holdout, splits.k_fold, splits.leave_one_group_out])
def test_no_group_stands_in_two_parts(split, groups):
    manifest = corpus()
    for fold in split(manifest, groups=groups, val=0.2):
        for column in groups:
            assert values_in_several_splits(manifest, fold, column) == {}
        assert set(fold.split_of_rows(manifest.frame).drop_nulls()) == {"train", "val", "test"}


def test_leave_one_out_tests_every_utterance_once():
    manifest = corpus()
    folds = splits.leave_one_group_out(manifest)
    assert len(folds) == 10
    tested = [
        utterance_id
        for fold in folds
        for utterance_id, split in by_id(manifest, fold).items()
        if split == "test"
    ]
    assert sorted(tested) == sorted(manifest.frame["utterance_id"])
    assert all(len(set(fold.select(manifest, "test").frame["speaker"])) == 1 for fold in folds)


def test_two_columns_give_every_combination_and_leave_mixed_rows_out():
    manifest = corpus(num_speakers=10, per_speaker=12)
    folds = splits.k_fold(manifest, groups=["speaker", "sentence"], num_folds=5, val=0)
    assert len(folds) == 25
    fold = folds[0]
    assert fold.split_of_rows(manifest.frame).null_count() > 0
    test = fold.select(manifest, "test").frame
    train = fold.select(manifest, "train").frame
    assert not set(test["speaker"]) & set(train["speaker"])
    assert not set(test["sentence"]) & set(train["sentence"])


@pytest.mark.parametrize("seed", range(5))
def test_folds_share_the_classes_out_where_a_sentence_says_only_one(seed):
    rows = [
        {
            "utterance_id": f"{speaker}-{sentence}",
            "speaker": speaker,
            "sentence": sentence,
            "label": sentence[0],
        }
        for speaker in "klmn"
        for sentence in (f"{label}{number}" for label in "abcd" for number in range(5))
    ]
    manifest = Manifest(pl.DataFrame(rows), Path())
    folds = splits.k_fold(manifest, groups=["sentence"], val=0, seed=seed, speaker_dependent=True)
    for fold in folds:
        tested = fold.select(manifest, "test").frame["label"].value_counts().sort("label")
        assert tested["count"].to_list() == [4, 4, 4, 4]


def test_holdout_comes_near_the_shares_and_the_class_balance():
    manifest = corpus(num_speakers=20)
    fold = splits.holdout(manifest, test=0.25, val=0.25)[0]
    sizes = fold.split_of_rows(manifest.frame).value_counts()
    fraction = dict(sizes.iter_rows())
    assert fraction == {"test": 60, "val": 60, "train": 120}
    labels = fold.select(manifest, "test").frame["label"].value_counts()["count"].to_list()
    assert abs(labels[0] - labels[1]) <= 6


def test_official_takes_the_column_and_maps_its_words():
    manifest = corpus()
    fold = splits.predefined(manifest)[0]
    assert by_id(manifest, fold)["u02-00"] == "test"
    mapped = {"train": "train", "val": "test", "test": "val"}
    assert by_id(manifest, splits.predefined(manifest, names=mapped)[0])["u02-00"] == "val"
    with pytest.raises(SplitError, match="has the value 'test'"):
        splits.predefined(manifest, names={"train": "train", "val": "val"})


def test_random_shares_speakers_and_so_must_be_asked_for():
    manifest = corpus()
    with pytest.raises(SplitError, match="speakers are in several splits"):
        splits.random_utterances(manifest)
    fold = splits.random_utterances(manifest, speaker_dependent=True)[0]
    assert values_in_several_splits(manifest, fold, "speaker")


def test_a_speaker_in_two_parts_is_refused():
    manifest = corpus(2)
    fold = Fold(0, {"sentence": {f"t{n}": "train" if n < 3 else "test" for n in range(6)}})
    with pytest.raises(SplitError, match="'s00' in"):
        check_folds(manifest, [fold], speaker_dependent=False)
    assert check_folds(manifest, [fold], speaker_dependent=True) == [fold]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: splits.holdout(m, groups=["speakr"]), "did you mean 'speaker'"),
        (lambda m: splits.holdout(m, groups=["dialogue"]), "empty in 120 of 120"),
        (lambda m: splits.holdout(m, test=0.7, val=0.3), "leave nothing"),
        (lambda m: splits.k_fold(m, num_folds=11), "has 10 values"),
        (lambda m: splits.k_fold(m, num_folds=1), "at least 2"),
        (lambda m: splits.k_fold(m, num_folds=2, val=1.0), "leaves no speaker"),
        (lambda m: splits.predefined(m, column="sets"), "no column 'sets'"),
    ],
)
def test_what_cannot_be_parted_is_refused(make, message):
    with pytest.raises(SplitError, match=message):
        make(corpus())


@given(st.lists(st.integers(1, 30), min_size=3, max_size=12), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_no_part_stays_empty_however_uneven_the_speakers(sizes, seed):
    ids = [(f"s{s}", f"s{s}-{n}") for s, size in enumerate(sizes) for n in range(size)]
    frame = pl.DataFrame({"utterance_id": [i for _, i in ids], "speaker": [s for s, _ in ids]})
    fold = splits.holdout(Manifest(frame, Path()), seed=seed)[0]
    assert set(fold.assignment["speaker"].values()) == {"train", "val", "test"}
