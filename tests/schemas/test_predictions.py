"""The prediction table: classes keep their order, logits their finite probabilities."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymodal.errors import PredictionError
from polymodal.schemas.predictions import ENDINGS, PredictionTable, concatenate

CLASSES = ("joy", "anger", "fear")


def table(logits=((1, 2, 0), (5, -5, 0)), targets=(1, -1), classes=CLASSES, **more):
    ids = [f"u{number}" for number in range(len(logits))]
    arrays = np.array(logits, dtype=np.float32), np.array(targets, dtype=np.int64)
    return PredictionTable.from_logits(ids, *arrays, classes, split="test", **more)


def test_labels_follow_the_order_of_the_classes():
    frame = table().frame
    assert frame["predicted"].to_list() == ["anger", "joy"]
    assert frame["label"].to_list() == ["anger", None]
    assert table().targets().tolist() == [1, -1]
    assert frame.columns[-3:] == ["logit_joy", "logit_anger", "logit_fear"]


def test_a_file_gives_back_the_table_and_its_metadata(tmp_path):
    before = table(fold=3, seed=7, run_id="run-x")
    before.write(tmp_path / "t.parquet")
    after = PredictionTable.read(tmp_path / "t.parquet")
    assert after.frame.equals(before.frame)
    assert (after.classes, after.task, after.run_id) == (CLASSES, "classification", "run-x")


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_file_has_probabilities_beside_logits(tmp_path, ending):
    table().write(tmp_path / f"t{ending}")
    readers = {".csv": pl.read_csv, ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet}
    read = readers.get(ending, lambda path: pl.read_csv(path, separator="\t"))
    shown = read(tmp_path / f"t{ending}").select("^probability_.*$")
    assert shown.columns == [f"probability_{name}" for name in CLASSES]
    np.testing.assert_allclose(shown.to_numpy(), table().probabilities(), atol=1e-6)


def test_each_label_of_several_has_a_probability_of_its_own(tmp_path):
    arrays = np.array([[0.0, 3.0]], np.float32), np.array([[0, 1]], np.float32)
    labels = PredictionTable.from_values(["u"], *arrays, "ab", split="test", task="multilabel")
    labels.write(tmp_path / "t.csv")
    shown = pl.read_csv(tmp_path / "t.csv").select("^probability_.*$").row(0)
    assert shown == pytest.approx((0.5, 1 / (1 + np.exp(-3))), abs=1e-6)


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=3, max_size=3))
def test_probabilities_are_finite_and_sum_to_one(logits):
    probabilities = table([logits], [0]).probabilities()
    assert np.isfinite(probabilities).all()
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[0, int(np.argmax(np.float32(logits)))] == probabilities.max()


def test_tables_are_put_together_only_with_the_same_order_of_classes():
    both = concatenate([table(fold=0), table(fold=1)])
    assert both.frame["fold"].to_list() == [0, 0, 1, 1]
    with pytest.raises(PredictionError, match="class orders differ"):
        concatenate([table(), table(classes=CLASSES[::-1])])
    with pytest.raises(PredictionError, match="no prediction table"):
        concatenate([])


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(PredictionError, match=r"lacks the columns \['logit_fear'\]"):
        PredictionTable(table().frame.drop("logit_fear"), CLASSES)
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    for name in ("other.parquet", "text.parquet", "gone.parquet"):
        with pytest.raises(PredictionError, match="is no prediction table"):
            PredictionTable.read(tmp_path / name)


def test_who_spoke_travels_with_the_rows_as_far_as_all_tables_know_it(tmp_path):
    known = pl.DataFrame({"utterance_id": ["u1", "u0", "other"], "speaker": ["b", "a", "c"]})
    said = table().with_speakers(known)
    assert said.speakers().tolist() == ["a", "b"]
    assert said.frame["utterance_id"].to_list() == ["u0", "u1"]
    said.write(tmp_path / "t.parquet")
    assert PredictionTable.read(tmp_path / "t.parquet").speakers().tolist() == ["a", "b"]
    assert concatenate([said, said]).speakers().tolist() == ["a", "b", "a", "b"]
    assert concatenate([said, table()]).speakers() is None
    assert table().with_speakers(known.head(1)).speakers() is None, "a row without a speaker"
