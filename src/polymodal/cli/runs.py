"""Lists the runs here, the newest first.

polymodal runs --status failed
polymodal runs --sort test/uar -n 5
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from polymodal.contracts.run import STATUSES, RunRecord

COLOURS = {"finished": "green", "running": "cyan", "interrupted": "yellow"}
FIRST_SCORES = ("test/uar", "test/accuracy", "val/uar")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `polymodal runs`.

    Args:
        parser: The command's parser.
    """
    add_folder(parser)
    parser.add_argument("--status", choices=STATUSES, help="only runs that ended so")
    parser.add_argument("--experiment", metavar="WORDS", help="only experiments with these words")
    parser.add_argument("--sort", metavar="SCORE", help="the best of a score first")
    parser.add_argument("-n", type=int, metavar="N", help="only the first N")


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Declares where runs are looked for, and `--json`.

    Args:
        parser: The command's parser.
    """
    default = os.environ.get("POLYMODAL_RUNS", "runs")
    parser.add_argument("--runs", default=default, metavar="DIR", help="folder of the runs")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def main(arguments: argparse.Namespace) -> int:
    """Prints the runs.

    Args:
        arguments: As parsed.

    Returns:
        The exit code.
    """
    from polymodal.record.index import list_runs

    records, broken = list_runs(Path(arguments.runs))
    chosen = _choose(records, arguments)
    if arguments.json:
        print(json.dumps([record.to_dict() for record in chosen], indent=1))
        return 0
    for line in broken:
        print(f"polymodal: skipped {line}", file=sys.stderr)
    if not chosen:
        words = "no run here yet" if not records else "no run like that"
        print(f"{words} ({arguments.runs}); `polymodal run` makes one")
        return 0
    _print(chosen)
    return 0


def _choose(records: Sequence[RunRecord], arguments: argparse.Namespace) -> list[RunRecord]:
    chosen = [
        record
        for record in records
        if arguments.status in (None, record.status)
        and (arguments.experiment or "") in record.experiment
    ]
    if arguments.sort:
        lowest = float("-inf")
        chosen.sort(key=lambda one: _value(one, arguments.sort, lowest), reverse=True)
    return chosen[: arguments.n]


def _value(record: RunRecord, score: str, otherwise: float) -> float:
    value = record.scores.get(score)
    return otherwise if value is None else value


def _print(records: Sequence[RunRecord]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in ("run", "kind", "status"):
        table.add_column(name, no_wrap=True)
    scores = [name for name in FIRST_SCORES if any(name in one.scores for one in records)]
    for name in [*scores, "seed", "took", "age"]:
        table.add_column(name, justify="right", no_wrap=True)
    for record in records:
        colour = COLOURS.get(record.status, "red")
        cells = [_score(record.scores.get(name)) for name in scores]
        seed = "" if record.seed is None else str(record.seed)
        took = "" if record.duration_s is None else span(record.duration_s)
        status = f"[{colour}]{record.status}[/]"
        table.add_row(record.run_id, record.kind, status, *cells, seed, took, _age(record))
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _age(record: RunRecord) -> str:
    if not record.started:
        return ""
    return span((datetime.now(UTC) - datetime.fromisoformat(record.started)).total_seconds())


def span(seconds: float) -> str:
    """Returns a length of time in one or two units.

    Args:
        seconds: The length.

    Returns:
        Such as `3.2 s`, `4 min`, `2 h` or `5 d`.

    Example:
        >>> span(3.21), span(200), span(7300), span(200000)
        ('3.2 s', '3 min', '2 h', '2 d')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return ""
