"""Tells a process that ended from one that goes on, and from a later one of the same number."""

import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROC = Path("/proc")


def process_started(pid: int) -> str | None:
    """Return when a process began, as the system says it.

    Returns:
        Under Linux the boot's id and clock ticks since then, elsewhere under Unix the time of day;
        None without such a process, or where the system does not tell.
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
    """Return whether the process of a record is known to have ended.

    Args:
        host: The `host` of a record.

    Returns:
        False also for another machine, or where nothing is known.
    """
    process = _known_here(host)
    if process is None:
        return False
    started = process_started(process[0])
    return not _hidden(process[0]) if started is None else started != process[1]


def is_running(host: Mapping[str, Any]) -> bool:
    """Return whether the process of a record is known to go on, and is not this one.

    Args:
        host: The `host` of a record.

    Returns:
        False also for another machine, or where nothing is known.
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
    """Where /proc hides the processes of other users, a signal still tells that there is one."""
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
