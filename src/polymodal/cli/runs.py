"""Lists the runs here, the newest first.

polymodal runs status=failed since=7d
polymodal runs corpus=emodb 'test/uar>0.7' --sort test/uar -n 5
polymodal runs optimizer.lr=0.001 --columns optimizer.lr,model.width --csv

Filters compare a field of the record (status, experiment, kind, seed, parent), `corpus`, a score,
the time (since=, until=) or any key of the configuration; all that are given must hold.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.contracts.run import STATUSES, RunRecord
from polymodal.errors import RunError, nearest
from polymodal.record.filters import (
    MISSING,
    Filter,
    check_known,
    matches,
    parse,
    read_config,
    value_of,
)

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {"finished": "green", "running": "cyan", "interrupted": "yellow"}
FIRST_SCORES = ("test/uar", "test/accuracy", "val/uar")
# What is left out first where a terminal is too narrow: the run's id says much of it.
DISPENSABLE = ("experiment", "kind", "seed", "test/accuracy", "took", "val/uar", "age", "name")
CSV_FIELDS = ("run_id", "experiment", "kind", "status", "seed", "parent", "started", "duration_s")
UNBOUNDED = 10_000  # width of a page that is a file or a pipe
LOWER_IS_BETTER = ("loss", "ece", "cross_entropy", "nll", "brier", "mae", "mse", "rmse")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `polymodal runs`.

    Args:
        parser: The command's parser.
    """
    parser.add_argument("filters", nargs="*", metavar="KEY=VALUE", help="only runs like that")
    add_folder(parser)
    parser.add_argument("--csv", action="store_true", help="print CSV and nothing else")
    parser.add_argument(
        "--columns", metavar="KEY,...", help="further columns: scores, fields, keys of the config"
    )
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
    add_runs(parser)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Declares where runs are looked for.

    Args:
        parser: The command's parser.
    """
    default = os.environ.get("POLYMODAL_RUNS", "runs")
    parser.add_argument("--runs", default=default, metavar="DIR", help="folder of the runs")


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

    filters = parse(arguments.filters)
    records, broken = list_runs(Path(arguments.runs))
    for line in broken:
        print(f"polymodal: skipped {plain(line)}", file=sys.stderr)
    asked = [one for one in (arguments.columns or "").split(",") if one]
    keys = [one.key for one in filters] + asked
    configs = _Configs(Path(arguments.runs), keys)
    check_known(keys, records, configs.of)
    kept = [one for one in records if matches(one, filters, configs.of(one))]
    chosen = _choose(kept, arguments)
    if arguments.json:
        print(json.dumps([record.to_dict() for record in chosen], indent=1))
        return 0
    further = {
        name: [_cell(value_of(one, name, configs.of(one))) for one in chosen] for name in asked
    }
    if arguments.csv:
        _print_csv(chosen, further)
        return 0
    if not chosen:
        words = "no run here yet" if not records else "no run like that"
        print(f"{words} ({arguments.runs}); `polymodal run` makes one")
        return 0
    _print(chosen, further)
    return 0


class _Configs:
    """Configurations of runs, read where a key is asked for that no record has."""

    def __init__(self, runs: Path, keys: Sequence[str]) -> None:
        self.runs, self.read = runs, any(Filter(key, "=", "").asks_config for key in keys)
        self.known: dict[str, Mapping[str, Any]] = {}

    def of(self, record: RunRecord) -> Mapping[str, Any]:
        if not self.read:
            return {}
        if record.run_id not in self.known:
            self.known[record.run_id] = read_config(self.runs / record.run_id)
        return self.known[record.run_id]


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


def _print_csv(records: Sequence[RunRecord], further: Mapping[str, list[str]]) -> None:
    """Prints every field and score of the runs, exactly."""
    scores = sorted({name for one in records for name in one.scores}, key=part_order)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow([*CSV_FIELDS, *scores, *further])
    for place, one in enumerate(records):
        row = [getattr(one, name) for name in CSV_FIELDS] + [
            one.scores.get(name) for name in scores
        ]
        row += [cells[place] for cells in further.values()]
        rows.writerow(["" if cell is None else plain(cell) for cell in row])


def _cell(value: Any) -> str:
    if value is MISSING or value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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


def _print(records: Sequence[RunRecord], further: Mapping[str, list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    page = console()
    told = {name: [plain(cell) for cell in cells] for name, cells in further.items()}
    columns = _fitting({**_columns(records), **told}, page.width)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for name in columns:
        left = name in ("run", "name", "experiment", "kind", "status")
        # Folded where even the id alone is too wide: an id that is cut cannot be copied.
        table.add_column(Text(plain(name)), justify="left" if left else "right", overflow="fold")
    for row in zip(*columns.values(), strict=True):
        cells = dict(zip(columns, row, strict=True))
        colour = COLOURS.get(cells["status"], "red")
        table.add_row(
            *(Text(cell, colour if name == "status" else "") for name, cell in cells.items())
        )
    page.print(table)


def _columns(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Every column with its cells, from left to right."""
    columns = {
        "run": [plain(one.run_id) for one in records],
        "name": [plain(one.name if one.name != one.run_id else "") for one in records],
        "experiment": [plain(one.experiment) for one in records],
        "kind": [plain(one.kind) for one in records],
        "status": [plain(one.status) for one in records],
    }
    for name in shown_scores([one.scores for one in records]):
        columns[name] = [number(one.scores.get(name)) for one in records]
    columns["seed"] = ["" if one.seed is None else str(one.seed) for one in records]
    columns["took"] = ["" if one.duration_s is None else span(one.duration_s) for one in records]
    columns["age"] = [_age(one) for one in records]
    return columns


def _fitting(columns: Mapping[str, list[str]], width: int) -> dict[str, list[str]]:
    """Leaves out what a page of that width has no room for."""
    from rich.cells import cell_len

    kept = dict(columns)
    for name in DISPENSABLE:
        widths = [max(map(cell_len, (title, *cells))) + 3 for title, cells in kept.items()]
        if sum(widths) - 3 <= width:
            break
        kept.pop(name, None)
    return kept


def console() -> "Console":
    """Returns the page to print on: as wide as the terminal, or without end in a file or pipe."""
    from rich.console import Console

    page = Console(highlight=False)
    return page if page.is_terminal else Console(highlight=False, width=UNBOUNDED)


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
