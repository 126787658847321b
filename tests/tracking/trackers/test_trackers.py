"""What trackers hold of a run, read back with their own readers; nothing leaves the machine."""

import contextlib
import importlib.util
import inspect
import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from polymodal.schemas.predictions import PredictionTable
from polymodal.tracking.metrics_log import read_metrics

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
# One process: a run for each word `id:status`, one after the other. Nothing may connect.
MIRRORED = '''
import os, socket, sys, time
from pathlib import Path
from polymodal.tracking.metrics_log import MetricsLog, num_steps
from polymodal.tracking.trackers.base import Start
from polymodal.tracking.trackers.background import BackgroundTracker
from polymodal.tracking.trackers.TRACKER import CLASS
from polymodal.tracking.run_writer import RunWriter

def refuse(self, address, *rest):
    if self.family != socket.AF_UNIX and address[0] != "127.0.0.1":
        raise AssertionError(f"network: {address}")
    return connect(self, address, *rest)

def wait_until(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

def rows_on_disk(folder):
    """Rows that W&B's own process, which goes on a while after this one, has written."""
    return sum(path.read_bytes().count(b"val/uar") for path in folder.glob("wandb/*/*.wandb"))

connect, socket.socket.connect = socket.socket.connect, refuse
runs = Path(sys.argv[1])
for run_id, status in (word.split(":") for word in sys.argv[3:]):
    folder = runs / run_id
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / "metrics.jsonl"
    mirror = BackgroundTracker(CLASS(), gather_s=0.05)
    config = {"lr": 0.1, "token": "***", "model": {"sizes": [1, 2]}}
    name, kept = f"lr=0.1 {run_id}", num_steps(journal)
    tags = ("run", "emodb", "speech")
    start = Start(run_id, "mlp-emodb", "emodb/egemaps", config, folder, name, "run", tags, kept)
    mirror.start(start)
    writer = RunWriter(MetricsLog(journal), mirror)
    for step in range(20):
        writer.log({"val/uar": step / 20, "val/loss": float("nan")}, step)
        if status == "killed" and step == 10:
            wait_until(lambda: mirror.num_told >= kept + 11)
            wait_until(lambda: "TRACKER" != "wandb" or rows_on_disk(folder) >= 11)
    if status == "killed":
        os.kill(os.getpid(), 9)
    mirror.finish(status, {"test/uar": 0.5})
    mirror.finish(status, {"test/uar": 0.5})
print("the run's own line")
'''
Rows = list[tuple[int, dict[str, float]]]


