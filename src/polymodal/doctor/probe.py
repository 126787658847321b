"""Run questions in a separate Python process, so that a crash of a library is an answer."""

import json
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

TIME_LIMIT_S = 120.0
SOURCES = Path(__file__).parents[2]
ANSWER_PREFIX = "polymodal-doctor:"  # before the answer, as libraries print, too

INSTALLED = """
import platform
from importlib import metadata
versions = {}
for one in metadata.distributions():
    name = one.metadata["Name"] if one.metadata else None
    if name:
        versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), one.version)
try:
    requires = metadata.requires("polymodal") or []
except metadata.PackageNotFoundError:
    requires = []
answer = {"python": platform.python_version(), "versions": versions, "requires": requires}
"""
DEVICES = """
import os, torch
from polymodal.tracking.environment import host
accelerators, fault = [], ""
try:
    for number in range(torch.cuda.device_count()):
        one = torch.cuda.get_device_properties(number)
        torch.ones(2, device=f"cuda:{number}").sum().item()
        size = f"{one.total_memory / 1e9:.0f} GB"
        accelerators.append(f"{one.name}, {size}, CUDA {torch.version.cuda}")
    if torch.backends.mps.is_available():
        accelerators.append("MPS")
except Exception as error:
    fault = str(error).strip().splitlines()[0]
if not accelerators and not fault and os.path.exists("/proc/driver/nvidia/version"):
    fault = "there is a driver, and torch sees no device"
answer = {
    "cores": os.cpu_count(), "threads": torch.get_num_threads(), "fault": fault,
    "accelerators": accelerators, "memory_gb": host()["memory_gb"],
}
"""
CONFIGURATIONS = """
from polymodal.config.compose import available_choices, compose, project_packages
from polymodal.config.partial_resolve import resolve_partially
from polymodal.errors import UserError
from polymodal.preflight.rules.signatures import signature_findings
faults, names = [], available_choices("experiment")
for name in names:
    try:
        config, _ = resolve_partially(compose(["experiment=" + name]).config)
        found = signature_findings(config, project_packages(Path.cwd()))
        texts = [one.message for one in found if one.is_error]
    except UserError as error:
        texts = [error.message]
    faults += [{"name": name, "text": text} for text in texts]
paths = {name: str(value) for name, value in compose([]).resolved()["paths"].items()}
answer = {"count": len(names), "faults": faults, "paths": paths}
"""
QUESTIONS = {"installed": INSTALLED, "devices": DEVICES, "configurations": CONFIGURATIONS}


def ask_all(python: str, project: Path) -> dict[str, Future[tuple[Any, str]]]:
    """Start all questions in parallel, and return the future of each."""
    pool = ThreadPoolExecutor(len(QUESTIONS))
    answers = {question: pool.submit(ask, python, question, project) for question in QUESTIONS}
    pool.shutdown(wait=False)
    return answers


def ask(python: str, question: str, project: Path) -> tuple[Any, str]:
    """Run a question in a Python; return the answer and "", or None and the reason."""
    code = (
        "import json, re, sys\nfrom pathlib import Path\n"
        f"sys.path[:0] = [{str(SOURCES)!r}, {str(project)!r}]\n"
        f"{QUESTIONS[question]}\nprint('\\n{ANSWER_PREFIX}' + json.dumps(answer))"
    )
    try:
        done = subprocess.run(
            [python, "-c", code],
            cwd=project,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {TIME_LIMIT_S:g} s"
    except OSError as error:
        return None, error.strerror or str(error)
    answers = [line for line in done.stdout.splitlines() if line.startswith(ANSWER_PREFIX)]
    if done.returncode == 0 and answers:
        return json.loads(answers[-1].removeprefix(ANSWER_PREFIX)), ""
    if done.returncode < 0:
        return None, f"it was ended by signal {-done.returncode}"
    stderr_lines = [line for line in done.stderr.splitlines() if line.strip()]
    return None, stderr_lines[-1] if stderr_lines else f"it ended with code {done.returncode}"
