"""What recording costs a training step: everything logged at each step, with every tracker."""

import importlib.util
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.rows import Row, row
from polymodal.tracking.metrics_log import MetricsLog
from polymodal.tracking.run_writer import RunWriter
from polymodal.tracking.trackers.background import BackgroundTracker, TrackerGroup
from polymodal.tracking.trackers.base import NoTracker, Start, Tracker
from polymodal.tracking.trackers.mlflow import MlflowTracker
from polymodal.tracking.trackers.tensorboard import TensorBoardTracker
from polymodal.tracking.trackers.trackio import TrackioTracker
from polymodal.tracking.trackers.wandb import WandbTracker

STEP_S, NUM_STEPS, NUM_ROUNDS, GOAL = 0.02, 250, 3, 0.01
SCORES = {f"train/score{number}": number / 7 for number in range(8)}
CONFIG = {"optimizer": {"lr": 1e-3}, "model": {"width": 96, "num_layers": 1}}


class Sleeping(NoTracker):
    """Takes half a second for each line, as a server does that is far too slow."""

    remote = True

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Sleeps."""
        time.sleep(0.5)


class Refusing(NoTracker):
    """Raises at each line, as a server does that is down."""

    remote = True

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Raises."""
        raise ConnectionError("refused")


def recording() -> list[Row]:
    """What recording every step of 20 ms costs, as a share of it."""
    warnings.filterwarnings("ignore")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, trackers in _trackers().items():
            cpu, call = _measured(Path(folder) / name, trackers)
            rows.append(row(f"tracker {name}: CPU of all threads", cpu, GOAL, "share"))
            rows.append(row(f"tracker {name}: a call, median", call, GOAL, "share"))
    return rows


def _trackers() -> dict[str, list[Tracker]]:
    """Name to the trackers, of those that are installed."""
    known: dict[str, list[Tracker]] = {
        "none": [],
        "trackio": [TrackioTracker()],
        "tensorboard": [TensorBoardTracker()],
        "mlflow": [MlflowTracker()],
        "wandb": [WandbTracker()],
        "that sleeps": [Sleeping()],
        "that refuses": [Refusing()],
    }
    return {
        name: trackers
        for name, trackers in known.items()
        if not trackers or " " in name or importlib.util.find_spec(name)
    }


def _measured(folder: Path, trackers: list[Tracker]) -> tuple[float, float]:
    """Shares of a step: CPU time that recording adds in this process, and the wait for a call.

    The same loop without recording is measured in turn, in the same process. CPU time is what a
    step would lose at most, were there one core for all threads; it is not moved by what else the
    machine does. Trackers' own processes are not in it.
    """
    folder.mkdir(parents=True)
    mirrors = TrackerGroup(
        [BackgroundTracker(one, type(one).__name__, last_words_s=5) for one in trackers]
    )
    mirrors.start(Start(folder.name, "benchmark", "benchmark", CONFIG, folder))
    writer = RunWriter(MetricsLog(folder / "metrics.jsonl"), mirrors)
    _wait_until_begun(mirrors)
    shares, calls = [], []
    for _ in range(NUM_ROUNDS):
        bare, _ = _loop(lambda step: None)
        recorded, taken = _loop(lambda step: writer.log(SCORES, step))
        shares.append((recorded - bare) / (NUM_STEPS * STEP_S))
        calls += taken
    mirrors.finish("finished", {})
    writer.close()
    return statistics.median(shares), statistics.median(calls) / STEP_S


def _loop(log: Callable[[int], None]) -> tuple[float, list[float]]:
    """CPU time of steps that wait, as for a device, and the time that each call took."""
    began, calls = time.process_time(), []
    for step in range(NUM_STEPS):
        before = time.perf_counter()
        log(step)
        calls.append(time.perf_counter() - before)
        time.sleep(max(0.0, STEP_S - calls[-1]))
    return time.process_time() - began, calls


def _wait_until_begun(mirrors: TrackerGroup) -> None:
    """Lets remote trackers begin, which takes time once and none of a step."""
    for mirror in mirrors.mirrors:
        begun = threading.Event()
        mirror._offer(lambda tracker, begun=begun: begun.set())
        begun.wait(120)