@pytest.fixture
def mirrored(workplace: Path, home: Path) -> Callable[..., None]:
    """Runs processes at once, each with the runs that it is told, and waits for them."""

    def call(tracker: str, name: str, *processes: str) -> None:
        code = MIRRORED.replace("TRACKER", tracker).replace("CLASS", name)
        command = [sys.executable, "-c", code, "runs", "tracker.token=canary-in-argv"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started = [subprocess.Popen([*command, *words.split()], **pipes) for words in processes]
        said = [process.communicate(timeout=120) for process in started]
        killed = ["killed" in words for words in processes]
        assert said == [("" if one else "the run's own line\n", "") for one in killed]
        assert [process.returncode for process in started] == [-9 * one for one in killed]
        assert list(home.iterdir()) == []
        assert {path.name for path in workplace.iterdir()} == {"home", "runs"}

    return call


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


def trackio_rows(database: Path) -> dict[str, Rows]:
    """Run id to its rows, as they stand in trackio's database."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("select run_id, step, metrics from metrics order by id")
        held: dict[str, Rows] = {}
        for run, step, text in rows:
            held.setdefault(run, []).append((step, json.loads(text)))
    return held


def test_trackio_holds_every_row_of_every_run_once(workplace, mirrored, monkeypatch):
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/space")
    monkeypatch.setenv("TRACKIO_SERVER_URL", "http://192.0.2.1:7860")
    mirrored("trackio", "TrackioTracker", "r1:finished r2:failed r1:finished")
    mirrored("trackio", "TrackioTracker", "r3:killed", "r4:interrupted")
    mirrored("trackio", "TrackioTracker", "r3:finished")
    database = workplace / "runs" / ".trackio" / "mlp-emodb.db"
    held = trackio_rows(database)
    assert {run: len(rows) for run, rows in held.items()} == {
        **{"r1": 2 * 21, "r2": 21, "r3": 2 * 20 + 1, "r4": 21}  # r3 was killed before its end
    }
    for rows in held.values():
        assert [row["val/uar"] for _, row in rows[:20]] == [step / 20 for step in range(20)]
        assert [step for step, _ in rows[:20]] == list(range(20))
        assert rows[-1][1] == {"test/uar": 0.5}
    with contextlib.closing(sqlite3.connect(database)) as connection:
        names = dict(connection.execute("select run_id, run_name from metrics"))
        config = json.loads(connection.execute("select config from configs").fetchone()[0])
    assert names["r3"] == "lr=0.1 r3"
    assert (config["lr"], config["_Group"]) == (0.1, "emodb/egemaps")


@pytest.mark.slow
def test_eight_processes_in_a_fresh_store_lose_nothing(workplace, mirrored):
    """24 rounds, each with a store of its own: every row of the journal is in trackio."""
    for number in range(24):
        processes = [f"{number}-{process}:finished" for process in range(8)]
        mirrored("trackio", "TrackioTracker", *processes)
        database = workplace / "runs" / ".trackio" / "mlp-emodb.db"
        held = trackio_rows(database)
        for process in range(8):
            run = f"{number}-{process}"
            journal = read_metrics(workplace / "runs" / run / "metrics.jsonl")
            assert len(journal) == 20
            assert [row.get("val/uar") for _, row in held[run]] == [
                *(line["val/uar"] for line in journal),
                None,
            ]
        for path in database.parent.iterdir():
            path.unlink()


def test_tensorboard_reads_every_row_and_the_options(workplace, mirrored):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    mirrored("tensorboard", "TensorBoardTracker", "r1:finished r2:killed", "r3:finished")
    mirrored("tensorboard", "TensorBoardTracker", "r1:failed r2:finished")
    folder = workplace / "runs" / ".tensorboard" / "mlp-emodb"
    assert {path.name for path in folder.iterdir()} == {"lr=0.1 r1", "lr=0.1 r2", "lr=0.1 r3"}
    for run, times, success in (("r1", 2, False), ("r2", 2, True), ("r3", 1, True)):
        events = EventAccumulator(str(folder / f"lr=0.1 {run}"))
        events.Reload()
        assert sorted(events.Tags()["scalars"]) == ["test/uar", "val/loss", "val/uar"]
        told = [(one.step, round(one.value, 4)) for one in events.Scalars("val/uar")]
        assert told == times * [(step, step / 20) for step in range(20)]
        assert all(np.isnan(one.value) for one in events.Scalars("val/loss"))
        content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        begun = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
        assert begun.hparams["lr"].number_value == 0.1
        assert begun.hparams["model.sizes"].string_value == "[1, 2]"
        content = events.summary_metadata["_hparams_/session_end_info"].plugin_data.content
        ended = plugin_data_pb2.HParamsPluginData.FromString(content).session_end_info
        assert (ended.status == 1) is success


def test_tensorboard_is_written_without_torch():
    pytest.importorskip("tensorboard")
    code = (
        "import sys; from pathlib import Path; from polymodal.tracking.trackers.base import Start; "
        "from polymodal.tracking.trackers.tensorboard import TensorBoardTracker as T; t = T(); "
        "t.start(Start('r', 'p', 'g', {}, Path(sys.argv[1]) / 'r')); t.finish('finished', {}); "
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(__import__("tempfile").TemporaryDirectory())
        done = subprocess.run([*command, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def wandb_records(folder: Path) -> list[dict]:
    """The records of a run's offline files, as W&B's own reader prints them."""
    records = []
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        records += [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]
    return records


def told(records: list[dict], kind: str) -> list[dict]:
    return [record[kind] for record in records if record["type"] == kind]


def predictions(folder: Path) -> None:
    """Writes a prediction table that names speakers, as every run does."""
    table = PredictionTable.from_logits(
        ["u1", "u2", "u3"],
        np.eye(3, 2, dtype=np.float32),
        np.array([0, 1, 1]),
        ["joy", "fear"],
        split="test",
    )
    speakers = pl.DataFrame({"utterance_id": ["u1", "u2", "u3"], "speaker": ["c4nary"] * 3})
    (folder / "predictions").mkdir(parents=True)
    table.with_speakers(speakers).write(folder / "predictions" / "test.parquet")


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="extra wandb not installed")
class TestWandb:
    def test_its_files_have_the_run_the_config_and_every_row(self, workplace, mirrored):
        predictions(workplace / "runs" / "r1")
        mirrored("wandb", "WandbTracker", "r1:finished", "r2:failed")
        records = wandb_records(workplace / "runs" / "r1")
        (run,) = told(records, "run")
        assert (run["run_id"], run["display_name"]) == ("r1", "lr=0.1 r1")
        assert (run["project"], run["run_group"], run["job_type"]) == (
            *("mlp-emodb", "emodb/egemaps", "run"),
        )
        assert run["tags"] == ["run", "emodb", "speech"]
        assert run["config"]["update"]["lr"] == 0.1
        rows = [one["item"] for one in told(records, "history")]
        assert [row["val/uar"] for row in rows] == [step / 20 for step in range(20)]
        assert [row["trainer/step"] for row in rows] == list(range(20))
        assert [row["_step"] for row in rows] == list(range(20))
        (alert,) = told(records, "alert")
        assert (alert["title"], alert["text"]) == ("lr=0.1 r1 finished", "test/uar 0.5")
        (artifact,) = told(records, "artifact")
        assert artifact["name"] == "predictions-r1"
        files = {one["path"]: one["local_path"] for one in artifact["manifest"]["contents"]}
        assert set(files) == {"confusion-test.csv", "predictions-test.csv"}
        table = Path(files["predictions-test.csv"]).read_text()
        assert table.splitlines()[0] == (
            "utterance_id,split,fold,seed,label,predicted,logit_joy,logit_fear,probability_joy,probability_fear"
        )
        assert Path(files["confusion-test.csv"]).read_text() == (
            "label,predicted,utterances\nfear,fear,1\nfear,joy,1\njoy,joy,1\n"
        )
        ends = told(wandb_records(workplace / "runs" / "r2"), "exit")
        assert [one["exit_code"] for one in (*told(records, "exit"), *ends)] == [0, 1]
        kept = [path for path in workplace.rglob("*") if path.is_file()]
        secret = [path for path in kept if b"canary-in-argv" in path.read_bytes()]
        assert secret == []
        named = [path.suffix for path in kept if b"c4nary" in path.read_bytes()]
        assert named in ([], [".parquet"])

    @pytest.mark.slow
    def test_a_run_that_was_killed_goes_on_as_one_run_without_a_gap(self, workplace, mirrored):
        mirrored("wandb", "WandbTracker", "r1:killed")
        lost = len(told(wandb_records(workplace / "runs" / "r1"), "history"))
        assert 10 <= lost <= 20
        mirrored("wandb", "WandbTracker", "r1:finished")
        records = wandb_records(workplace / "runs" / "r1")
        assert [(one["run_id"], one["resume"]) for one in told(records, "run")] == [
            ("r1", True)
        ] * 2
        rows = [one["item"] for one in told(records, "history")]
        assert [row["_step"] for row in rows] == list(range(40))
        assert [row["val/uar"] for row in rows] == 2 * [step / 20 for step in range(20)]

    @pytest.mark.slow
    def test_online_without_an_account_is_one_warning(self, workplace, home):
        code = (
            "from pathlib import Path; from polymodal.tracking.trackers.base import Start; "
            "from polymodal.tracking.trackers.background import BackgroundTracker; "
            "from polymodal.tracking.trackers.wandb import WandbTracker; "
            "m = BackgroundTracker(WandbTracker('online')); Path('r').mkdir(); "
            "m.start(Start('r', 'p', 'g', {}, Path('r'))); m.log({'x': 1.0}, 0); "
            "m.finish('finished', {})"
        )
        environ = {**os.environ, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": ""}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env=environ,
        )
        assert done.stderr.count("WandbTracker failed") == 1, done.stderr
        assert "lacks 1 lines" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_storage_of_trackio_takes_what_it_is_given():
    """It is private, so the pinned minor version is held to the arguments that are used."""
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    used = ("project", "run", "metrics_list", "steps", "config", "log_ids", "run_id")
    assert {*used} <= {*inspect.signature(storage.bulk_log).parameters}
    requirements = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    assert "trackio>=0.43,<0.44" in requirements
