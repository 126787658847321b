"""MLflow, against a database and against a real server on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from pathlib import Path

import pytest

from polymodal.errors import RunFailedError
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.metrics_log import MetricsLog, num_steps
from polymodal.tracking.run_writer import RunWriter
from polymodal.tracking.trackers.background import BackgroundTracker
from polymodal.tracking.trackers.base import Start
from polymodal.tracking.trackers.mlflow import MlflowTracker
from polymodal.tracking.trackers.sync import upload_missing

pytest.importorskip("mlflow")
STARTED_S = 120


@pytest.fixture(scope="module", autouse=True)
def settings():
    """What the tracker sets in the environment ends with this module."""
    before = dict(os.environ)
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    yield
    os.environ.clear()
    os.environ |= before


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> str:
    """An empty database, its tables made once."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server on loopback, ended with all its processes."""
    pytest.importorskip("flask")
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    artifacts = ["--artifacts-destination", str(folder / "artifacts")]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words, *store, *artifacts],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=folder,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    try:
        yield _answering(f"http://127.0.0.1:{port}", process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answering(address: str, process: subprocess.Popen) -> str:
    deadline = time.monotonic() + STARTED_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return address
        except OSError:
            time.sleep(0.5)
    pytest.fail("the server did not start")


def start(folder: Path, run_id: str = "r1", lines: int = 0, config=None) -> Start:
    folder.mkdir(exist_ok=True)
    options = config or {"lr": 0.1, "model": {"a@b": "x" * 9000}}
    return Start(
        run_id, "mlp-emodb", "emodb/egemaps", options, folder, f"lr=0.1 {run_id}", num_lines=lines
    )


def found(uri: str, run_id: str):
    """The run as MLflow has it, and the history of a score."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("mlp-emodb").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`polymodal.run_id` = '{run_id}'")
    history = client.get_metric_history(run.info.run_id, "val/uar")
    return run, sorted((one.step, one.value) for one in history)


def record_a_run(uri: str, folder: Path, run_id: str, status: str, steps: range) -> None:
    """One process of a run: some lines, then its end."""
    folder.mkdir(exist_ok=True)
    journal = folder / "metrics.jsonl"
    mirror = BackgroundTracker(MlflowTracker(uri), "mlflow", last_words_s=120)
    mirror.start(start(folder, run_id, num_steps(journal)))
    writer = RunWriter(MetricsLog(journal), mirror)
    for step in steps:
        scores = {"val/uar": step / 10, "test@speech+text/uar": float("nan"), "x": float("inf")}
        writer.log(scores, step)
    mirror.finish(status, {"test/uar": 0.5})
    writer.close()


@pytest.mark.parametrize("where", ["database", pytest.param("server", marks=pytest.mark.slow)])
class TestOneRun:
    def test_every_row_the_options_and_the_end_are_there(self, request, where, tmp_path):
        uri = request.getfixturevalue(where)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            record_a_run(uri, tmp_path / "r1", "r1", "finished", range(30))
        run, history = found(uri, "r1")
        assert history == [(step, step / 10) for step in range(30)]
        assert (run.info.status, run.info.run_name) == ("FINISHED", "lr=0.1 r1")
        assert run.data.metrics["test/uar"] == 0.5
        assert run.data.params["lr"] == "0.1"
        assert len(run.data.params["model.a_b"]) == 6000
        assert run.data.tags["polymodal.lines"] == "30"
        assert run.data.tags["group"] == "emodb/egemaps"

    def test_a_run_that_failed_goes_on_as_the_same_one(self, request, where, tmp_path):
        uri = request.getfixturevalue(where)
        record_a_run(uri, tmp_path / "r2", "r2", "interrupted", range(5))
        assert found(uri, "r2")[0].info.status == "KILLED"
        record_a_run(uri, tmp_path / "r2", "r2", "finished", range(5, 8))
        run, history = found(uri, "r2")
        assert (run.info.status, len(history)) == ("FINISHED", 8)

    def test_what_it_has_is_not_delivered_twice(self, request, where, tmp_path):
        """Also where the run folder has forgotten, as after a kill, how far the tracker was."""
        uri = request.getfixturevalue(where)
        folder = tmp_path / "r3"
        record_a_run(uri, folder, "r3", "interrupted", range(5))
        (folder / "trackers" / "mlflow.json").unlink()
        for step in range(5, 2000):
            RunWriter(
                MetricsLog(folder / "metrics.jsonl"), BackgroundTracker(MlflowTracker(uri))
            ).journal.log({"val/uar": step / 10}, step=step)
        record = RunRecord("r3", "x", "killed", notes={"project": "mlp-emodb"})
        done = upload_missing(MlflowTracker(uri), "mlflow", record, {}, folder)
        assert (done.lines, done.held) == (1995, 2000)
        again = upload_missing(MlflowTracker(uri), "mlflow", record, {}, folder)
        assert (again.lines, again.held) == (0, 2000)
        run, history = found(uri, "r3")
        assert history == [(step, step / 10) for step in range(2000)]
        assert run.info.status == "KILLED"


def test_more_scores_than_a_request_may_hold(database, tmp_path):
    tracker = MlflowTracker(database)
    tracker.start(start(tmp_path / "r4", "r4"))
    tracker.log({f"score{number}": float(number) for number in range(2500)}, 0)
    tracker.finish("finished", {})
    run, _ = found(database, "r4")
    assert len(run.data.metrics) == 2500
    assert run.data.tags["polymodal.lines"] == "1"


def test_a_server_that_is_down_is_one_warning_and_sync_says_so(tmp_path):
    folder = tmp_path / "r5"
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))  # nobody listens
        uri = f"http://127.0.0.1:{refusing.getsockname()[1]}"
        with pytest.warns(UserWarning, match="MlflowTracker failed.*lacks 3 lines") as caught:
            record_a_run(uri, folder, "r5", "finished", range(3))
        assert len([one for one in caught if one.category is UserWarning]) == 1
        record = RunRecord("r5", "x", "finished")
        with pytest.raises(RunFailedError, match="lacks 3 lines of it"):
            upload_missing(MlflowTracker(uri), "mlflow", record, {}, folder)


PROCESS = """
import sys
from pathlib import Path
from polymodal.tracking.trackers.base import Start
from polymodal.tracking.trackers.mlflow import MlflowTracker
folder = Path(sys.argv[1]); folder.mkdir(parents=True)
tracker = MlflowTracker()
tracker.start(Start(folder.name, "p", "g", {"lr": 0.1}, folder))
for step in range(10):
    tracker.log({"val/uar": step / 10}, step)
tracker.finish("finished", {})
"""


@pytest.mark.slow
def test_processes_that_make_the_database_at_once_lose_nothing(tmp_path):
    """Without the lock most of them fail while the tables are made."""
    from mlflow.tracking import MlflowClient

    commands = [
        [sys.executable, "-c", PROCESS, str(tmp_path / "runs" / f"r{number}")]
        for number in range(8)
    ]
    processes = [subprocess.Popen(one, stderr=subprocess.PIPE) for one in commands]
    said = [one.communicate(timeout=300)[1] for one in processes]
    assert [one.returncode for one in processes] == [0] * 8, said
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / '.mlflow' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("p").experiment_id])
    assert sorted(run.data.tags["polymodal.run_id"] for run in runs) == [
        f"r{number}" for number in range(8)
    ]
    for run in runs:
        assert len(client.get_metric_history(run.info.run_id, "val/uar")) == 10
