"""Points of a journal: what is new since the last question, whatever stands in the file."""

import json

import pytest

from polymodal.ui import metrics
from polymodal.ui.metrics import last_values, read_points


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def write(path, *lines):
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def test_a_journal_that_grows_is_read_on(path):
    write(path, {"epoch": 0, "step": 9, "val/uar": 0.5}, {"epoch": 0, "step": 9, "train/lr": 1})
    told = read_points(path, 0, ["val/uar"])
    assert told["points"] == {"val/uar": [[None, 0, 9, 0.5]]}
    assert told["names"] == ["val/uar", "train/lr"]
    assert not told["more"]
    write(path, {"fold": 2, "epoch": 1, "step": 19, "val/uar": 0.6})
    again = read_points(path, told["next"], ["val/uar"])
    assert again["points"] == {"val/uar": [[2, 1, 19, 0.6]]}
    assert read_points(path, again["next"], ["val/uar"])["points"] == {"val/uar": []}


def test_a_line_that_is_being_written_is_left_for_the_next_time(path):
    path.write_text('{"step": 1, "a": 1}\n{"step": 2, "a"')
    told = read_points(path, 0, ["a"])
    assert told["points"]["a"] == [[None, None, 1, 1]]
    with path.open("a") as file:
        file.write(": 2}\n")
    assert read_points(path, told["next"], ["a"])["points"]["a"] == [[None, None, 2, 2]]


def test_a_missing_journal_has_no_points(path):
    told = read_points(path, 0, ["a"])
    assert (told["points"], told["next"], told["more"]) == ({"a": []}, 0, False)


def test_a_journal_that_became_shorter_is_read_from_its_beginning(path):
    write(path, *({"step": step, "a": step} for step in range(9)))
    end = read_points(path, 0, [])["next"]
    path.write_text('{"step": 1, "a": 5}\n')
    told = read_points(path, end, ["a"])
    assert told["start"] == 0
    assert told["points"]["a"] == [[None, None, 1, 5]]


def test_broken_lines_and_what_is_no_number_are_left_out(path):
    path.write_bytes(
        b'{"step": 1, "a": NaN}\nnonsense\n[1]\n\n\xff\xfe\n{"step": 1e999, "a": 1e999}\n'
        b'{"step": 2, "a": "text", "b": true}\n{"step": 3, "a": 3}\n'
    )
    told = read_points(path, 0, ["a", "b"])
    assert told["points"] == {"a": [[None, None, 3, 3]], "b": []}
    assert told["skipped"] == 3


def test_a_long_journal_comes_in_parts(path, monkeypatch):
    write(path, *({"step": step, "a": step} for step in range(100)))
    monkeypatch.setattr(metrics, "MAX_BYTES", 300)
    start, found, rounds = 0, [], 0
    while True:
        told = read_points(path, start, ["a"])
        found += told["points"]["a"]
        start, rounds = told["next"], rounds + 1
        if not told["more"]:
            break
    assert [value for *_, value in found] == [*range(100)]
    assert rounds > 5


def test_a_line_beyond_all_measure_is_stepped_over(path, monkeypatch):
    monkeypatch.setattr(metrics, "MAX_BYTES", 300)
    path.write_text("x" * 1000 + '\n{"step": 1, "a": 1}\n')
    start, found = 0, []
    for _ in range(10):
        told = read_points(path, start, ["a"])
        found, start = found + told["points"]["a"], told["next"]
        if not told["more"]:
            break
    assert found == [[None, None, 1, 1]]


def test_a_step_of_a_hundred_thousand_scores_names_some(path):
    write(path, {"step": 1, **{f"s{number}": 1.0 for number in range(100_000)}})
    told = read_points(path, 0, ["s99999"])
    assert told["points"]["s99999"] == [[None, None, 1, 1.0]]
    assert len(told["names"]) == metrics.MAX_NAMES


def test_the_end_of_a_journal_is_read_when_it_has_grown(path, monkeypatch):
    assert last_values(path, -1) == (0, None)
    write(path, *({"step": step, "a": step} for step in range(100)), {"step": 100, "b": 1})
    monkeypatch.setattr(metrics, "TAIL_BYTES", 60)
    size, values = last_values(path, -1)
    assert values == {"step": 100, "a": 99, "b": 1}
    assert last_values(path, size) == (size, None)
