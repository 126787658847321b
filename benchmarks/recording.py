"""What recording costs a training step: everything logged at each step, with every tracker."""

import importlib.util
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

from benchmarks.rows import Row, row
from polymodal.record.journal import Journal
from polymodal.record.trackers.base import NoTracker, Start, Tracker
from polymodal.record.trackers.mirror import Mirror, Mirrors
from polymodal.record.trackers.mlflow import MlflowTracker
from polymodal.record.trackers.tensorboard import TensorBoardTracker
from polymodal.record.trackers.trackio import TrackioTracker
from polymodal.record.trackers.wandb import WandbTracker
from polymodal.record.writer import RunWriter

STEP_S, NUM_STEPS, NUM_ROUNDS, GOAL = 0.02, 250, 5, 0.01
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
    """What recording adds to steps of 20 ms that compute all the time, as a share of them."""
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        work = _calibrated()
        rows = []
        for name, trackers in _trackers().items():
            shares, waits = _measured(Path(folder) / name, trackers, work)
            what = f"tracker {name}: of a step's time"
            rows.append(row(what, statistics.median(shares), GOAL, "share"))
            rows.append(row(f"tracker {name}: in the writer alone", max(waits), GOAL, "share"))
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


def _measured(folder: Path, trackers: list[Tracker], work: int) -> tuple[list[float], list[float]]:
    """Shares of a step's time, one a round: of everything, and of the writer's calls."""
    folder.mkdir(parents=True)
    mirrors = Mirrors([Mirror(one, type(one).__name__, last_words_s=5) for one in trackers])
    mirrors.start(Start(folder.name, "benchmark", "benchmark", CONFIG, folder))
    writer = RunWriter(Journal(folder / "metrics.jsonl"), mirrors)
    _wait_until_begun(mirrors)
    shares, waits, step = [], [], 0
    for _ in range(NUM_ROUNDS):
        bare, recorded, waited = 0.0, 0.0, 0.0
        for _ in range(NUM_STEPS):  # in turn, so that other work of the machine meets both
            bare += _step(work)
            began = time.thread_time()
            writer.log(SCORES, step)
            waited += time.thread_time() - began
            recorded += _step(work)
            step += 1
        shares.append((recorded + waited - bare) / bare)
        waits.append(waited / bare)
    mirrors.finish("finished", {})
    writer.close()
    return shares, waits


def _wait_until_begun(mirrors: Mirrors) -> None:
    """Lets remote trackers begin, which takes time once and none of a step."""
    for mirror in mirrors.mirrors:
        begun = threading.Event()
        mirror._offer(lambda tracker, begun=begun: begun.set())
        begun.wait(120)


def _step(work: int) -> float:
    """Computes as a step does; the time that it took, that of other threads included."""
    began = time.perf_counter()
    value = 0
    for number in range(work):
        value += number
    return time.perf_counter() - began


def _calibrated() -> int:
    """How much work takes a step's time."""
    work = 100_000
    taken = min(_step(work) for _ in range(20))
    return int(work * STEP_S / taken)
