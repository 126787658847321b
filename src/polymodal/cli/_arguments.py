"""Arguments, and the confirmation, that several commands share."""

import argparse
import os
import sys
from typing import Any

from polymodal.errors import ConfigError


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Declare `--runs` and `--json`."""
    add_runs(parser)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Declare `--runs`, the folders of runs."""
    default = os.environ.get("POLYMODAL_RUNS", "runs")
    message = "folder of the runs; may be given several times"
    parser.add_argument("--runs", default=default, metavar="DIR", action=_Roots, help=message)


def is_confirmed(question: str, arguments: argparse.Namespace, *, can_prompt: bool = True) -> bool:
    """Return whether `--yes` is given, or the question is answered with yes.

    Raises:
        ConfigError: There is no terminal to prompt on.
    """
    if arguments.yes:
        return True
    if not (can_prompt and sys.stdin.isatty()):
        raise ConfigError("cannot prompt: stdin is not a terminal", hint="add --yes to confirm")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


class _Roots(argparse.Action):
    """Join the folders of several `--runs` as POLYMODAL_RUNS does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        namespace.roots = [*getattr(namespace, "roots", ()), values]
        namespace.runs = os.pathsep.join(namespace.roots)
