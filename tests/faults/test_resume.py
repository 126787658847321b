"""A killed run goes on, and ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

SMALL = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "split.val=0.3",
    "trainer.max_epochs=8",
    "callbacks.early_stopping=null",
    "tracker=none",
]


def kill_at(epoch: int, arguments: list[str]) -> Path:
    """Starts a run and kills it with -9 once it has logged an epoch; returns its folder."""
    process = subprocess.Popen([sys.executable, "-m", "polymodal", "run", *arguments])
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for journal in Path("runs").glob("*/metrics.jsonl"):
            if f'"epoch": {epoch}' in journal.read_text():
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                return journal.parent
        if process.poll() is not None:
            break
        time.sleep(0.02)
    process.kill()
    pytest.fail("the run ended before it could be killed")


@pytest.mark.parametrize("split", [[], ["split=k_folds", "split.num_folds=2"]])
def test_a_killed_run_ends_like_an_uninterrupted_one(process, split):
    arguments = [*SMALL, *split]
    folder = kill_at(3, arguments)
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    resumed = process("run", *arguments, "resume=last")
    assert resumed.returncode == 0, resumed.stderr
    assert [path.name for path in Path("runs").iterdir() if path.is_dir()] == [folder.name]
    whole = process("run", *arguments)
    assert whole.returncode == 0, whole.stderr
    other = Path("runs") / Path("runs/last").read_text()
    records = [json.loads((run / "run.json").read_text()) for run in (folder, other)]
    assert records[0]["status"] == "finished"
    assert records[0]["scores"] == records[1]["scores"]
    tables = [pl.read_parquet(run / "predictions/test.parquet") for run in (folder, other)]
    assert tables[0].equals(tables[1])


def test_a_run_cannot_go_on_with_another_configuration(polymodal):
    assert polymodal("run", *SMALL, "trainer.max_epochs=1")[0] == 0
    code, _, error = polymodal(
        "run", *SMALL, "trainer.max_epochs=1", "optimizer.lr=0.5", "resume=last"
    )
    assert code == 2
    assert "optimizer" in error
    assert "0.5" in error
    assert len([path for path in Path("runs").iterdir() if path.is_dir()]) == 1
