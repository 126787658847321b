"""How a list of runs is printed: a table for a terminal, text for a pipe, CSV for programs."""

import csv
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.cli.runs import (
    COLOURS,
    cell,
    console,
    number,
    part_order,
    plain,
    shown_scores,
    span,
)
from polymodal.schemas.run_record import RunRecord

if TYPE_CHECKING:
    from rich.table import Table

# What is left out first where a terminal is too narrow: the run's id says much of it.
DROP_ORDER = ("experiment", "kind", "seed", "test/accuracy", "took", "val/uar", "age", "name")
CSV_FIELDS = ("run_id", "experiment", "kind", "status", "seed", "parent", "started", "duration_s")
LEFT_ALIGNED = ("key", "run", "name", "experiment", "kind", "status", "folder")
MAX_SHOWN = 200  # rows in a terminal, the first ones


def print_table(records: Sequence[RunRecord], further: Mapping[str, list[str]]) -> None:
    """Print a row a run.

    Args:
        records: The runs.
        further: Heading to cells of further columns.
    """
    in_terminal = sys.stdout.isatty()
    shown = records[:MAX_SHOWN] if in_terminal else records
    told = {name: [plain(cell) for cell in cells[: len(shown)]] for name, cells in further.items()}
    columns = {**_columns(shown), **told}
    if in_terminal:
        page = console()
        page.print(_table(_fitting(columns, page.width)))
    else:
        print(_text(columns))
    if len(shown) < len(records):
        print(f"{len(shown)} of {len(records):,}; filters choose, a pipe gets all")


def _table(columns: Mapping[str, Sequence[str]]) -> "Table":
    """For a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for name in columns:
        justify: Any = "left" if name in LEFT_ALIGNED else "right"
        # Folded where even the id alone is too wide: an id that is cut cannot be copied.
        table.add_column(Text(plain(name)), justify=justify, overflow="fold")
    for row in zip(*columns.values(), strict=True):
        cells = dict(zip(columns, row, strict=True))
        colour = COLOURS.get(cells["status"], "red")
        table.add_row(
            *(Text(cell, colour if name == "status" else "") for name, cell in cells.items())
        )
    return table


def _text(columns: Mapping[str, Sequence[str]]) -> str:
    """The same for a file or a pipe, where no line is folded and thousands are nothing."""
    every = []
    for name, cells in columns.items():
        words = [plain(name), *cells]
        widths = [*map(_width, words)]
        widest = max(widths)
        rooms = (" " * (widest - width) for width in widths)
        pairs = zip(words, rooms, strict=True)
        every.append([one + room if name in LEFT_ALIGNED else room + one for one, room in pairs])
    head, *rows = ("   ".join(row).rstrip() for row in zip(*every, strict=True))
    return "\n".join([head, "─" * _width(head), *rows])


def _width(text: str) -> int:
    """Cells that a text takes: a Korean letter takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _columns(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Every column with its cells, from left to right."""
    columns = {
        "run": [plain(record.run_id) for record in records],
        "experiment": [plain(record.experiment) for record in records],
        "kind": [plain(record.kind) for record in records],
        "status": [plain(record.status) for record in records],
    }
    for name in shown_scores([record.scores for record in records]):
        columns[name] = [number(record.scores.get(name)) for record in records]
    columns["seed"] = ["" if record.seed is None else str(record.seed) for record in records]
    columns["took"] = [
        "" if record.duration_s is None else span(record.duration_s) for record in records
    ]
    columns["age"] = [_age(record) for record in records]
    columns["name"] = [plain(_name(record)) for record in records]
    return columns


def _name(record: RunRecord) -> str:
    """What differs from the experiment's default; empty where nothing does."""
    return "" if record.name in (record.run_id, record.experiment) else record.name


def _fitting(columns: Mapping[str, list[str]], width: int) -> dict[str, list[str]]:
    """Leaves out what a page of that width has no room for."""
    from rich.cells import cell_len

    kept = dict(columns)
    for name in DROP_ORDER:
        widths = [max(map(cell_len, (title, *cells))) + 3 for title, cells in kept.items()]
        if sum(widths) - 3 <= width:
            break
        kept.pop(name, None)
    return kept


def print_csv(records: Sequence[RunRecord], further: Mapping[str, list[str]]) -> None:
    """Print every field and score of the runs, exactly.

    Args:
        records: The runs.
        further: Heading to cells of further columns.
    """
    scores = sorted({name for record in records for name in record.scores}, key=part_order)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow([*CSV_FIELDS, *scores, *further])
    for index, one in enumerate(records):
        row = [getattr(one, name) for name in CSV_FIELDS] + [
            one.scores.get(name) for name in scores
        ]
        row += [cells[index] for cells in further.values()]
        rows.writerow(["" if one is None else plain(one) for one in row])


def _age(record: RunRecord) -> str:
    try:
        return span((datetime.now(UTC) - datetime.fromisoformat(record.started)).total_seconds())
    except (TypeError, ValueError):  # no time, or one without its zone
        return ""


def print_differences(folders: Sequence[Path]) -> None:
    """Print in which keys the configurations of runs differ, a row a key.

    Args:
        folders: The run folders, two or more.
    """
    from polymodal.tracking.config_diff import config_diff, read_config

    result = config_diff([read_config(folder) for folder in folders])
    if not result:
        print("their configurations are the same")
        return
    names = [folder.name for folder in folders]
    rows = {
        "key": [plain(key) for key in result],
        **{
            plain(name): [plain(cell(values[index])) for values in result.values()]
            for index, name in enumerate(names)
        },
    }
    print(_text(rows))
