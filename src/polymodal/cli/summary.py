"""Tables that commands end with."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from polymodal.schemas.manifest import Manifest
from polymodal.schemas.run_record import RunRecord

SHOWN_REFUSALS = 10
MANY_SCORES = 5


def print_outcome(outcome: tuple[Path, RunRecord]) -> None:
    """Print the scores of one run and where its record is."""
    folder, record = outcome
    console = Console()
    parts = sorted({name.partition("/")[0] for name in record.scores}, key=_order)
    whole, subsets = (
        [(part, of_part(record, part)) for part in parts if ("@" in part) == given]
        for given in (False, True)
    )
    if whole:
        named = record.name not in ("", record.experiment)
        title = f"{record.experiment} · {record.name}" if named else record.experiment
        print_scores(whole, title=title, first="")
    if subsets:
        rows = [(part.partition("@")[2], scores) for part, scores in subsets]
        print_scores(rows, title="test, of some of the modalities alone", first="", upright=True)
    console.print(f"{record.kind} {record.status} in {record.duration_s:.1f} s: {folder}")
    for name, lines in record.notes.get("trackers_lack", {}).items():
        message = f"{name} lacks {lines} lines of it: polymodal sync {record.run_id}"
        console.print(message, soft_wrap=True, markup=False, highlight=False)


def print_scores(
    rows: Sequence[tuple[str, dict[str, float]]], *, title: str, first: str, upright: bool = False
) -> None:
    """Print a table with one row a part or member and one column a score.

    Args:
        rows: Name of the row and its scores.
        title: Title of the table.
        first: Head of the first column.
        upright: Whether rows stay rows, however many scores there are.
    """
    names = list(dict.fromkeys(name for _, scores in rows for name in scores))
    by_name = {row: [_cell(scores.get(name)) for name in names] for row, scores in rows}
    table = Table(title=title, title_justify="left")
    if upright or len(names) <= MANY_SCORES:
        table.add_column(first)
        for name in names:
            table.add_column(name, justify="right")
        for row, cells in by_name.items():
            table.add_row(row, *cells)
    else:  # a row a score, as a terminal is higher than wide
        table.add_column("")
        for row in by_name:
            table.add_column(row, justify="right")
        for index, name in enumerate(names):
            table.add_row(name, *(cells[index] for cells in by_name.values()))
    Console().print(table)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def print_corpus(manifest: Manifest, out: Path) -> None:
    """Print what a corpus holds and which of its rows were refused."""
    frame, console = manifest.frame, Console()
    hours = (frame["duration_s"].sum() or 0.0) / 3600
    console.print(
        f"{frame.height} utterances, {frame['speaker'].n_unique()} speakers, {hours:.2f} h of audio"
    )
    table = Table("class", "utterances")
    for label, count in frame["label"].value_counts().sort("label").iter_rows():
        table.add_row(label or "(none)", str(count))
    console.print(table)
    for rule, count in manifest.handled.items():
        console.print(f"  {count} x {rule}", highlight=False, markup=False)
    _print_refused(manifest, console)
    voted = frame["votes"].explode().drop_nulls().struct.field("label")
    classes = ",".join(pl.concat([frame["label"].drop_nulls(), voted]).unique().sort())
    lines = [
        f"manifest: {out}",
        f"report:   {out.with_suffix('.json')}",
        f"next:     polymodal corpus check {out}",
        f"          polymodal run corpus=manifest corpus.file={out} 'corpus.classes=[{classes}]'",
    ]
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _print_refused(manifest: Manifest, console: Console) -> None:
    if not manifest.refused:
        console.print("no row was refused")
        return
    rules = ", ".join(f"{rule}: {n}" for rule, n in manifest.rejected_by_rule().items())
    console.print(f"{len(manifest.refused)} rows were refused ({rules})")
    for refusal in manifest.refused[:SHOWN_REFUSALS]:
        console.print(f"  row {refusal.row}: {refusal.rule}: {refusal.reason}", markup=False)
    if len(manifest.refused) > SHOWN_REFUSALS:
        console.print(f"  and {len(manifest.refused) - SHOWN_REFUSALS} more")


def _order(part: str) -> tuple[int, int, str]:
    first = ["test", "val"].index(part) if part in ("test", "val") else 2
    return first, part.count("+"), part


def of_part(record: RunRecord, part: str) -> dict[str, float]:
    """Return the scores of one part of a run, without the part in their names.

    Args:
        record: The run.
        part: Such as `test`.

    Returns:
        Score to value; scores that are no number are left out.
    """
    return {
        name.partition("/")[2]: value
        for name, value in record.scores.items()
        if name.startswith(f"{part}/") and value is not None
    }
