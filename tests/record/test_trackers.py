"""Trackers mirror a run; whatever they do, the run goes on and its folder has everything."""

import importlib.util
import json
import pickle
import sqlite3
import subprocess
import sys
import threading
import warnings

import pytest

from polymodal.record.journal import Journal, read_journal
from polymodal.record.trackers.base import NoTracker, Start, Tracker
from polymodal.record.trackers.mirror import Mirror
from polymodal.record.trackers.trackio import TrackioTracker
from polymodal.record.trackers.wandb import WandbTracker
from polymodal.record.writer import NullWriter, RunWriter

# One process: two runs of one name each, the first of them goes on later. Nothing may connect.
MIRRORED = """
import socket, sys
from pathlib import Path
from polymodal.record.trackers.base import Start
from polymodal.record.trackers.mirror import Mirror
from polymodal.record.trackers.TRACKER import CLASS

def refuse(self, address, *rest):
    if self.family != socket.AF_UNIX and address[0] != "127.0.0.1":
        raise AssertionError(f"network: {address}")
    return connect(self, address, *rest)

connect, socket.socket.connect = socket.socket.connect, refuse
runs = Path(sys.argv[1])
for run_id, status in (("r1", "finished"), ("r2", "failed"), *([("r1", "finished")] * AGAIN)):
    folder = runs / run_id
    folder.mkdir(parents=True, exist_ok=True)
    mirror = Mirror(CLASS())
    mirror.start(Start(run_id, "emodb", "emodb/egemaps", {"lr": 0.1, "token": "***"}, folder))
    for step in range(20):
        mirror.log({"val/uar": step / 20, "val/loss": float("nan")}, step)
    mirror.finish(status, {"test/uar": 0.5})
    mirror.finish(status, {"test/uar": 0.5})
print("the run's own line")
"""


