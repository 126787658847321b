"""metrics.jsonl: no written line is lost, no torn line is read."""

import json
import math
import os
import pickle
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymodal.errors import RunError
from polymodal.tracking.metrics_log import MetricsLog, read_metrics

WRITING = """
import sys
from pathlib import Path
from polymodal.tracking.metrics_log import MetricsLog
journal = MetricsLog(Path(sys.argv[1]))
for step in range(300):
    journal.log({"train/loss": step / 7, "long": 0.1}, step=step, epoch=0)
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    journal = MetricsLog(tmp_path / "metrics.jsonl")
    for step in range(5):
        journal.log(
            {"val/uar": step / 4, "val/loss": 1 / (step + 1)}, step=step, epoch=step, fold=1
        )
    journal.close()
    return journal.path


@pytest.mark.parametrize("cut", [1, 5, 20, 60, 100])
def test_a_torn_end_is_dropped_and_the_journal_goes_on(path, cut):
    whole = read_metrics(path)
    data = path.read_bytes()[:-cut]
    path.write_bytes(data)
    kept = data.count(b"\n")
    assert read_metrics(path) == whole[:kept]
    journal = MetricsLog(path)
    journal.log({"val/uar": 0.9}, step=9)
    journal.close()
    assert read_metrics(path) == [*whole[:kept], {"step": 9, "val/uar": 0.9}]


def test_every_cut_leaves_whole_lines_only(path):
    data, whole = path.read_bytes(), read_metrics(path)
    for end in range(len(data) + 1):
        path.write_bytes(data[:end])
        assert read_metrics(path) == whole[: data[:end].count(b"\n")]


def test_kill_9_loses_no_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    command = [sys.executable, "-c", WRITING, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert [line["step"] for line in read_metrics(path)] == list(range(300))


@given(st.lists(st.floats(width=64), max_size=5))
def test_numbers_come_back_and_what_is_no_number_is_null(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("journal") / "metrics.jsonl"
    journal = MetricsLog(path)
    scores = {f"s{place}": value for place, value in enumerate(values)}
    journal.log(scores, step=0)
    journal.close()
    expected = {name: one if math.isfinite(one) else None for name, one in scores.items()}
    assert read_metrics(path) == [{"step": 0, **expected}]


def test_a_score_called_step_does_not_hide_the_step(tmp_path):
    journal = MetricsLog(tmp_path / "metrics.jsonl")
    journal.log({"step": 0.5, "x": 1.0}, step=7)
    assert read_metrics(journal.path) == [{"step": 7, "x": 1.0}]
    journal.close()


def test_a_pickled_journal_goes_on_in_the_same_file(tmp_path):
    journal = MetricsLog(tmp_path / "metrics.jsonl")
    journal.log({"x": 1.0}, step=0)
    other = pickle.loads(pickle.dumps(journal))
    other.log({"x": 2.0}, step=1)
    journal.log({"x": 3.0}, step=2)
    assert [line["x"] for line in read_metrics(journal.path)] == [1.0, 2.0, 3.0]
    other.close()
    journal.close()


@pytest.mark.parametrize("line", ["\x00\x00\x00", "[1]", "{", '{"a": 1}{"b": 2}'])
def test_a_damaged_line_in_the_middle_is_named(path, line):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[2:], ""]))
    with pytest.raises(RunError, match="line 3"):
        read_metrics(path)


def test_no_journal_is_an_empty_one(tmp_path):
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_lines_are_json_for_everybody(path):
    assert all(json.loads(line)["fold"] == 1 for line in path.read_text().splitlines())
