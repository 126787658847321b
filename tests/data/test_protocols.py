"""Protocols: nested folds, folds from a file, and what a split promises."""

import json
from pathlib import Path

import polars as pl
import pytest

from polymodal.data import splits
from polymodal.data.folds import read_folds, values_in_several_splits, write_folds
from polymodal.errors import SplitError
from polymodal.schemas.manifest import Manifest


def corpus(num_speakers=12):
    rows = [
        {
            "utterance_id": f"u{speaker:02d}-{number}",
            "speaker": f"s{speaker:02d}",
            "dialogue": f"d{speaker // 2}",
            "sentence": f"t{number}",
            "label": "ab"[number % 2],
            "split": ("train", "val", "test")[speaker % 3],
        }
        for speaker in range(num_speakers)
        for number in range(4)
    ]
    return Manifest(pl.DataFrame(rows), Path())


def rows(manifest, fold, *splits):
    return set(
        manifest.frame.filter(fold.split_of_rows(manifest.frame).is_in(splits))["utterance_id"]
    )


def values(manifest, names, column):
    return set(manifest.frame.filter(pl.col("utterance_id").is_in(list(names)))[column])


@pytest.mark.parametrize("groups", [["speaker"], ["speaker", "sentence"]])
def test_inner_folds_never_see_a_test_row(groups):
    manifest = corpus()
    folds = splits.nested_k_fold(manifest, groups=groups, num_folds=2, num_inner=2, val=0.25)
    assert len(folds) == 2 ** len(groups)
    for fold in folds:
        learnt = rows(manifest, fold, "train", "val")
        validated = [rows(manifest, inner, "val") for inner in fold.inner]
        assert len(fold.inner) == 2 ** len(groups)
        assert set.union(*validated) <= learnt or len(groups) > 1
        for inner, val in zip(fold.inner, validated, strict=True):
            train = rows(manifest, inner, "train")
            assert train
            assert val
            assert not rows(manifest, inner, "test")
            assert not (train | val) & rows(manifest, fold, "test")
            assert not train & val
            for column in groups:
                assert values_in_several_splits(manifest, inner, column) == {}
                assert not values(manifest, train | val, column) & values(
                    manifest, rows(manifest, fold, "test"), column
                )


def test_what_only_inner_folds_take_counts_as_used():
    manifest = corpus()
    groups = ["speaker", "sentence"]
    for fold in splits.nested_k_fold(manifest, groups=groups, num_folds=2, num_inner=2, val=0.25):
        used = set(manifest.frame.filter(fold.is_assigned(manifest.frame))["utterance_id"])
        expected = rows(manifest, fold, "train", "val", "test")
        expected = expected.union(*(rows(manifest, inner, "train", "val") for inner in fold.inner))
        assert used == expected


def test_every_learnt_row_is_validated_once_by_the_inner_folds():
    manifest = corpus()
    (fold, *_) = splits.nested_k_fold(manifest, num_folds=3, num_inner=4, val=0)
    validated = [row for inner in fold.inner for row in rows(manifest, inner, "val")]
    assert sorted(validated) == sorted(rows(manifest, fold, "train", "val"))


@pytest.mark.parametrize(
    "make",
    [
        lambda m: splits.holdout(m),
        lambda m: splits.k_fold(m, groups=["speaker", "sentence"], num_folds=2),
        lambda m: splits.nested_k_fold(m, num_folds=2, num_inner=2),
        lambda m: splits.random_utterances(m, speaker_dependent=True),
    ],
)
def test_folds_come_back_from_their_file(tmp_path, make):
    manifest = corpus()
    folds = make(manifest)
    write_folds(tmp_path / "folds.json", folds, manifest.fingerprint())
    again, fingerprint = read_folds(tmp_path)
    assert again == folds
    assert fingerprint == manifest.fingerprint()
    dependent = "utterance_id" in folds[0].assignment
    for file in (tmp_path, tmp_path / "folds.json"):
        taken = splits.from_file(manifest, file=str(file), speaker_dependent=dependent, inner=True)
        assert taken == folds


