"""Trackers mirror a run; whatever they do, the run goes on and its folder has everything."""

import contextlib
import importlib.util
import json
import pickle
import sqlite3
import subprocess
import sys
import threading
import warnings
from unittest import mock

import pytest

from polymodal.record.journal import Journal, read_journal
from polymodal.record.trackers.base import NoTracker, Start, Tracker
from polymodal.record.trackers.mirror import Mirror
from polymodal.record.trackers.trackio import TrackioTracker
from polymodal.record.trackers.wandb import WandbTracker
from polymodal.record.writer import NullWriter, RunWriter

# One process: a run for each word `id:status`, one after the other. Nothing may connect.
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
for run_id, status in (word.split(":") for word in sys.argv[3:]):
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


def mirrored(tracker: str, name: str, *processes: str) -> None:
    """Runs processes at once, each with the runs that it is told, and waits for them."""
    code = MIRRORED.replace("TRACKER", tracker).replace("CLASS", name)
    command = [sys.executable, "-c", code, "runs", "tracker.token=canary-in-argv"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([*command, *words.split()], **pipes) for words in processes]
    said = [process.communicate(timeout=120) for process in started]
    assert said == [("the run's own line\n", "")] * len(processes)
    assert [process.returncode for process in started] == [0] * len(processes)


@pytest.fixture
def home(workplace, monkeypatch):
    """A home folder of its own, which no tracker may touch."""
    home = workplace / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    names = "TRACKIO_DIR HF_HOME XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME"
    wandb = "WANDB_API_KEY WANDB_MODE WANDB_DIR WANDB_RUN_ID WANDB_CONFIG_DIR WANDB_CACHE_DIR"
    for name in f"{names} {wandb} WANDB_DATA_DIR".split():
        monkeypatch.delenv(name, raising=False)
    return home


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


class Held(Broken):
    """Waits for a sign before it takes anything at one of its methods."""

    def __init__(self, *where: str, remote: bool = False) -> None:
        super().__init__()
        self.held, self.remote, self.sign = where, remote, threading.Event()

    def _called(self, name: str) -> None:
        if name.split()[0] in self.held:
            self.sign.wait(30)
        super()._called(name)


@pytest.mark.parametrize("where", ["start", "log"])
def test_no_step_waits_for_a_tracker_and_all_is_told_in_the_end(start, where):
    tracker = Held(where, remote=True)
    mirror = Mirror(tracker)
    mirror.start(start)
    for step in range(100):
        mirror.log({"x": 1.0}, step)
    assert tracker.calls in ([], ["start"]), "it still waits"
    tracker.sign.set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mirror.finish("finished", {})
    assert tracker.calls == ["start", *["log"] * 100, "finish finished"]
    assert (mirror.num_told, mirror.num_logged) == (100, 100)


@pytest.mark.parametrize("remote", [True, False])
def test_a_tracker_that_falls_behind_gets_the_beginning_and_its_end(start, remote):
    tracker = Held("log", remote=remote)
    mirror = Mirror(tracker, longest_queue=3)
    mirror.start(start)
    for step in range(50):
        mirror.log({"x": 1.0}, step)
    tracker.sign.set()
    with pytest.warns(UserWarning, match=r"too slow\) and lacks 4\d lines") as caught:
        mirror.finish("finished", {})
    assert len(caught) == 1
    assert tracker.calls == ["start", *["log"] * mirror.num_told, "finish finished"]
    assert 0 < mirror.num_told < 10


def test_a_tracker_that_hangs_does_not_keep_the_run_from_its_end(start):
    tracker = Held("log", remote=True)
    mirror = Mirror(tracker, last_words_s=0.05)
    mirror.start(start)
    mirror.log({"x": 1.0}, 0)
    with pytest.warns(UserWarning, match=r"hung for 0\.05 s at the end\) and lacks 1 lines"):
        mirror.finish("finished", {})
    tracker.sign.set()


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
    mirror = Mirror(tracker)
    writer = RunWriter(Journal(tmp_path / "metrics.jsonl"), mirror)
    writer.log({"val/uar": 0.5}, 10, epoch=1, fold=2)
    writer.log({"val/uar": 0.6}, 20)
    writer.close()
    mirror.finish("finished", {})
    assert given == [({"fold2/val/uar": 0.5}, 10), ({"val/uar": 0.6}, 20)]
    lines = [{"fold": 2, "epoch": 1, "step": 10, "val/uar": 0.5}, {"step": 20, "val/uar": 0.6}]
    assert read_journal(tmp_path / "metrics.jsonl") == lines


