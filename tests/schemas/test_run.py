"""The record of a run: what one version writes another reads, or says why not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymodal.errors import RunError
from polymodal.schemas.run_record import RECORD_VERSION, STATUSES, RunRecord

NAMES = st.text(max_size=8)
PLAIN = st.none() | st.integers() | st.text(max_size=8) | st.lists(st.integers(), max_size=2)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
FIELDS = st.fixed_dictionaries(
    {
        "run_id": NAMES,
        "name": NAMES,
        "status": st.sampled_from(STATUSES),
        "parent": st.none() | NAMES,
        "seed": st.none() | st.integers(),
        "scores": st.dictionaries(NAMES, st.none() | FINITE, max_size=3),
        "duration_s": st.none() | FINITE,
        "command": st.lists(NAMES, max_size=3),
        "notes": st.dictionaries(NAMES, PLAIN, max_size=3),
    }
)
ANYTHING = st.recursive(
    PLAIN | st.floats() | st.booleans(),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(NAMES, one, max_size=3),
    max_leaves=6,
)


@given(FIELDS)
def test_a_record_comes_back_from_json_as_it_was(values):
    record = RunRecord(**values)
    assert RunRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_what_interface_md_promises_is_there():
    promised = "run_id name status experiment parent seed fold scores started ended"
    values = RunRecord("r", "n").to_dict()
    assert set(promised.split()) <= set(values)
    assert values["record_version"] == RECORD_VERSION


def test_an_early_record_gets_defaults_and_a_richer_one_is_read():
    record = RunRecord.from_dict({"run_id": "r", "invented_later": [1]})
    assert (record.name, record.status, record.scores) == ("r", "running", {})
    assert record == RunRecord("r", "r")


def test_two_records_share_nothing():
    first, second = RunRecord("a", "a"), RunRecord("b", "b")
    first.scores["test/uar"] = 1.0
    first.to_dict()["notes"]["x"] = 1
    assert (second.scores, first.notes) == ({}, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        ('{"run_id": "r"', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "no run_id"),
        ("null", "no run_id"),
        ('{"name": "r"}', "no run_id"),
        ('{"run_id": null}', "run_id is None"),
        ('{"run_id": "r", "scores": []}', r"scores is \[\]"),
        ('{"run_id": "r", "scores": {"test/uar": "0.7"}}', "score test/uar is '0.7'"),
        ('{"run_id": "r", "seed": "one"}', "seed is 'one'"),
        ('{"run_id": "r", "fold": "last"}', "fold is 'last'"),
        ('{"run_id": "r", "error": 3}', "error is 3"),
        ('{"run_id": "r", "command": "polymodal run"}', "command is"),
        ('{"run_id": "r", "record_version": 2}', "version 2, this program knows 1"),
        ('{"run_id": "r", "record_version": "2"}', "record_version is '2'"),
    ],
)
def test_what_is_no_record_is_named_with_its_file(tmp_path, text, words):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=words) as caught:
        RunRecord.read(tmp_path / "run.json")
    assert str(tmp_path / "run.json") in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(RunError, match=r"run\.json cannot be read"):
        RunRecord.read(tmp_path / "run.json")
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match=r"run\.json cannot be read"):
        RunRecord.read(tmp_path / "run.json")


def test_numbers_that_are_no_json_are_read_as_none(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"run_id": "r", "scores": {"a": NaN, "b": -Infinity, "c": 1}}')
    assert RunRecord.read(path).scores == {"a": None, "b": None, "c": 1}


@given(st.dictionaries(st.sampled_from(sorted(RunRecord("r", "r").to_dict())), ANYTHING))
def test_any_json_is_a_record_or_refused(values):
    try:
        record = RunRecord.from_dict(values)
    except RunError:
        return
    assert isinstance(record.run_id, str)
    assert RunRecord.from_dict(record.to_dict()) == record or "nan" in str(values)
