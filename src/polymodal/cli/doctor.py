"""Says whether this machine is fit for experiments, and what to do where it is not.

  polymodal doctor
  polymodal doctor --json
  polymodal doctor --python NEW/bin/python     the packages of another environment

It looks at installed releases (allowed, tested, withdrawn), devices, free disk, the clock, the
code's repository, and whether every experiment here still fits the installed libraries. To learn
what an upgrade would break, install the new releases in an environment of their own, and name its
Python.
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
        "--python", default=sys.executable, help="whose packages; this one by default"
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def main(arguments: argparse.Namespace) -> int:
    """Examines and prints.

    Returns:
        0, or 2 where something would stop experiments, or harm.
    """
    from polymodal.cli.runs import console
    from polymodal.doctor.diagnose import diagnose

    page, lines = console(), []
    for line in diagnose(Path.cwd(), arguments.python):
        lines.append(line)
        if not arguments.json:
            _print(page, line)
    count = {state: sum(line.state == state for line in lines) for state in COLOURS}
    if arguments.json:
        said = {"ok": not count["fault"], "lines": [line.to_json() for line in lines]}
        print(json.dumps(said, indent=1))
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
