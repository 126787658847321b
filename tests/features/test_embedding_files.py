"""Embeddings as files: what is read back is what was written, and nothing is pickled."""

import numpy as np
import polars as pl
import pytest

from polymodal.errors import ConfigError, MissingExtraError
from polymodal.features.embedding_files import as_frame, check_target, write_embeddings
from polymodal.schemas.embeddings import Embeddings, join_embeddings


def table(modality, lengths, *, is_pooled=False, fold=0, width=3):
    rows = pl.DataFrame(
        {
            "utterance_id": [f"{modality} {row}é" for row in range(len(lengths))],
            "fold": pl.Series([fold] * len(lengths), dtype=pl.Int64),
            "split": pl.Series([None, *["test"] * (len(lengths) - 1)], dtype=pl.String),
        }
    )
    values = np.random.default_rng(0).normal(size=(sum(lengths), width)).astype(np.float32)
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    return Embeddings(modality, rows, values, offsets, is_pooled)


def test_npz_has_the_arrays_of_each_modality_and_is_read_without_pickling(tmp_path):
    speech, text = table("speech", [2, 5, 1]), table("text", [1, 1], fold=None)
    write_embeddings([speech, text], str(tmp_path / "new" / "a.npz"))
    read = np.load(tmp_path / "new" / "a.npz", allow_pickle=False)
    names = ("ids", "values", "offsets", "folds", "splits")
    assert {*read.files} == {
        f"{modality}/{name}" for modality in ("speech", "text") for name in names
    }
    assert read["speech/ids"].tolist() == speech.rows["utterance_id"].to_list()
    start, end = read["speech/offsets"][1:3]
    assert np.array_equal(read["speech/values"][start:end], speech.of_row(1))
    assert read["speech/values"].dtype == np.float32
    assert read["speech/splits"].tolist() == ["", "test", "test"]
    assert read["text/folds"].tolist() == [-1, -1]


def test_pooled_npz_has_a_vector_a_row_and_no_offsets(tmp_path):
    write_embeddings([table("text", [1, 1, 1], is_pooled=True)], str(tmp_path / "a.npz"))
    read = np.load(tmp_path / "a.npz", allow_pickle=False)
    assert read["text/values"].shape == (3, 3)
    assert "text/offsets" not in read.files


def test_parquet_keeps_values_and_types(tmp_path):
    pooled = [table("speech", [1, 1], is_pooled=True), table("text", [1], is_pooled=True, width=5)]
    write_embeddings(pooled, str(tmp_path / "a.parquet"))
    frame = pl.read_parquet(tmp_path / "a.parquet")
    assert frame.schema["embedding"] == pl.List(pl.Float32)
    assert frame["modality"].to_list() == ["speech", "speech", "text"]
    assert frame["embedding"].list.len().to_list() == [3, 3, 5]
    assert frame["embedding"][1].to_list() == pooled[0].values[1].tolist()
    assert frame["split"].to_list() == [None, "test", None]


def test_vectors_of_frames_stay_with_their_row():
    speech = table("speech", [2, 1, 3])
    frame = as_frame([speech])
    assert frame.schema["embedding"] == pl.List(pl.List(pl.Float32))
    assert frame["embedding"].list.len().to_list() == [2, 1, 3]
    assert frame["embedding"][2].to_list() == speech.of_row(2).tolist()


def test_folds_are_joined_with_their_offsets():
    first, second = table("speech", [2, 1]), table("speech", [3], fold=1)
    joined = join_embeddings([first, second])
    assert joined.offsets.tolist() == [0, 2, 3, 6]
    assert joined.rows["fold"].to_list() == [0, 0, 1]
    assert np.array_equal(joined.of_row(2), second.values)


@pytest.mark.parametrize("name", ["a.csv", "a.npy"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="parquet"):
        check_target(str(tmp_path / name))


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtraError) as error:
        check_target(str(tmp_path / "folder"))
    assert error.value.extra == "datasets"


def test_a_dataset_is_read_by_its_library(tmp_path):
    datasets = pytest.importorskip("datasets")
    speech = table("speech", [1, 1], is_pooled=True)
    for _ in range(2):  # what an earlier call wrote is replaced
        write_embeddings([speech], str(tmp_path / "set"))
    read = datasets.load_from_disk(str(tmp_path / "set"))
    assert read.column_names == ["utterance_id", "modality", "fold", "split", "embedding"]
    assert read[1]["embedding"] == speech.values[1].tolist()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="something else"):
        write_embeddings([speech], str(tmp_path / "mine"))
