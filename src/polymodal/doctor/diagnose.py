"""Looks at the machine: packages, devices, disk, clock, and which configurations still bind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polymodal.doctor.line import Line
from polymodal.doctor.machine import clock, disk, repository
from polymodal.doctor.packages import extras, packages, tables, withdrawn
from polymodal.doctor.probe import ask_all


def diagnose(project: Path, python: str) -> Iterator[Line]:
    """Examines everything that an experiment stands on.

    Nothing here can end the others: what cannot be asked becomes a line.

    Args:
        project: Folder of the user's project.
        python: The Python whose packages are looked at. Another than our own tells what would
            happen after an upgrade: make an environment with the newest releases, and name it.

    Yields:
        One line for each thing that was looked at, as soon as it is known.
    """
    answers = ask_all(python, project)
    installed, fault = answers["installed"].result()
    if fault:
        yield Line("fault", "python", f"{python} does not answer: {fault}", "name another --python")
        return
    known, tested = tables()
    yield Line("ok", "python", installed["python"])
    yield from withdrawn(installed["versions"], known)
    yield from packages(installed["versions"], installed["requires"], tested)
    yield from extras(installed["versions"], installed["requires"])
    yield from _devices(*answers["devices"].result())
    configurations, fault = answers["configurations"].result()
    yield from disk({} if fault else configurations["paths"])
    yield clock(project)
    yield from repository(project)
    yield from _configurations(configurations, fault)


def _devices(found: Any, fault: str) -> Iterator[Line]:
    if fault:
        remedy = "install it anew: see `make venv`, or https://pytorch.org/get-started"
        yield Line("fault", "devices", f"torch cannot be imported: {fault}", remedy)
        return
    memory = f", {found['memory_gb']:g} GB of memory" if found["memory_gb"] else ""
    yield Line("ok", "devices", f"{found['cores']} cores, {found['threads']} threads{memory}")
    for name in found["accelerators"]:
        yield Line("ok", "devices", name)
    if found["fault"]:
        remedy = "compare nvidia-smi's driver with the CUDA release that torch was built for"
        yield Line(
            "warning", "devices", f"the accelerator cannot be used: {found['fault']}", remedy
        )
    elif not found["accelerators"]:
        yield Line("ok", "devices", "no accelerator: everything runs on the CPU")


def _configurations(found: Any, fault: str) -> Iterator[Line]:
    if fault:
        yield Line("fault", "configs", f"they cannot be composed: {fault}", "see above")
        return
    for one in found["faults"]:
        yield Line("fault", "configs", f"{one['name']}: {one['text']}", "polymodal check says more")
    good = found["count"] - len({one["name"] for one in found["faults"]})
    yield Line("ok", "configs", f"{good} of {found['count']} experiments bind to these releases")
