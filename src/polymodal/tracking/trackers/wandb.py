"""Weights & Biases: offline without an account, online with one."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from polymodal.errors import MissingExtraError
from polymodal.tracking.trackers.base import Start
from polymodal.tracking.trackers.payload import tables

STEP = "trainer/step"
LEVELS = {"finished": "INFO", "interrupted": "WARN"}
READING_S, SENDING_S = 120, 3600


class WandbTracker:
    """Copy a run to Weights & Biases, one of their runs for each of ours.

    Their step is the number of the line in the metrics log, which never falls, and tells a resumed
    run what they have; ours is the score `trainer/step`, over which curves are drawn.

    Args:
        mode: `offline` writes into the run folder, to be uploaded later with `polymodal sync`.
        entity: Team or user; None for the default one.
        alert: Whether W&B sends an alert when the run has ended.
        prediction_tables: Whether to upload prediction tables (ids, labels and outputs) and
            confusion matrices.
    """

    def __init__(
        self,
        mode: Literal["offline", "online"] = "offline",
        entity: str | None = None,
        alert: bool = True,
        prediction_tables: bool = True,
    ) -> None:
        self.mode, self.entity, self.alert = mode, entity, alert
        self.prediction_tables = prediction_tables
        self.remote = mode == "online"
        self.place = f"wandb {mode} {entity or ''}".strip()
        self.run: Any = None

    def start(self, start: Start) -> int | None:
        """Start or resume a run, and return how many lines of the metrics log W&B has.

        Raises:
            MissingExtraError: wandb is not installed.
        """
        held = _held(start) if self.mode == "offline" and start.num_lines else 0
        _set_up(start.folder)
        try:
            import wandb
        except ImportError:
            raise MissingExtraError("wandb", "wandb") from None
        self.folder, self.title = start.folder, start.title
        self.run = wandb.init(
            project=start.project,
            entity=self.entity,
            group=start.group,
            job_type=start.kind,
            tags=list(start.tags),
            id=start.run_id,
            name=start.title,
            config=dict(start.config),
            dir=str(start.folder),
            mode=self.mode,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                console="off",  # it would take over the terminal and copy what is printed
                disable_git=True,
                save_code=False,
                x_disable_meta=True,  # it would copy the command line, secrets included
                x_transaction_log_flush_interval=1.0,  # a kill loses no more than that
                silent=True,
            ),
        )
        self.run.define_metric("*", step_metric=STEP)
        if self.mode == "online":
            held = int(self.run.step)
        self.number = held
        return held

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Pass on the scores of one step."""
        self.run.log({**scores, STEP: step}, step=self.number, commit=True)
        self.number += 1

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """End the run."""
        if self.run is None:
            return
        run, self.run = self.run, None
        run.summary.update({**scores, "status": status})
        if self.prediction_tables:
            _log_tables(run, self.folder)
        if self.alert:
            summary = "\n".join(f"{name} {value:.4g}" for name, value in sorted(scores.items()))
            run.alert(f"{self.title} {status}", summary or status, LEVELS.get(status, "ERROR"))
        run.finish(exit_code=0 if status == "finished" else 1)

    def offline(self, folder: Path) -> "WandbTracker | None":
        """Return what uploads the files that were written offline; None if there are none."""
        if self.mode == "offline" or not _offline_files(folder):
            return None
        return WandbTracker("offline", self.entity, self.alert, self.prediction_tables)

    def send(self, folder: Path) -> None:
        """Upload offline runs with the command of W&B.

        Raises:
            ConnectionError: It could not be uploaded.
        """
        files = _offline_files(folder)
        entity = ["--entity", self.entity] if self.entity else []
        done = _wandb(["sync", *entity, *map(str, files)], SENDING_S)
        left = [file for file in files if not Path(f"{file}.synced").exists()]
        if done.returncode or left:
            lines = [line.removeprefix("wandb: ") for line in done.stdout.splitlines()]
            why = " ".join([line for line in lines if line.strip()][-3:])
            raise ConnectionError(f"wandb sync has not sent {len(left)} files: {why}")


def _set_up(folder: Path) -> None:
    """Keep W&B's files in the run folder, and its reports and messages off."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        os.environ.setdefault(name, str(folder.resolve() / "wandb"))


def _log_tables(run: Any, folder: Path) -> None:
    import wandb

    with tables(folder) as files:
        if not files:
            return
        artifact = wandb.Artifact(f"predictions-{run.id}", "predictions")
        for file in files:
            artifact.add_file(str(file), file.name)
        run.log_artifact(artifact)


def _offline_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def _held(start: Start) -> int:
    """Return how many lines W&B's files have by its own reader: a kill may have lost some."""
    held = 0
    for file in _offline_files(start.folder):
        done = _wandb(["leet", "inspect", "--json", str(file)], READING_S)
        for line in done.stdout.splitlines():
            if '"type":"history"' in line:
                step = json.loads(line).get("history", {}).get("step")
                held = max(held, 1 + int(step.get("num", 0) if isinstance(step, dict) else step))
    return min(held, start.num_lines)


def _wandb(arguments: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wandb", *arguments]
    environ = {name: value for name, value in os.environ.items() if name != "WANDB_SILENT"}
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout_s,
        check=False,
        env=environ,
    )
