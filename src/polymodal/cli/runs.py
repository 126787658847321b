"""Lists the runs here, the newest first.

polymodal runs --status failed
polymodal runs --sort test/uar -n 5
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from polymodal.contracts.run import STATUSES, RunRecord
from polymodal.errors import RunError, nearest

COLOURS = {"finished": "green", "running": "cyan", "interrupted": "yellow"}
FIRST_SCORES = ("test/uar", "test/accuracy", "val/uar")
LOWER_IS_BETTER = ("loss", "ece", "cross_entropy", "nll", "brier", "mae", "mse", "rmse")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `polymodal runs`.

    Args:
        parser: The command's parser.
    """
    add_folder(parser)
    parser.add_argument("--status", choices=STATUSES, help="only runs that ended so")
    parser.add_argument("--experiment", metavar="WORDS", help="only experiments with these words")
    parser.add_argument("--sort", metavar="SCORE", help="the best of a score first")
    parser.add_argument("-n", type=_count, metavar="N", help="only the first N")


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is no number from 1 on")
    return int(word)


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

    Raises:
        RunError: No run has the score to sort by.
    """
    from polymodal.record.index import list_runs

    records, broken = list_runs(Path(arguments.runs))
    chosen = _choose(records, arguments)
    if arguments.json:
        print(json.dumps([record.to_dict() for record in chosen], indent=1))
        return 0
    for line in broken:
        print(f"polymodal: skipped {plain(line)}", file=sys.stderr)
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
    if arguments.sort and chosen:
        chosen = _best_first(chosen, arguments.sort)
    return chosen[: arguments.n]


def _best_first(records: Sequence[RunRecord], score: str) -> list[RunRecord]:
    """Sorts by a score; runs that lack it come last, equal ones stay as they were."""
    known = {name for record in records for name in record.scores}
    if score not in known:
        raise RunError(f"no run here has the score {score!r}", remedy=nearest(score, known))
    sign = 1 if score.rpartition("/")[2].startswith(LOWER_IS_BETTER) else -1

    def place(record: RunRecord) -> tuple[bool, float]:
        value = record.scores.get(score)
        return value is None, 0.0 if value is None else sign * value

    return sorted(records, key=place)


def _print(records: Sequence[RunRecord]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("run", overflow="fold", min_width=12)  # an id that is cut cannot be copied
    table.add_column("experiment", overflow="fold")
    for name in ("kind", "status"):
        table.add_column(name, no_wrap=True)
    scores = shown_scores([record.scores for record in records])
    for name in [*scores, "seed", "took", "age"]:
        table.add_column(name, justify="right")
    for record in records:
        cells = [number(record.scores.get(name)) for name in scores]
        seed = "" if record.seed is None else str(record.seed)
        took = "" if record.duration_s is None else span(record.duration_s)
        texts = (plain(record.run_id), plain(record.experiment), plain(record.kind))
        status = Text(plain(record.status), style=COLOURS.get(record.status, "red"))
        table.add_row(*map(Text, texts), status, *cells, seed, took, _age(record))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)


def shown_scores(scores: Sequence[Mapping[str, float | None]]) -> list[str]:
    """Returns the names of the scores that a list of runs is told by.

    Args:
        scores: The scores of each run.

    Returns:
        Those of `FIRST_SCORES` that are there, else the first three, test before the others.

    Example:
        >>> shown_scores([{"val/ccc_arousal": 0.4, "test/ccc_arousal": 0.3}])
        ['test/ccc_arousal', 'val/ccc_arousal']
    """
    names = {name for one in scores for name in one}
    first = [name for name in FIRST_SCORES if name in names]
    return first or sorted(names, key=part_order)[:3]


def part_order(name: str) -> tuple[bool, str]:
    """Orders the names of scores: those of the test part first.

    Args:
        name: `<part>/<score>`.
    """
    return not name.startswith("test/"), name


def number(value: float | None) -> str:
    """Writes a score.

    Args:
        value: Its value; None where it is no number.
    """
    return "" if value is None else f"{value:.3f}"


def plain(text: object) -> str:
    r"""Returns text that cannot steer a terminal: a record may come from somebody else.

    Args:
        text: Any value.

    Example:
        >>> plain("a\x1b[31mb\n")
        'a?[31mb?'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def _age(record: RunRecord) -> str:
    try:
        return span((datetime.now(UTC) - datetime.fromisoformat(record.started)).total_seconds())
    except (TypeError, ValueError):  # no time, or one without its zone
        return ""


def span(seconds: float) -> str:
    """Returns a length of time in one unit.

    Args:
        seconds: The length.

    Returns:
        Such as `3.2 s`, `4 min`, `2 h` or `5 d`.

    Example:
        >>> span(3.21), span(200), span(7300), span(200000)
        ('3.2 s', '3 min', '2 h', '2 d')
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.1f} s"
