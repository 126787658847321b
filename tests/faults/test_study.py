"""A study that is killed anywhere and started again ends with the same tables."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

STUDY = """
members:
  words: experiment=sample/text
  letters: experiment=sample/text encoder.text.width=8
votes:
  soft: {ensemble: soft}
protocol: [split=k_folds, split.num_folds=2, split.val=0.34]
shared: [corpus.num_speakers=6, corpus.num_utterances=8, trainer.max_epochs=3]
"""
COMMAND = [sys.executable, "-m", "polymodal", "study", "study=small", "tracker=none"]


@pytest.fixture
def written(workplace):
    folder = workplace / "configs" / "study"
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text(STUDY)
    return workplace


def start():
    return subprocess.Popen(
        COMMAND, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def processes(group):
    """The processes of a group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z" and int(fields[2]) == group:
            found.append(int(path.parent.name))
    return found


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to it"
        time.sleep(0.02)


def results(runs):
    study = json.loads((runs / (runs / "last").read_text() / "study.json").read_text())
    tables = {}
    for cell in study["cells"]:
        table = pl.read_parquet(runs / cell["run"] / "predictions" / "test.parquet")
        tables[cell["member"]] = table.sort("utterance_id")
    return study, tables


def same(one, other):
    assert one[0]["members"].keys() == other[0]["members"].keys()
    for name, member in one[0]["members"].items():
        assert member["scores"] == other[0]["members"][name]["scores"], name
    assert one[0]["comparisons"] == other[0]["comparisons"]
    for name, table in one[1].items():
        assert table.equals(other[1][name]), name


def first_epoch(runs):
    return any(path.stat().st_size for path in runs.glob("*sample*/metrics.jsonl"))


def one_cell(runs):
    records = (path.read_text() for path in runs.glob("*sample*/run.json"))
    return any('"status": "finished"' in text for text in records)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.slow  # two minutes: a study is killed and started again, several times
def test_a_study_that_was_killed_anywhere_ends_with_the_same_tables(written, monkeypatch):
    monkeypatch.setenv("POLYMODAL_RUNS", "whole")
    assert subprocess.run(COMMAND, check=False, capture_output=True).returncode == 0
    whole = results(Path("whole"))
    monkeypatch.setenv("POLYMODAL_RUNS", "killed")
    runs = Path("killed")
    study = start()
    wait_for(lambda: first_epoch(runs))
    os.kill(study.pid, signal.SIGKILL)
    study.wait()
    wait_for(lambda: not processes(study.pid))
    study = start()
    wait_for(lambda: one_cell(runs))
    os.killpg(study.pid, signal.SIGKILL)  # its cells as well, with no time to save anything
    study.wait()
    assert subprocess.run(COMMAND, check=False, capture_output=True).returncode == 0
    same(whole, results(runs))
    studies = [one for one in runs.glob("*/study.json")]
    assert len(studies) == 1, "it went on in its folder"
    assert not list(studies[0].parent.glob("cells/*"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_study_that_is_asked_to_stop_takes_its_cells_along(written, monkeypatch):
    monkeypatch.setenv("POLYMODAL_RUNS", "runs")
    study = start()
    wait_for(lambda: first_epoch(Path("runs")))
    study.terminate()
    assert study.wait(90) == 143
    wait_for(lambda: not processes(study.pid))
    record = json.loads((Path("runs") / Path("runs/last").read_text() / "run.json").read_text())
    assert (record["kind"], record["status"]) == ("study", "interrupted")
