"""Run processes in parallel, each on its own device or with an equal number of cores."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from polymodal.study.config import num_cores
from polymodal.study.processes import start_command

POLL_S = 0.1
SHUTDOWN_TIMEOUT_S = 60.0  # for a checkpoint to be saved after a signal
LAST_BYTES = 4096


@dataclass(frozen=True)
class LaunchSpec:
    """One process."""

    name: str  # unique description
    # returns the arguments of `polymodal` when the process starts
    arguments: Callable[[], tuple[str, ...]]
    log: Path  # file for its output
    after: frozenset[str] = frozenset()  # names of the processes that have to succeed first


def launch(
    jobs: Sequence[LaunchSpec],
    *,
    parallel: int,
    num_devices: int,
    show: Callable[[Sequence[LaunchSpec], Sequence[LaunchSpec]], None],
) -> dict[str, int]:
    """Run processes, several at a time; stop them if this process is stopped.

    Args:
        jobs: The processes.
        parallel: Maximum number of processes at a time.
        num_devices: Number of accelerators.
        show: Called repeatedly with the ended and the running processes.

    Returns:
        Name to exit code, without processes that did not start because one of `after` failed.
    """
    waiting: list[LaunchSpec] = list(jobs)
    ended: list[LaunchSpec] = []
    codes: dict[str, int] = {}
    running: dict[int, tuple[LaunchSpec, BaseProcess]] = {}
    try:
        while waiting or running:
            for slot in set(range(parallel)) - set(running):
                ready = [j for j in waiting if all(codes.get(name) == 0 for name in j.after)]
                if ready:
                    waiting.remove(ready[0])
                    ready[0].log.parent.mkdir(parents=True, exist_ok=True)
                    environ = environment(slot, parallel, num_devices)
                    process = start_command(ready[0].arguments(), environ, ready[0].log)
                    running[slot] = ready[0], process
            waiting = [job for job in waiting if not _is_hopeless(job, codes, jobs)]
            time.sleep(POLL_S)
            for slot, (job, process) in list(running.items()):
                if process.exitcode is not None:
                    codes[job.name] = process.exitcode
                    ended.append(job)
                    del running[slot]
            show(ended, [job for job, _ in running.values()])
    finally:
        _stop([process for _, process in running.values()])
    return codes


def _is_hopeless(job: LaunchSpec, codes: Mapping[str, int], jobs: Sequence[LaunchSpec]) -> bool:
    """Return whether a dependency has failed, directly or through its own dependencies."""
    dependencies = [candidate for candidate in jobs if candidate.name in job.after]
    return any(
        codes.get(dependency.name, 0) != 0 or _is_hopeless(dependency, codes, jobs)
        for dependency in dependencies
    )


def last_line(log: Path) -> str:
    """Return the last line of a log, or an empty string."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
        lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
    return ""


def environment(slot: int, parallel: int, num_devices: int) -> dict[str, str]:
    """Return the environment of the process in a slot: one device or its number of cores."""
    environ = {name: value for name, value in os.environ.items() if name != "POLYMODAL_RUN_FOLDER"}
    if parallel == 1:
        return environ
    if num_devices:
        seen = [name for name in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        devices = seen or [str(index) for index in range(num_devices)]
        environ["CUDA_VISIBLE_DEVICES"] = devices[slot % num_devices]
    else:
        environ.setdefault("OMP_NUM_THREADS", str(max(1, num_cores() // parallel)))
    return environ


def _stop(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + SHUTDOWN_TIMEOUT_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
