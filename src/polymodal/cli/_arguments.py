"""Arguments that several commands share."""

import argparse
import os
from typing import Any


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Declare `--runs` and `--json`."""
    add_runs(parser)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Declare `--runs`, the folders of runs."""
    default = os.environ.get("POLYMODAL_RUNS", "runs")
    message = "folder of the runs; may be given several times"
    parser.add_argument("--runs", default=default, metavar="DIR", action=_Roots, help=message)


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
