"""Diagnose packages, devices, disk, clock, code and configurations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polymodal.doctor.line import Line
from polymodal.doctor.machine import clock, disk, repository
from polymodal.doctor.packages import extras, packages, tables, withdrawn
from polymodal.doctor.probe import ask_all


def diagnose(project: Path, python: str) -> Iterator[Line]:
    """Examine the packages of a Python, the machine and a project, and yield a line for each check.

    A check that fails becomes a line. Another `python` than our own tells what an upgrade would
    break: install the newest releases into an environment, and name it.
    """
    answers = ask_all(python, project)
    installed, fault = answers["installed"].result()
    if fault:
        yield Line("fault", "python", f"{python} does not answer: {fault}", "name another --python")
        return
    dangerous, tested = tables()
    yield Line("ok", "python", installed["python"])
    yield from withdrawn(installed["versions"], dangerous)
    yield from packages(installed["versions"], installed["requires"], tested)
    yield from extras(installed["versions"], installed["requires"])
    yield from _devices(*answers["devices"].result())
    configurations, fault = answers["configurations"].result()
    yield from disk({} if fault else configurations["paths"])
    yield clock(project)
    yield from repository(project)
    yield from _configurations(configurations, fault)


def _devices(answer: Any, fault: str) -> Iterator[Line]:
    if fault:
        hint = "install it anew: see `make venv`, or https://pytorch.org/get-started"
        yield Line("fault", "devices", f"torch cannot be imported: {fault}", hint)
        return
    memory = f", {answer['memory_gb']:g} GB of memory" if answer["memory_gb"] else ""
    yield Line("ok", "devices", f"{answer['cores']} cores, {answer['threads']} threads{memory}")
    for name in answer["accelerators"]:
        yield Line("ok", "devices", name)
    if answer["fault"]:
        hint = "compare nvidia-smi's driver with the CUDA release that torch was built for"
        message = f"the accelerator cannot be used: {answer['fault']}"
        yield Line("warning", "devices", message, hint)
    elif not answer["accelerators"]:
        yield Line("ok", "devices", "no accelerator: everything runs on the CPU")


def _configurations(answer: Any, fault: str) -> Iterator[Line]:
    if fault:
        yield Line("fault", "configs", f"they cannot be composed: {fault}", "see above")
        return
    for error in answer["faults"]:
        yield Line("fault", "configs", f"{error['name']}: {error['text']}", "run polymodal check")
    good = answer["count"] - len({error["name"] for error in answer["faults"]})
    yield Line("ok", "configs", f"{good} of {answer['count']} experiments bind to these releases")
