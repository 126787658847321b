"""The manifest: unique ids, text that stays text, a fingerprint that order does not move."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymodal.errors import ManifestError
from polymodal.schemas.manifest import Manifest, RejectedRow


def rows(num=4):
    return pl.DataFrame(
        {
            "utterance_id": [f"{n:03d}" for n in range(num)],
            "speaker": [f"0{n % 2}" for n in range(num)],
            "text": ["a", " ", None, "d"][:num],
            "sentence": [n for n in range(num)],
        }
    )


@given(st.permutations(range(4)))
def test_order_does_not_move_the_fingerprint(order):
    frame = rows()
    shuffled = pl.concat([frame[number] for number in order])
    assert Manifest(shuffled, Path()).fingerprint() == Manifest(frame, Path()).fingerprint()


def test_a_changed_cell_moves_the_fingerprint():
    changed = rows().with_columns(pl.lit("x").alias("sentence"))
    assert Manifest(changed, Path()).fingerprint() != Manifest(rows(), Path()).fingerprint()


def test_a_file_gives_back_signals_votes_and_own_columns(tmp_path):
    signal = {"name": "eda", "path": "eda.npy", "rate_hz": 4.0, "start": 8, "length": 40}
    frame = rows(1).with_columns(
        pl.Series("signals", [[signal]]), pl.Series("votes", [[{"label": "joy", "count": 7}]])
    )
    before = Manifest(frame, tmp_path)
    before.write(tmp_path / "m.parquet")
    after = Manifest.read(tmp_path / "m.parquet")
    assert after.frame.equals(before.frame)
    assert after.root == tmp_path
    assert after.utterance(0).signals["eda"].start == 8
    assert after.frame["votes"].to_list() == [[{"label": "joy", "count": 7}]]
    assert after.frame["sentence"].to_list() == ["0"]


def test_blank_text_is_missing_text():
    manifest = Manifest(rows(), Path())
    assert [manifest.utterance(row).text for row in range(4)] == ["a", None, None, "d"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.clear(), "has no utterance"),
        (lambda frame: pl.concat([frame, frame[1]]), r"id '001' stands in rows \[2, 5\]"),
        (lambda frame: frame.with_columns(speaker=pl.lit("")), "row 1 has no speaker"),
        (lambda frame: frame.drop("utterance_id"), "row 1 has no utterance_id"),
    ],
)
def test_rows_that_cannot_be_used_are_named(change, message):
    with pytest.raises(ManifestError, match=message):
        Manifest(change(rows()), Path())


def test_refusals_are_counted_by_rule_and_kept():
    refused = (
        RejectedRow(1, "no speaker", ""),
        RejectedRow(2, "no speaker", ""),
        RejectedRow(3, "other", ""),
    )
    manifest = Manifest(rows(), Path(), refused)
    assert manifest.take(manifest.frame[:2]).rejected_by_rule() == {"no speaker": 2, "other": 1}


def test_a_file_that_is_no_manifest_is_named(tmp_path):
    (tmp_path / "m.parquet").write_text("no parquet")
    for name in ("m.parquet", "gone.parquet"):
        with pytest.raises(ManifestError, match=f"{name} cannot be read"):
            Manifest.read(tmp_path / name)
