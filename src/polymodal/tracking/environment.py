"""The environment of a run: packages, host and state of the code, without heavy imports."""

import hashlib
import os
import platform
import re
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from polymodal.tracking.processes import process_started

SHOWN = (
    *("polymodal", "torch", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf"),
    *("numpy", "polars", "soundfile", "soxr", "transformers", "opensmile", "trackio", "wandb"),
)
NVIDIA = Path("/proc/driver/nvidia")
SOURCES = ("*.py", "*.yaml", "*.yml", "*.toml")
MAX_DIFF = 1_000_000
# Nothing of the user's own git settings may run a program, colour the text or take a lock.
PLAIN = ("-c", "core.fsmonitor=false", "-c", "color.ui=false")
PLAIN_DIFF = ("--no-ext-diff", "--no-textconv", "--no-color", "--full-index")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that decide a result."""
    result = {"python": platform.python_version()}
    for name in SHOWN:
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return result


def environment_text() -> str:
    """Return every installed package, `name==version`, one a line."""
    packages = {
        f"{distribution.name}=={distribution.version}"
        for distribution in metadata.distributions()
        if distribution.name
    }
    return "\n".join([f"python=={platform.python_version()}", *sorted(packages), ""])


def host() -> dict[str, Any]:
    """Return the machine and the process, with its start time so that a later pid is not mistaken.

    Returns:
        Name, process id and start, platform, cores, memory in GB if known, and NVIDIA's driver and
        devices if there are any.
    """
    return {
        "name": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": process_started(os.getpid()),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        **_gpus(NVIDIA),
    }


def code_state(folder: Path) -> tuple[dict[str, Any], str]:
    """Return the state of the repository that a folder belongs to, and its uncommitted changes.

    Returns:
        Commit (None outside a repository, or before its first commit), whether files differ from
        it, SHA-256 of the difference; and the difference as text, new source files by their hash.
    """
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None:
        return {"commit": None}, ""
    root = Path(top.rstrip("\n"))
    commit = _git(root, "rev-parse", "HEAD")
    difference = _git(root, "diff", *PLAIN_DIFF, "HEAD") if commit else ""
    difference = (difference or "") + _new_sources(root, all_of_them=commit is None)
    state = {
        "commit": commit.strip() if commit else None,
        "dirty": bool(difference),
        "diff_sha256": hashlib.sha256(difference.encode(errors="replace")).hexdigest(),
    }
    if len(difference) > MAX_DIFF:
        shown = difference[: difference.rfind("\n", 0, MAX_DIFF) + 1]  # whole lines
        rest = len(difference) - len(shown)
        difference = f"{shown}... {rest} more characters, in the hash only\n"
    return state, difference


def _new_sources(root: Path, *, all_of_them: bool) -> str:
    which = ("--others", "--cached") if all_of_them else ("--others",)
    # -z: without it git quotes every name that is not ASCII, and no file has the quoted name.
    listed = _git(root, "ls-files", "-z", *which, "--exclude-standard", "--", *SOURCES)
    lines = []
    for name in sorted(filter(None, (listed or "").split("\0"))):
        try:
            digest = hashlib.sha256((root / name).read_bytes()).hexdigest()
        except OSError:
            digest = "unreadable"
        lines.append(f"untracked {name} sha256:{digest}\n")
    return "".join(lines)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *PLAIN, "-C", str(folder), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=20,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _gpus(folder: Path) -> dict[str, Any]:
    """Return driver and devices as the system lists them, without waking any."""
    try:
        driver = (folder / "version").read_text(encoding="utf-8").splitlines()[0]
        lines = [
            path.read_text(encoding="utf-8") for path in sorted(folder.glob("gpus/*/information"))
        ]
    except (OSError, ValueError, IndexError):
        return {}
    models = [match.group(1) for text in lines if (match := re.search(r"Model:\s*(.+)", text))]
    release = re.search(r"\b\d{3,}(?:\.\d+)+\b", driver)
    return {"gpus": models, "driver": release.group() if release else driver}


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return None
