"""How the processes of one distributed run agree on one folder."""

import os
import time
from pathlib import Path

import torch.distributed
from pytorch_lightning.utilities import rank_zero_only

from polymodal.errors import RunError

FOLDER = "POLYMODAL_RUN_FOLDER"
WAIT_S = 120.0


def rank() -> int:
    """Returns the rank of this process as its launcher says it; 0 without a launcher."""
    return int(getattr(rank_zero_only, "rank", 0) or 0)


def publish_run_dir(folder: Path, runs: Path) -> None:
    """Tells the other processes of this run which folder it has, from rank zero.

    Args:
        folder: The run folder.
        runs: The folder of all runs.
    """
    os.environ[FOLDER] = str(folder)  # Lightning's own launcher passes the environment on
    if note := _note(runs):
        note.parent.mkdir(parents=True, exist_ok=True)
        beside = note.with_suffix(".part")
        beside.write_text(str(folder), encoding="utf-8")
        beside.replace(note)


def clear_run_dir(runs: Path) -> None:
    """Takes the announcement back when the run has ended.

    Args:
        runs: The folder of all runs.
    """
    os.environ.pop(FOLDER, None)
    if note := _note(runs):
        note.unlink(missing_ok=True)


def wait_for_run_dir(runs: Path) -> Path:
    """Returns the folder that rank zero has made, waiting for it under torchrun or SLURM.

    Args:
        runs: The folder of all runs.

    Returns:
        The run folder.

    Raises:
        RunError: Rank zero has announced none in time.
    """
    if FOLDER in os.environ:
        return Path(os.environ[FOLDER])
    note = _note(runs)
    deadline = time.monotonic() + WAIT_S
    while note and time.monotonic() < deadline:
        if note.is_file():
            return Path(note.read_text(encoding="utf-8"))
        time.sleep(0.1)
    raise RunError(
        f"rank {rank()} was not told the run folder of rank 0",
        hint="let all ranks share the folder of runs (paths.runs)",
    )


def _note(runs: Path) -> Path | None:
    """A file that the ranks of one torchrun or SLURM step name alike, and no other run does."""
    environment = os.environ
    if step := environment.get("SLURM_STEP_ID"):
        job, again = environment.get("SLURM_JOB_ID"), environment.get("SLURM_RESTART_COUNT", 0)
        return runs / ".launch" / f"slurm-{job}-{step}-{again}"
    if job := environment.get("TORCHELASTIC_RUN_ID"):
        again = environment.get("TORCHELASTIC_RESTART_COUNT", 0)
        parts = (job, environment.get("MASTER_PORT"), os.getppid(), again)
        return runs / ".launch" / "-".join(map(str, parts))
    return None


def destroy_process_group() -> None:
    """Takes this process out of the group of all ranks, when its work is done.

    A group that is left to the end of the interpreter now and then aborts the process there.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