def test_a_writer_travels_to_a_spawned_process_without_its_tracker(tmp_path, start):
    tracker = Broken()
    tracker.lock = threading.Lock()  # cannot be pickled
    mirror = Mirror(tracker)
    writer = RunWriter(Journal(tmp_path / "metrics.jsonl"), mirror)
    writer.log({"x": 1.0}, 0)
    other = pickle.loads(pickle.dumps(writer))
    other.log({"x": 2.0}, 1)
    other.close()
    writer.close()
    assert [line["x"] for line in read_journal(tmp_path / "metrics.jsonl")] == [1.0, 2.0]
    mirror.finish("finished", {})
    assert tracker.calls == ["log", "finish finished"]
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


def test_trackio_holds_every_row_of_every_run_and_nothing_connects(workplace, home, monkeypatch):
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/space")
    monkeypatch.setenv("TRACKIO_SERVER_URL", "http://192.0.2.1:7860")
    mirrored("trackio", "TrackioTracker", "r1:finished r2:failed r1:finished")
    mirrored("trackio", "TrackioTracker", "r3:finished", "r4:interrupted")
    assert list(home.iterdir()) == []
    assert {path.name for path in workplace.iterdir()} == {"home", "runs"}
    assert {path.name for path in (workplace / "runs").iterdir()} == {
        *("r1", "r2", "r3", "r4", ".trackio")
    }
    database = sqlite3.connect(workplace / "runs" / ".trackio" / "emodb.db")
    with contextlib.closing(database):
        ids = dict(
            database.execute("select run_name, count(distinct run_id) from metrics group by 1")
        )
        rows = database.execute(
            "select run_name, step, metrics from metrics order by id"
        ).fetchall()
        config = json.loads(database.execute("select config from configs").fetchone()[0])
    assert ids == {"r1": 1, "r2": 1, "r3": 1, "r4": 1}  # r1 went on as one run
    held = {run: [json.loads(text) for of, _, text in rows if of == run] for run in ids}
    for run in ("r2", "r3", "r4"):
        assert [row["val/uar"] for row in held[run][:-1]] == [step / 20 for step in range(20)]
        assert held[run][-1] == {"test/uar": 0.5}
    assert len(held["r1"]) == 2 * 21
    assert [step for run, step, _ in rows if run == "r3"][:20] == list(range(20))
    assert (config["lr"], config["_Group"]) == (0.1, "emodb/egemaps")


@pytest.mark.parametrize(
    ("status", "exit_code"), [("finished", 0), ("failed", 1), ("interrupted", 1)]
)
@pytest.mark.parametrize(("mode", "resume"), [("offline", None), ("online", "allow")])
def test_wandb_is_told_of_each_run_and_of_its_end(
    start, monkeypatch, status, exit_code, mode, resume
):
    """With a stand-in for the package, so that it is checked where wandb is not installed."""
    wandb = mock.MagicMock()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for name in ("WANDB_SILENT", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, "restored afterwards")
    mirror = Mirror(WandbTracker(mode))
    mirror.start(start)
    mirror.log({"val/uar": 0.5}, 3)
    mirror.finish(status, {"test/uar": 0.6})
    mirror.finish(status, {"test/uar": 0.6})
    told = wandb.init.call_args.kwargs
    assert (told["id"], told["name"], told["group"]) == ("r1", "r1", "emodb/egemaps")
    assert (told["mode"], told["resume"], told["reinit"]) == (mode, resume, "create_new")
    assert (told["config"], told["dir"]) == ({"lr": 0.1}, str(start.folder))
    run = wandb.init.return_value
    run.log.assert_called_once_with({"val/uar": 0.5, "trainer/step": 3})
    run.summary.update.assert_called_once_with({"test/uar": 0.6, "status": status})
    run.finish.assert_called_once_with(exit_code=exit_code)


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="extra wandb not installed")
def test_wandb_offline_needs_no_account_and_keeps_runs_apart(workplace, home):
    mirrored("wandb", "WandbTracker", "r1:finished r2:failed", "r3:finished")
    for run_id in ("r1", "r3", "r2"):
        folder = workplace / "runs" / run_id
        (stored,) = folder.glob(f"wandb/offline-run-*/run-{run_id}.wandb")
        data = stored.read_bytes()
        assert data.count(b"val/uar") >= 20
        assert all(word in data for word in (b"lr", b"emodb/egemaps", b"test/uar"))
    assert b"failed" in stored.read_bytes()
    files = [path for path in workplace.rglob("*") if path.is_file()]
    assert [path for path in files if b"canary-in-argv" in path.read_bytes()] == []
