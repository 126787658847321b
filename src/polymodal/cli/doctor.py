"""Diagnose packages, devices, disk, clock and configs.

  polymodal doctor
  polymodal doctor --json
  polymodal doctor --python NEW/bin/python     packages of another environment

It checks installed releases (allowed, tested, withdrawn), devices, free disk, the clock, the
repository, and whether every experiment here binds to the installed libraries. To see what an
upgrade would break, install the new releases in a separate environment and name its Python.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from polymodal.doctor.line import Line

COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal doctor`."""
    parser.add_argument(
        "--python", default=sys.executable, help="whose packages (default: this one)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def main(arguments: argparse.Namespace) -> int:
    """Print the diagnosis, and return 2 if there is a fault."""
    from polymodal.cli._format import console
    from polymodal.doctor.diagnose import diagnose

    page, lines = console(), []
    for line in diagnose(Path.cwd(), arguments.python):
        lines.append(line)
        if not arguments.json:
            _print(page, line)
    count = {state: sum(line.state == state for line in lines) for state in COLOURS}
    if arguments.json:
        values = {"ok": not count["fault"], "lines": [line.to_json() for line in lines]}
        print(json.dumps(values, indent=1))
    else:
        colour = COLOURS["fault" if count["fault"] else "warning" if count["warning"] else "ok"]
        page.print(f"[{colour}]{count['fault']} faults, {count['warning']} warnings[/]")
    return 2 if count["fault"] else 0


def _print(page: "Console", line: "Line") -> None:
    from rich.text import Text

    page.print(
        Text.assemble((f"{line.state:<8}", COLOURS[line.state]), f"{line.topic:<9} {line.message}")
    )
    if line.hint:
        page.print(Text(f"{'':<18}hint: {line.hint}", style="dim"))
