"""How the processes of one distributed run agree on one run directory."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch.distributed
from pytorch_lightning.utilities import rank_zero_only

from polymodal.errors import RunError

FOLDER = "POLYMODAL_RUN_FOLDER"
WAIT_S = 120.0


def rank() -> int:
    """Return the rank of this process according to its launcher; 0 without one."""
    return int(getattr(rank_zero_only, "rank", 0) or 0)


def publish_run_dir(folder: Path, runs: Path) -> None:
    """Publish the directory of this run to its other processes, from rank zero."""
    os.environ[FOLDER] = str(folder)  # for processes that Lightning launches
    if note := _note(runs):
        note.parent.mkdir(parents=True, exist_ok=True)
        tmp_path = note.with_suffix(".part")
        tmp_path.write_text(str(folder), encoding="utf-8")
        tmp_path.replace(note)


def clear_run_dir(runs: Path) -> None:
    """Withdraw what `publish_run_dir` published, when the run has ended."""
    os.environ.pop(FOLDER, None)
    if note := _note(runs):
        note.unlink(missing_ok=True)


def wait_for_run_dir(runs: Path) -> Path:
    """Return the run directory of rank zero, waiting for it under torchrun or SLURM.

    Raises:
        RunError: Rank zero has not published it in time.
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
        f"rank {rank()} does not know the run directory of rank 0",
        hint="let all ranks share the directory of runs (paths.runs)",
    )


def wait_for_files(paths: Sequence[Path]) -> None:
    """Wait until rank zero has written all files.

    Raises:
        RunError: It has not in time.
    """
    deadline = time.monotonic() + WAIT_S
    while missing := [path for path in paths if not path.is_file()]:
        if time.monotonic() > deadline:
            raise RunError(f"rank {rank()} waits for {missing[0]}, which rank 0 has not written")
        time.sleep(0.1)


def _note(runs: Path) -> Path | None:
    """A file name that is the same for all ranks of a torchrun or SLURM step, and for no other."""
    environment = os.environ
    if step := environment.get("SLURM_STEP_ID"):
        job, attempt = environment.get("SLURM_JOB_ID"), environment.get("SLURM_RESTART_COUNT", 0)
        return runs / ".launch" / f"slurm-{job}-{step}-{attempt}"
    if job := environment.get("TORCHELASTIC_RUN_ID"):
        attempt = environment.get("TORCHELASTIC_RESTART_COUNT", 0)
        key = (job, environment.get("MASTER_PORT"), os.getppid(), attempt)
        return runs / ".launch" / "-".join(map(str, key))
    return None


def destroy_process_group() -> None:
    """Leave the process group, which sometimes aborts the process at the interpreter's exit."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
