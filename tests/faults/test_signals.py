"""A run that is interrupted or terminated says so, and can go on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "split.val=0.3",
    "trainer.max_epochs=30",
    "callbacks.early_stopping=null",
    "tracker=none",
]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="SIGINT", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
    ],
)
def test_a_signal_ends_a_run_with_its_status_and_code(process, sent, code):
    command = [sys.executable, "-m", "polymodal", "run", *RUN]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(Path("runs").glob("*/checkpoints/last.ckpt")):
        time.sleep(0.02)
    os.kill(running.pid, sent)
    _, error = running.communicate(timeout=60)
    assert running.returncode == code, error
    assert "Traceback" not in error
    (path,) = Path("runs").glob("*/run.json")
    assert json.loads(path.read_text())["status"] == "interrupted"
    resumed = process("run", *RUN, "resume=last")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(path.read_text())["status"] == "finished"
