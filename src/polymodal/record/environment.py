"""What a run ran on: packages, host, and the state of the code; nothing heavy is imported."""

import hashlib
import os
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

SHOWN = [
    "polymodal",
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "numpy",
    "polars",
    "soundfile",
    "soxr",
    "transformers",
    "opensmile",
    "trackio",
    "wandb",
]
LONGEST_DIFF = 1_000_000


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for name in SHOWN:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def environment_text() -> str:
    """Returns every installed package, `name==version`, one a line."""
    packages = {f"{one.metadata['Name']}=={one.version}" for one in metadata.distributions()}
    return "\n".join([f"python=={platform.python_version()}", *sorted(packages), ""])


def host() -> dict[str, Any]:
    """Returns where the run runs, and what tells its process from a later one of the same number."""
    return {
        "name": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": process_started(os.getpid()),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
    }


def process_started(pid: int) -> str | None:
    """Returns when a process began, as the kernel says it.

    Args:
        pid: Number of the process.

    Returns:
        The boot's id and clock ticks since then; None without such a process, or where the kernel
        does not tell.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()
    return None if fields[0] == "Z" else f"{boot}:{fields[19]}"


def code_state(folder: Path) -> tuple[dict[str, Any], str]:
    """Returns the commit of the code in a folder and what was changed since.

    Args:
        folder: Where the command was called.

    Returns:
        Commit, whether files differ from it, hash of the difference; and the difference as text.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None}, ""
    difference = _git(folder, "diff", "HEAD") or ""
    untracked = _git(folder, "ls-files", "--others", "--exclude-standard", "--", "*.py", "*.yaml")
    for name in (untracked or "").splitlines():
        data = (folder / name).read_bytes() if (folder / name).is_file() else b""
        difference += f"untracked {name} sha256:{hashlib.sha256(data).hexdigest()}\n"
    state = {
        "commit": commit.strip(),
        "dirty": bool(difference),
        "diff_sha256": hashlib.sha256(difference.encode()).hexdigest(),
    }
    return state, difference[:LONGEST_DIFF]


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