def test_a_table_of_folds_is_read(tmp_path):
    manifest = corpus(3)
    path = tmp_path / "folds.csv"
    path.write_text("speaker,split,fold\ns00,train,1\ns01,val,1\ns02,test,1\n")
    with path.open("a") as file:
        file.write("s00,test,2\ns01,train,2\ns02,train,2\n")
    first, second = splits.from_file(manifest, file=str(path))
    assert rows(manifest, first, "test") == {f"u02-{n}" for n in range(4)}
    assert rows(manifest, second, "test") == {f"u00-{n}" for n in range(4)}
    by_row = "".join(
        f"{name},{'test' if name.startswith('u00') else 'train'}\n"
        for name in manifest.frame["utterance_id"]
    )
    path.write_text("utterance_id,split\n" + by_row)
    (fold,) = splits.from_file(manifest, file=str(path))
    assert rows(manifest, fold, "test") == {f"u00-{n}" for n in range(4)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speaker,split\ns00,train\ns01,test\n", "has no split for 1 values of 'speaker'"),
        ("speaker,split\ns00,train\ns01,tset\n", "names the split 'tset'"),
        ("speaker,dialogue,split\n", "has the columns"),
        ("speaker\ns00\n", "has the columns"),
        ("speaker,split\n", "no fold"),
        ("speaker,split\ns00,train\ns01,test\ns02,test\ns02,train\n", "in one fold"),
        ("spaeker,split\ns00,train\ns01,test\n", "no column 'spaeker'"),
        ("utterance_id,split\nu00-0,train\nu00-1,test\n", "has no split"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, message):
    path = tmp_path / "folds.csv"
    path.write_text(text)
    with pytest.raises(SplitError, match=message):
        splits.from_file(corpus(3), file=str(path))


def test_rows_that_the_file_does_not_mention_may_be_left_out(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_text("speaker,split\ns00,train\ns01,test\n")
    manifest = corpus(3)
    (fold,) = splits.from_file(manifest, file=str(path), unknown="leave_out")
    assert fold.split_of_rows(manifest.frame).null_count() == 4


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        json.dumps({"format": 9, "fingerprint": "", "folds": []}),
        json.dumps({"format": 1, "fingerprint": "", "folds": [{"index": 0}]}),
        json.dumps({"format": 1, "fingerprint": "", "folds": [{"index": 0, "assignment": {}}]}),
        json.dumps(
            {
                "format": 1,
                "fingerprint": "",
                "folds": [{"index": 0, "assignment": {"s": {"a": "x"}}}],
            }
        ),
    ],
)
def test_a_file_without_folds_is_refused(tmp_path, body):
    (tmp_path / "folds.json").write_text(body)
    with pytest.raises(SplitError, match="holds no folds"):
        splits.from_file(corpus(), file=str(tmp_path))


@pytest.mark.parametrize("column", ["dialogue", "sentence"])
@pytest.mark.parametrize("split", [splits.holdout, splits.k_fold, splits.leave_one_group_out])
def test_a_promise_that_the_split_breaks_is_an_error(split, column):
    with pytest.raises(SplitError, match=f"{column}s are in several splits of fold 0"):
        split(corpus(), disjoint=[column])


def test_a_promise_that_is_kept_is_none():
    manifest = corpus()
    assert splits.holdout(manifest, groups=["dialogue"], disjoint=["dialogue"])
    with pytest.raises(SplitError, match="did you mean 'dialogue'"):
        splits.holdout(manifest, disjoint=["dialog"])


def test_official_parts_that_share_speakers_are_refused_unless_said():
    manifest = corpus()
    mixed = manifest.take(manifest.frame.with_columns(speaker=pl.lit("s")))
    with pytest.raises(SplitError, match="1 speakers are in several splits"):
        splits.predefined(mixed)
    assert splits.predefined(mixed, speaker_dependent=True)
    with pytest.raises(SplitError, match="sentences are in several splits"):
        splits.predefined(mixed, speaker_dependent=True, disjoint=["sentence"])


def test_inner_folds_keep_promises_and_have_rows():
    with pytest.raises(SplitError, match=r"inner fold . of fold .*|dialogues are"):
        splits.nested_k_fold(corpus(), num_folds=2, num_inner=3, val=0, disjoint=["dialogue"])
    sparse = pl.DataFrame(
        [
            {"utterance_id": f"{n}", "speaker": f"s{n}", "sentence": f"t{n}", "label": "a"}
            for n in range(8)
        ]
    )
    with pytest.raises(SplitError, match="has no rows for"):
        splits.nested_k_fold(
            Manifest(sparse, Path()), groups=["speaker", "sentence"], num_folds=2, num_inner=2
        )
