"""One name spelled in two ways was two names: a speaker could be trained and tested on."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from polymodal.corpora.folders import read_folders
from polymodal.corpora.manifest import read_manifest, write_manifest
from polymodal.corpora.table import read_table
from polymodal.data.folds import read_folds, write_folds
from polymodal.data.splits import (
    from_file,
    holdout,
    k_fold,
    leave_one_group_out,
    nested_k_fold,
    predefined,
)
from polymodal.errors import ManifestError, SplitError
from polymodal.schemas.manifest import Manifest

NFC, NFD = (unicodedata.normalize(form, "Zoë 한글") for form in ("NFC", "NFD"))
SPELLINGS = [NFC, f" {NFD}", f"\ufeff{NFC}", f"{NFC}\u200b", NFC.replace(" ", "\u00a0"), f"{NFC}\t"]


def table(folder, speakers, **columns):
    ids = [f"u{number}" for number in range(len(speakers))]
    frame = pl.DataFrame({"utterance_id": ids, "speaker": speakers, "text": ids} | columns)
    frame.write_csv(folder / "manifest.csv")
    return str(folder)


@pytest.mark.parametrize("column", ["speaker", "dialogue", "session", "label", "sentence"])
def test_spellings_of_one_name_are_one_and_counted(tmp_path, column):
    root = table(tmp_path, ["s"] * 6, **{column: SPELLINGS})
    manifest = read_table(root, classes=[NFD] if column == "label" else None)
    assert manifest.frame[column].unique().to_list() == [NFD if column == "label" else NFC]
    assert manifest.handled == {
        f"{column}: blanks, invisible characters or Unicode form cleaned": 5
    }
    assert len(read_table(root, where={column: f"{NFD} "})) == 6


def test_ids_that_become_equal_are_named(tmp_path):
    root = table(tmp_path, ["s", "s", "t"], utterance_id=["a", "a\u200b", "b"])
    with pytest.raises(ManifestError, match="duplicate id: 'a' is in row 1 and row 2"):
        read_table(root)


def test_contents_stay_as_they_are(tmp_path):
    root = table(tmp_path, ["s"], text=[f" {NFD}\u200b "])
    assert read_table(root).frame["text"].to_list() == [f" {NFD}\u200b "]


def test_a_name_of_blanks_is_no_name(tmp_path):
    with pytest.raises(ManifestError, match="row 2: no speaker"):
        read_table(table(tmp_path, ["s", "\u200b\u00a0"]))


def test_other_readers_clean_names_too(tmp_path):
    frame = pl.DataFrame({"utterance_id": ["a", "b"], "speaker": [NFC, f"{NFC} "], "label": "x"})
    write_manifest(Manifest(frame, tmp_path), tmp_path / "m.parquet")
    manifest = read_manifest(str(tmp_path / "m.parquet"), classes=["x"])
    assert manifest.frame["speaker"].n_unique() == 1
    assert sum(manifest.handled.values()) == 1
    for speaker in ("s1", "s1\u200b"):
        (tmp_path / "clips" / speaker).mkdir(parents=True)
        soundfile.write(tmp_path / "clips" / speaker / f"{len(speaker)}.wav", np.zeros(160), 16_000)
    clips = read_folders(str(tmp_path / "clips"), pattern="(?P<speaker>[^/]+)/(?P<label>[^/]+)")
    assert clips.frame["speaker"].to_list() == ["s1", "s1"]
    assert clips.frame["audio"].n_unique() == 2


def test_labels_that_differ_by_case_are_merged_and_counted(tmp_path):
    labels = ["happy", "Happy", "HAPPY ", "sad", "happy", "Sad"]
    root = table(tmp_path, ["s"] * 6, label=labels)
    declared = read_table(root, classes=["happy", "sad"])
    assert declared.frame["label"].value_counts().sort("count").rows() == [("sad", 2), ("happy", 4)]
    assert declared.handled["label 'HAPPY' read as 'happy'"] == 1
    free = read_table(root)
    assert sorted(free.frame["label"].unique()) == ["Sad", "happy"]  # the most frequent, then first
    assert free.handled["label 'sad' read as 'Sad'"] == 1
    mapped = read_table(root, label_map={"Happy": "joy", "sad": "grief"})
    assert sorted(mapped.frame["label"].unique()) == ["grief", "joy"]
    both = read_table(root, classes=["happy", "Happy", "HAPPY", "sad"])
    assert both.frame["label"].n_unique() == 4
    with pytest.raises(ManifestError, match="'HaPPy', did you mean"):
        read_table(table(tmp_path, ["s"], label=["HaPPy"]), classes=["happy", "Happy"])


def test_several_labels_of_a_cell_are_merged_too(tmp_path):
    root = table(tmp_path, ["s", "s"], label=["Joy ;anger", "joy"])
    manifest = read_table(root, label_separator=";", classes=["joy", "anger"])
    assert {vote["label"] for votes in manifest.frame["votes"] for vote in votes} == {
        "joy",
        "anger",
    }
    free = read_table(root, label_separator=";")
    assert {vote["label"] for votes in free.frame["votes"] for vote in votes} == {"joy", "anger"}


@pytest.mark.parametrize("name", ["speaker", "dialogue", "session"])
def test_names_that_differ_by_case_alone_are_named_in_a_warning(tmp_path, name):
    names = ["Anna", "anna", "Ben", "Cleo"]
    root = table(tmp_path, ["s"] * 4, **{name: names})
    with pytest.warns(UserWarning, match=f"{name} 'Anna' and 'anna' differ by letter case"):
        manifest = read_table(root)
    assert any("'Anna' and 'anna'" in note for note in manifest.handled)


def people(names, **columns):
    ids = [f"u{number:02}" for number in range(len(names))]
    frame = pl.DataFrame({"utterance_id": ids, "speaker": names, "label": "x"} | columns)
    return Manifest(frame, Path())


@pytest.mark.parametrize("split", [holdout, k_fold, leave_one_group_out, nested_k_fold])
def test_a_split_by_names_that_differ_by_case_is_refused(split):
    options = {"num_folds": 3} if split in (k_fold, nested_k_fold) else {}
    manifest = people(["Anna", "anna", "Ben", "Cleo", "Dora", "Emil", "Finn"])
    with pytest.raises(SplitError, match="speaker 'Anna' and 'anna' differ by letter case"):
        split(manifest, **options)


def test_given_splits_are_refused_where_they_tell_such_names_apart(tmp_path):
    names, splits = ["Anna", "anna", "Ben", "Cleo"], ["train", "test", "train", "test"]
    manifest = people(names, split=splits)
    with pytest.raises(SplitError, match=r"'Anna' and 'anna' .* in different splits of fold 0"):
        predefined(manifest)
    assert predefined(manifest, speaker_dependent=True)
    together = people(names, split=["train", "train", "train", "test"])
    assert predefined(together)
    pl.DataFrame({"speaker": names, "split": splits}).write_csv(tmp_path / "f.csv")
    with pytest.raises(SplitError, match="in different splits"):
        from_file(manifest, file=str(tmp_path / "f.csv"))
    sessions = people(["a", "b", "c", "d"], session=["S1", "s1", "s2", "s3"], split=splits)
    with pytest.raises(SplitError, match="session 'S1' and 's1'"):
        predefined(sessions, disjoint=["session"])


def test_folds_of_a_file_are_cleaned_like_the_corpus(tmp_path):
    manifest = people([NFC, "Ben"])
    lines = f"speaker,split\n{NFD}\u200b ,train \nBen,test\n"
    (tmp_path / "f.csv").write_text(lines, encoding="utf-8-sig")
    fold = from_file(manifest, file=str(tmp_path / "f.csv"))[0]
    assert fold.split_of_rows(manifest.frame).to_list() == ["train", "test"]
    write_folds(tmp_path / "folds.json", [fold], "")
    body = json.loads((tmp_path / "folds.json").read_text())
    body["folds"][0]["assignment"]["speaker"] = {f"{NFD} ": "train", "Ben": "test"}
    (tmp_path / "folds.json").write_text(json.dumps(body))
    assert read_folds(tmp_path / "folds.json")[0][0] == fold
    body["folds"][0]["assignment"]["speaker"] = {"Ben ": "train", "Ben": "test"}
    (tmp_path / "folds.json").write_text(json.dumps(body))
    with pytest.raises(SplitError, match="speaker 'Ben' in train and in test"):
        read_folds(tmp_path / "folds.json")
