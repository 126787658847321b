"""Whatever a tracker does, the run goes on and its folder has everything."""

import json
import pickle
import sys
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from polymodal.tracking.metrics_log import MetricsLog, num_steps, read_metrics
from polymodal.tracking.run_writer import NullWriter, RunWriter
from polymodal.tracking.trackers.background import BackgroundTracker, TrackerGroup
from polymodal.tracking.trackers.base import NoTracker, Start, Tracker
from polymodal.tracking.trackers.mlflow import MlflowTracker
from polymodal.tracking.trackers.tensorboard import TensorBoardTracker
from polymodal.tracking.trackers.trackio import TrackioTracker
from polymodal.tracking.trackers.wandb import WandbTracker


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
    mirror = BackgroundTracker(tracker)
    writer = RunWriter(MetricsLog(tmp_path / "metrics.jsonl"), mirror)

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
    assert [line["x"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1.0, 2.0]


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
    mirror = BackgroundTracker(tracker)
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


def test_a_resumed_run_tells_a_remote_tracker_what_it_lacks_before_what_comes(tmp_path, start):
    lines = [json.dumps({"step": step, "x": float(step)}) for step in range(6)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    told, ended = [], []

    class Server:
        remote = True

        def start(self, start):
            return 2  # lines that it has

        def log(self, scores, step):
            told.append(step)

        def finish(self, status, scores):
            ended.append(status)

    mirror = BackgroundTracker(Server())
    mirror.start(replace(start, num_lines=6))
    for step in (6, 7, 8):
        mirror.log({"x": 1.0}, step)
    mirror.finish("finished", {})
    assert (told, ended) == ([2, 3, 4, 5, 6, 7, 8], ["finished"])


def test_a_password_in_an_address_is_not_in_the_warning(start):
    mirror = BackgroundTracker(
        Broken("start", error=ConnectionError("http://me:secretpw99@host/api is down"))
    )
    with pytest.warns(UserWarning, match="failed") as caught:
        mirror.start(start)
    assert "secretpw99" not in str(caught[0].message)


@pytest.mark.parametrize("remote", [True, False])
def test_a_tracker_that_falls_behind_gets_the_beginning_and_its_end(start, remote):
    tracker = Held("log", remote=remote)
    mirror = BackgroundTracker(tracker, longest_queue=3)
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
    mirror = BackgroundTracker(tracker, last_words_s=0.05)
    mirror.start(start)
    mirror.log({"x": 1.0}, 0)
    with pytest.warns(UserWarning, match=r"hung for 0\.05 s at the end\) and lacks 1 lines"):
        mirror.finish("finished", {})
    tracker.sign.set()


def test_the_warning_is_one_line_and_never_an_error(start):
    with pytest.warns(UserWarning, match="no route; to host.*run folder has everything"):
        BackgroundTracker(Broken("start")).start(start)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BackgroundTracker(Broken("start")).start(start)


def test_an_interrupt_is_not_swallowed(start):
    with pytest.raises(KeyboardInterrupt):
        BackgroundTracker(Broken("start", error=KeyboardInterrupt())).start(start)


def test_the_journal_has_what_the_mirror_is_given_and_folds_stay_apart(tmp_path, start):
    given = []
    tracker = Broken()
    tracker.log = lambda scores, step: given.append((dict(scores), step))
    mirror = BackgroundTracker(tracker)
    writer = RunWriter(MetricsLog(tmp_path / "metrics.jsonl"), mirror)
    writer.log({"val/uar": 0.5}, 10, epoch=1, fold=2)
    writer.log({"val/uar": 0.6}, 20)
    writer.close()
    mirror.finish("finished", {})
    assert given == [({"fold2/val/uar": 0.5}, 10), ({"val/uar": 0.6}, 20)]
    lines = [{"fold": 2, "epoch": 1, "step": 10, "val/uar": 0.5}, {"step": 20, "val/uar": 0.6}]
    assert read_metrics(tmp_path / "metrics.jsonl") == lines


def test_a_writer_travels_to_a_spawned_process_without_its_tracker(tmp_path, start):
    tracker = Broken()
    tracker.lock = threading.Lock()  # cannot be pickled
    mirror = BackgroundTracker(tracker)
    writer = RunWriter(MetricsLog(tmp_path / "metrics.jsonl"), mirror)
    writer.log({"x": 1.0}, 0)
    other = pickle.loads(pickle.dumps(writer))
    other.log({"x": 2.0}, 1)
    other.close()
    writer.close()
    assert [line["x"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1.0, 2.0]
    mirror.finish("finished", {})
    assert tracker.calls == ["log", "finish finished"]
    NullWriter().log({"x": 3.0}, 2)


@pytest.mark.parametrize(
    "tracker",
    [
        *(NoTracker(), TrackioTracker(), WandbTracker(), TensorBoardTracker(), MlflowTracker()),
        Broken(),
    ],
)
def test_every_tracker_has_the_same_methods(tracker):
    assert isinstance(tracker, Tracker)


@pytest.mark.parametrize("missing", ["trackio", "wandb", "tensorboard", "mlflow"])
def test_a_tracker_that_is_not_installed_names_its_extra(start, monkeypatch, missing):
    hidden = [name for name in sys.modules if name.partition(".")[0] == missing]
    for name in (missing, *hidden):
        monkeypatch.setitem(sys.modules, name, None)
    names = ("TRACKIO_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "MLFLOW_DISABLE_TELEMETRY")
    for name in (*names, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "restored afterwards")
    tracker = {
        "trackio": TrackioTracker,
        "wandb": WandbTracker,
        "tensorboard": TensorBoardTracker,
        "mlflow": MlflowTracker,
    }[missing]()
    mirror = BackgroundTracker(tracker)

    def run():
        mirror.start(start)
        mirror.finish("finished", {})

    with pytest.warns(UserWarning, match=f"polymodal.{missing}."):
        run()


class Gathering(Broken):
    """Has taken a line only when it is flushed."""

    def __init__(self, *where: str) -> None:
        super().__init__(*where)
        self.rows: list[tuple[dict[str, float], int]] = []

    def log(self, scores, step) -> None:
        super().log(scores, step)
        self.rows.append((dict(scores), step))

    def flush(self) -> None:
        self._called("flush")


def note(folder: Path, name: str = "tracker") -> dict:
    return json.loads((folder / "trackers" / f"{name}.json").read_text())[name]


def test_the_run_folder_says_how_far_a_tracker_is(tmp_path, start):
    tracker = Gathering()
    mirror = BackgroundTracker(tracker, gather_s=0)
    mirror.start(start)
    mirror.log({"x": 1.0}, 0)
    mirror.log({"x": 2.0}, 1)
    mirror.finish("finished", {})
    assert note(tmp_path) == {"lines": 2, "status": "finished"}


def test_lines_that_were_not_flushed_count_as_missing(tmp_path, start):
    mirror = BackgroundTracker(Gathering("flush"))
    mirror.start(start)
    mirror.log({"x": 1.0}, 0)
    with pytest.warns(UserWarning, match="lacks 1 lines.*`polymodal sync r1` delivers it"):
        mirror.finish("finished", {})
    assert TrackerGroup([mirror]).lacking() == {"tracker": 1}
    assert not (tmp_path / "trackers").exists()


def test_a_run_that_goes_on_delivers_first_what_is_missing(tmp_path, start):
    """The first process was killed when its tracker had one of three lines."""
    journal = tmp_path / "metrics.jsonl"
    first = BackgroundTracker(Gathering())
    first.start(start)
    writer = RunWriter(MetricsLog(journal), first)
    writer.log({"x": 1.0}, 0, fold=0)
    first.finish("failed", {})
    for step in (1, 2):
        RunWriter(MetricsLog(journal), TrackerGroup([])).log({"x": float("nan")}, step, fold=0)
    tracker = Gathering()
    second = BackgroundTracker(tracker)
    second.start(Start("r1", "p", "g", {}, tmp_path, num_lines=num_steps(journal)))
    RunWriter(MetricsLog(journal), second).log({"x": 4.0}, 3)
    second.finish("finished", {})
    assert [(list(scores), step) for scores, step in tracker.rows] == [
        *((["fold0/x"], 1), (["fold0/x"], 2), (["x"], 3))
    ]
    assert note(tmp_path)["lines"] == num_steps(journal) == 4


def test_a_tracker_that_knows_how_much_it_has_is_believed(tmp_path):
    for step in range(5):
        MetricsLog(tmp_path / "metrics.jsonl").log({"x": 1.0}, step=step)
    tracker = Gathering()
    tracker.start = lambda start: 3
    mirror = BackgroundTracker(tracker)
    mirror.start(Start("r1", "p", "g", {}, tmp_path, num_lines=5))
    mirror.finish("finished", {})
    assert [step for _, step in tracker.rows] == [3, 4]


def test_of_several_trackers_each_fails_alone(tmp_path, start):
    good, bad = Gathering(), Broken("log")
    mirrors = TrackerGroup([BackgroundTracker(bad, "bad"), BackgroundTracker(good, "good")])
    mirrors.start(start)
    mirrors.log({"x": 1.0}, 0)
    with pytest.warns(UserWarning, match="Broken failed") as caught:
        mirrors.finish("finished", {"test/x": 1.0})
    assert len(caught) == 1
    assert (len(good.rows), good.calls[-1]) == (1, "finish finished")
    assert mirrors.lacking() == {"bad": 1}


def test_several_that_hang_have_together_as_long_as_one(start):
    held = [Held("log", remote=True) for _ in range(3)]
    mirrors = TrackerGroup([BackgroundTracker(one, last_words_s=0.2) for one in held])
    mirrors.start(start)
    mirrors.log({"x": 1.0}, 0)
    with pytest.warns(UserWarning, match="hung") as caught:
        mirrors.finish("finished", {})
    assert len(caught) == 3
    for one in held:
        one.sign.set()


def test_long_lines_do_not_fill_the_memory(start, monkeypatch):
    monkeypatch.setattr("polymodal.tracking.trackers.background.MAX_VALUES", 1000)
    tracker = Held("start", remote=True)
    mirror = BackgroundTracker(tracker)
    mirror.start(start)
    for step in range(50):
        mirror.log({f"x{number}": 1.0 for number in range(100)}, step)
    tracker.sign.set()
    with pytest.warns(UserWarning, match=r"too slow\) and lacks 39 lines"):
        mirror.finish("finished", {})
