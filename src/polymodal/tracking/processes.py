"""Tell whether a process has ended, and whether another one has its number now."""

import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROC = Path("/proc")


def process_started(pid: int) -> str | None:
    """Return when a process began, in the words of the system.

    Under Linux it is the boot's id and clock ticks since then, elsewhere under Unix the time of
    day; None if there is no such process, or the system does not tell.
    """
    if not (PROC / "self" / "stat").exists():
        return _told_by_ps(pid)
    try:
        status = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()  # a program's name may hold spaces and brackets
    return None if fields[0] == "Z" else f"{boot}:{fields[19]}"


def has_exited(host: Mapping[str, Any]) -> bool:
    """Return whether the process of a record's `host` is known to have ended.

    False also for another machine, or if nothing is known.
    """
    process = _known_here(host)
    if process is None:
        return False
    started = process_started(process[0])
    return not _hidden(process[0]) if started is None else started != process[1]


def is_running(host: Mapping[str, Any]) -> bool:
    """Return whether the process of a record's `host` is known to be running, and is not this one.

    False also for another machine, or if nothing is known.
    """
    process = _known_here(host)
    return (
        process is not None
        and process[0] != os.getpid()
        and process_started(process[0]) == process[1]
    )


def _known_here(host: Mapping[str, Any]) -> tuple[int, str] | None:
    pid, started = host.get("pid"), host.get("process_started")
    here = host.get("name") == socket.gethostname()
    return (pid, started) if here and isinstance(pid, int) and isinstance(started, str) else None


def _hidden(pid: int) -> bool:
    """Ask by a signal: where /proc hides the processes of other users, it still works."""
    try:
        os.kill(pid, 0)  # asked only of a process whose start was known, so never under Windows
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _told_by_ps(pid: int) -> str | None:
    if os.name != "posix":
        return None
    try:
        done = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