def mirrored(workplace, tracker: str, name: str, *, again: int = 0):
    code = MIRRORED.replace("TRACKER", tracker).replace("CLASS", name).replace("AGAIN", str(again))
    words = [sys.executable, "-c", code, "runs", "tracker.token=canary-in-argv"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the run's own line\n"
    assert done.stderr == ""
    return workplace / "runs"


class Broken:
    """Raises at the methods named."""

    def __init__(self, *where: str, error: BaseException | None = None) -> None:
        self.where, self.error = where, error or ConnectionError("no route\nto host")
        self.calls: list[str] = []

    def start(self, start: Start) -> None:
        self._called("start")

    def log(self, scores, step) -> None:
        self._called("log")

    def finish(self, status, scores) -> None:
        self._called(f"finish {status}")

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name.split()[0] in self.where:
            raise self.error


@pytest.fixture
def start(tmp_path):
    return Start("r1", "emodb", "emodb/egemaps", {"lr": 0.1}, tmp_path)


@pytest.mark.parametrize(
    ("where", "calls"),
    [
        (["start"], ["start", "finish failed"]),
        (["log"], ["start", "log", "finish failed"]),
        (["finish"], ["start", "log", "log", "finish finished", "finish failed"]),
        (["start", "log", "finish"], ["start", "finish failed"]),
    ],
)
@pytest.mark.parametrize("error", [ConnectionError("down"), SystemExit(1), MemoryError()])
def test_a_tracker_that_raises_is_left_out_after_one_warning(tmp_path, start, where, calls, error):
    tracker = Broken(*where, error=error)
    mirror = Mirror(tracker)
    writer = RunWriter(Journal(tmp_path / "metrics.jsonl"), mirror)

    def run():
        mirror.start(start)
        writer.log({"x": 1.0}, 0)
        writer.log({"x": 2.0}, 1)
        mirror.finish("finished", {})
        mirror.finish("finished", {})
        writer.close()

    with pytest.warns(UserWarning, match="Broken failed") as caught:
        run()
    assert len(caught) == 1
    assert tracker.calls == calls
    assert [line["x"] for line in read_journal(tmp_path / "metrics.jsonl")] == [1.0, 2.0]


def test_the_warning_is_one_line_and_never_an_error(start):
    with pytest.warns(UserWarning, match="no route; to host.*run folder has everything"):
        Mirror(Broken("start")).start(start)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Mirror(Broken("start")).start(start)


def test_an_interrupt_is_not_swallowed(start):
    with pytest.raises(KeyboardInterrupt):
        Mirror(Broken("start", error=KeyboardInterrupt())).start(start)


def test_the_journal_has_what_the_mirror_is_given_and_folds_stay_apart(tmp_path, start):
    given = []
    tracker = Broken()
    tracker.log = lambda scores, step: given.append((dict(scores), step))
    writer = RunWriter(Journal(tmp_path / "metrics.jsonl"), Mirror(tracker))
    writer.log({"val/uar": 0.5}, 10, epoch=1, fold=2)
    writer.log({"val/uar": 0.6}, 20)
    writer.close()
    assert given == [({"fold2/val/uar": 0.5}, 10), ({"val/uar": 0.6}, 20)]
    lines = [{"fold": 2, "epoch": 1, "step": 10, "val/uar": 0.5}, {"step": 20, "val/uar": 0.6}]
    assert read_journal(tmp_path / "metrics.jsonl") == lines


def test_a_writer_travels_to_a_spawned_process_without_its_tracker(tmp_path, start):
    tracker = Broken()
    tracker.lock = threading.Lock()  # cannot be pickled
    writer = RunWriter(Journal(tmp_path / "metrics.jsonl"), Mirror(tracker))
    writer.log({"x": 1.0}, 0)
    other = pickle.loads(pickle.dumps(writer))
    other.log({"x": 2.0}, 1)
    other.close()
    writer.close()
    assert [line["x"] for line in read_journal(tmp_path / "metrics.jsonl")] == [1.0, 2.0]
    assert tracker.calls == ["log"]
    NullWriter().log({"x": 3.0}, 2)


@pytest.mark.parametrize("tracker", [NoTracker(), TrackioTracker(), WandbTracker(), Broken()])
def test_every_tracker_has_the_same_methods(tracker):
    assert isinstance(tracker, Tracker)


@pytest.mark.parametrize("missing", ["trackio", "wandb"])
def test_a_tracker_that_is_not_installed_names_its_extra(start, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    monkeypatch.setenv("TRACKIO_DIR", "restored afterwards")
    tracker = TrackioTracker() if missing == "trackio" else WandbTracker()
    with pytest.warns(UserWarning, match=f"polymodal.{missing}."):
        Mirror(tracker).start(start)


def test_trackio_holds_every_row_of_every_run_and_nothing_connects(workplace, monkeypatch):
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/space")
    monkeypatch.setenv("TRACKIO_SERVER_URL", "http://192.0.2.1:7860")
    monkeypatch.setenv("HF_HOME", str(workplace / "home"))
    runs = mirrored(workplace, "trackio", "TrackioTracker", again=1)
    assert not (workplace / "home").exists()
    with sqlite3.connect(runs / ".trackio" / "emodb.db") as database:
        ids = dict(
            database.execute("select run_name, count(distinct run_id) from metrics group by 1")
        )
        rows = database.execute(
            "select run_name, step, metrics from metrics order by id"
        ).fetchall()
        config = json.loads(database.execute("select config from configs").fetchone()[0])
    assert ids == {"r1": 1, "r2": 1}  # r1 went on as one run
    first = [json.loads(text)["val/uar"] for run, _, text in rows if run == "r2" and b"val" in text]
    assert first == [step / 20 for step in range(20)]
    assert sum(run == "r1" for run, _, _ in rows) == 2 * 21
    assert [json.loads(text) for run, _, text in rows if run == "r2"][-1] == {"test/uar": 0.5}
    assert (config["lr"], config["_Group"]) == (0.1, "emodb/egemaps")


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="extra wandb not installed")
def test_wandb_offline_needs_no_account_and_keeps_runs_apart(workplace, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(workplace / "home"))
    runs = mirrored(workplace, "wandb", "WandbTracker")
    for run_id in ("r1", "r2"):
        (stored,) = runs.glob(f"{run_id}/wandb/offline-run-*/run-{run_id}.wandb")
        data = stored.read_bytes()
        assert data.count(b"val/uar") >= 20
        assert all(word in data for word in (b"lr", b"emodb/egemaps", b"test/uar"))
    assert b"failed" in stored.read_bytes()
    files = [path for path in workplace.rglob("*") if path.is_file()]
    assert [path for path in files if b"canary-in-argv" in path.read_bytes()] == []
