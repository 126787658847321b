"""Format the output of commands: values, tables of runs, scores of a run, a study, a corpus."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.errors import RunError
from polymodal.report.format import MINUS, join_names
from polymodal.schemas.run_record import RunRecord, fold_marks
from polymodal.tracking.filters import MISSING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from polymodal.schemas.manifest import Manifest

COLOURS = {"finished": "green", "running": "cyan", "interrupted": "yellow"}
FIRST_SCORES = ("test/uar", "test/accuracy", "val/uar")
UNBOUNDED = 10_000  # width of the output to a file or a pipe
# Columns to drop, in this order, if the terminal is too narrow.
DROP_ORDER = ("experiment", "kind", "seed", "test/accuracy", "took", "val/uar", "age", "name")
CSV_FIELDS = ("run_id", "experiment", "kind", "status", "seed", "parent", "started", "duration_s")
LEFT_ALIGNED = ("key", "run", "name", "experiment", "kind", "status", "folder")
MAX_RUNS = 200  # rows in a terminal
MAX_REJECTED = 10
MAX_SCORE_COLUMNS = 5
STUDY = "study.json"


def console() -> "Console":
    """Return a console as wide as the terminal, or of unlimited width for a file or a pipe."""
    from rich.console import Console

    page = Console(highlight=False)
    return page if page.is_terminal else Console(highlight=False, width=UNBOUNDED)


def new_table(names: Iterable[str], *, num_left: int = 1, **options: Any) -> "Table":
    """Return a table whose columns are right-aligned, but for the first `num_left` ones."""
    from rich.table import Table
    from rich.text import Text

    table = Table(**options)
    for index, name in enumerate(names):
        table.add_column(Text(plain(name)), justify="left" if index < num_left else "right")
    return table


def plain(text: object) -> str:
    r"""Replace control characters, which could steer a terminal, by question marks.

    Example:
        >>> plain("a\x1b[31mb\n")
        'a?[31mb?'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def format_score(value: float | None) -> str:
    """Format a score with three decimals; empty if it is None."""
    return "" if value is None else f"{value:.3f}"


def format_value(value: Any) -> str:
    """Format a value of a configuration or record; empty if it is missing or None."""
    if value is MISSING or value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_duration(seconds: float) -> str:
    """Format a duration in one unit.

    Example:
        >>> [format_duration(seconds) for seconds in (3.21, 200, 7300, 200000)]
        ['3.2 s', '3 min', '2 h', '2 d']
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.1f} s"


def format_bytes(num_bytes: float) -> str:
    """Format a size.

    Example:
        >>> format_bytes(123), format_bytes(2_500_000)
        ('123 B', '2.5 MB')
    """
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} GB"


def main_scores(scores: Sequence[Mapping[str, float | None]]) -> list[str]:
    """Return the scores of a list of runs: the `FIRST_SCORES` that occur, else the first three.

    Example:
        >>> main_scores([{"val/ccc_arousal": 0.4, "test/ccc_arousal": 0.3}])
        ['test/ccc_arousal', 'val/ccc_arousal']
    """
    names = {name for score in scores for name in score}
    first = [name for name in FIRST_SCORES if name in names]
    return first or sorted(names, key=split_order)[:3]


def split_order(name: str) -> tuple[bool, str]:
    """Return a sort key of `<split>/<score>` that puts the test split first."""
    return not name.startswith("test/"), name


def print_table(records: Sequence[RunRecord], columns: Mapping[str, list[str]]) -> None:
    """Print a table with a row per run: for a terminal, or as text for a file or a pipe.

    `columns` maps headings of additional columns to their cells.
    """
    in_terminal = sys.stdout.isatty()
    shown = records[:MAX_RUNS] if in_terminal else records
    table = _columns(shown)
    table |= {
        name: [plain(cell) for cell in cells[: len(shown)]] for name, cells in columns.items()
    }
    if in_terminal:
        page = console()
        fitting = _fit(table, page.width, columns)
        page.print(_rich_table(fitting))
        if left_out := [name for name in columns if name not in fitting]:
            names = plain(join_names(left_out))
            print(f"no room for {names}: pipe the output, or name some with --columns")
    else:
        print(_text_table(table))
    if any(cell.endswith("*") for cells in table.values() for cell in cells):
        print(
            "* of a part of the rows, of training rows, or without a row of some class: "
            "polymodal show RUN says which"
        )
    if len(shown) < len(records):
        print(f"{len(shown)} of {len(records):,}; add filters, or pipe the output to get all")


def _columns(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Return heading to cells, from left to right."""
    fields = {"run": "run_id", "experiment": "experiment", "kind": "kind", "status": "status"}
    columns = {
        name: [plain(getattr(record, field)) for record in records]
        for name, field in fields.items()
    }
    for name in main_scores([record.scores for record in records]):
        columns[name] = [marked_score(record, name) for record in records]
    columns["seed"] = ["" if record.seed is None else str(record.seed) for record in records]
    durations = [record.duration_s for record in records]
    columns["took"] = ["" if value is None else format_duration(value) for value in durations]
    columns["age"] = [_age(record) for record in records]
    columns["name"] = [
        "" if record.name in (record.run_id, record.experiment) else plain(record.name)
        for record in records
    ]
    return columns


def marked_score(record: RunRecord, name: str) -> str:
    """Return a score, with an asterisk if the record has a mark on it."""
    value = record.scores.get(name)
    return format_score(value) + ("*" if value is not None and record.is_marked(name) else "")


def _age(record: RunRecord) -> str:
    try:
        age = datetime.now(UTC) - datetime.fromisoformat(record.started)
    except (TypeError, ValueError):  # no time, or one without its zone
        return ""
    return format_duration(age.total_seconds())


def _fit(
    columns: Mapping[str, list[str]], width: int, requested: Iterable[str] = ()
) -> dict[str, list[str]]:
    """Drop columns until the table fits the width: of those that were requested the last first."""
    from rich.cells import cell_len

    fitting = dict(columns)
    for name in (*DROP_ORDER, *[*requested][:0:-1]):
        widths = [max(map(cell_len, (title, *cells))) + 3 for title, cells in fitting.items()]
        if sum(widths) - 3 <= width:
            break
        fitting.pop(name, None)
    return fitting


def _rich_table(columns: Mapping[str, Sequence[str]]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for name in columns:
        justify: Any = "left" if name in LEFT_ALIGNED else "right"
        # Fold instead of cutting: a run id that is cut cannot be copied.
        table.add_column(Text(plain(name)), justify=justify, overflow="fold")
    for row in zip(*columns.values(), strict=True):
        cells = dict(zip(columns, row, strict=True))
        colours = {"status": COLOURS.get(cells["status"], "red")}
        table.add_row(*(Text(cell, colours.get(name, "")) for name, cell in cells.items()))
    return table


def _text_table(columns: Mapping[str, Sequence[str]]) -> str:
    """Format a table without folding; fast for thousands of rows."""
    padded = []
    for name, cells in columns.items():
        column = [plain(name), *cells]
        widths = [*map(_width, column)]
        padding = [" " * (max(widths) - width) for width in widths]
        pairs = zip(column, padding, strict=True)
        padded.append([text + pad if name in LEFT_ALIGNED else pad + text for text, pad in pairs])
    head, *rows = ("   ".join(row).rstrip() for row in zip(*padded, strict=True))
    return "\n".join([head, "─" * _width(head), *rows])


def _width(text: str) -> int:
    """Return the terminal cells of a text: a Korean letter takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def print_csv(records: Sequence[RunRecord], columns: Mapping[str, list[str]]) -> None:
    """Print every field and score of the runs, and additional columns, in full precision."""
    scores = sorted({name for record in records for name in record.scores}, key=split_order)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow([*CSV_FIELDS, *scores, *columns])
    for index, record in enumerate(records):
        row = [getattr(record, name) for name in CSV_FIELDS]
        row += [record.scores.get(name) for name in scores]
        row += [cells[index] for cells in columns.values()]
        rows.writerow(["" if value is None else plain(value) for value in row])


def print_differences(folders: Sequence[Path]) -> None:
    """Print the options in which the configurations of two or more runs differ."""
    from polymodal.tracking.config_diff import config_diff, read_config

    result = config_diff([read_config(folder) for folder in folders])
    if not result:
        print("their configurations are the same")
        return
    columns = {"key": [plain(key) for key in result]}
    for index, folder in enumerate(folders):
        cells = [plain(format_value(values[index])) for values in result.values()]
        columns[plain(folder.name)] = cells
    print(_text_table(columns))


def print_result(result: tuple[Path, RunRecord]) -> None:
    """Print the scores of a run and the path of its record."""
    from polymodal.tracking.index import fold_records

    folder, record = result
    page = console()
    splits = sorted(
        {name.partition("/")[0] for name in record.scores},
        key=lambda split: (split != "test", split != "val", split.count("+"), split),
    )
    complete = [(split, _scores_of(record, split)) for split in splits if "@" not in split]
    subsets = [(split, _scores_of(record, split)) for split in splits if "@" in split]
    if complete:
        is_named = record.name not in ("", record.experiment)
        title = f"{record.experiment} · {record.name}" if is_named else record.experiment
        _print_scores(complete, title=title)
    if subsets:
        rows = [(split.partition("@")[2], scores) for split, scores in subsets]
        _print_scores(rows, title="test, by subset of the modalities", upright=True)
    marks = [mark["text"] for mark in record.marks]
    for text in (*marks, *fold_marks(record, fold_records(folder))):
        page.print(f"mark: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    page.print(f"{record.kind} {record.status} in {record.duration_s:.1f} s: {folder}")
    for name, lines in record.notes.get("trackers_lack", {}).items():
        message = f"{name} lacks {lines} lines of it: polymodal sync {record.run_id}"
        page.print(message, soft_wrap=True, markup=False)


def _scores_of(record: RunRecord, split: str) -> dict[str, str]:
    """Return score to cell of a split, without values that are not a number."""
    return {
        name.partition("/")[2]: marked_score(record, name)
        for name, value in record.scores.items()
        if name.startswith(f"{split}/") and value is not None
    }


def _print_scores(
    rows: Sequence[tuple[str, dict[str, str]]], *, title: str, upright: bool = False
) -> None:
    """Print splits and scores, transposed if there are many scores and it is not `upright`."""
    from rich.console import Console

    names = list(dict.fromkeys(name for _, scores in rows for name in scores))
    lines = [
        [row, *(scores.get(name) or format_score(None) for name in names)] for row, scores in rows
    ]
    head = ["", *names]
    if not upright and len(names) > MAX_SCORE_COLUMNS:
        head, *lines = map(list, zip(head, *lines, strict=True))
    table = new_table(head, title=title, title_justify="left")
    for line in lines:
        table.add_row(*line)
    Console().print(table)


def read_study(folder: Path) -> dict[str, Any]:
    """Read `study.json` of a study.

    Raises:
        RunError: The file is missing or cannot be read.
    """
    try:
        return dict(json.loads((folder / STUDY).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / STUDY} cannot be read: {error}") from None


def print_study(folder: Path, study: Mapping[str, Any]) -> None:
    """Print scores with intervals, the comparisons, and the path of the report."""
    from rich.text import Text

    page = console()
    page.print(Text.assemble((plain(study["name"]), "bold"), f" · {study['status']}"))
    if study["members"]:
        page.print(_member_table(study))
    for comparison in study["comparisons"]:
        page.print(f"  {plain(comparison['verdict'])}", markup=False)
    for warning in study["warnings"]:
        page.print(f"  warning: {plain(warning)}", markup=False)
    if not study["members"]:
        page.print(_job_table(study))
    report = folder / "report.html"
    for line in (f"study:  {folder}", *([f"report: {report}"] if report.is_file() else [])):
        page.print(line, soft_wrap=True, markup=False)


def _member_table(study: Mapping[str, Any]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.text import Text

    members = study["members"]
    names = list(dict.fromkeys(n for member in members.values() for n in member["scores"]))
    names.sort(key=lambda name: name != f"test/{study['score']}")
    heads = [name.removeprefix("test/") for name in names[:MAX_SCORE_COLUMNS]]
    against = {member["gap"]["against"] for member in members.values() if member.get("gap")}
    gap_head = f"generalisation gap (train {MINUS} {'/'.join(sorted(against)) or 'test'})"
    table = new_table(["", *heads, gap_head], box=SIMPLE_HEAD, pad_edge=False)
    for name, member in members.items():
        scores = [_estimate(member["scores"].get(score)) for score in names[:MAX_SCORE_COLUMNS]]
        gap = member.get("gap")
        kind = " (vote)" if member["kind"] == "vote" else ""
        table.add_row(Text(plain(name) + kind), *scores, f"{gap['gap']:+.3f}" if gap else "")
    return table


def _estimate(score: Mapping[str, Any] | None) -> str:
    if score is None or score["mean"] is None:
        return ""
    mean, low, high = (format_score(score[key]) for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]" if low else mean


def _job_table(study: Mapping[str, Any]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table("member", "seed", "fraction", "status", "run", box=SIMPLE_HEAD, pad_edge=False)
    for job in study["cells"]:
        row = (job["member"], job["seed"], job["share"], job["status"], job["run"] or "")
        table.add_row(*(Text(plain(value)) for value in row))
    return table


def print_corpus(manifest: "Manifest", out: Path) -> None:
    """Print a summary of a corpus and its rejected rows."""
    from rich.console import Console
    from rich.table import Table

    from polymodal.cli.next_command import run_command

    frame, page = manifest.frame, Console()
    hours = (frame["duration_s"].sum() or 0.0) / 3600
    page.print(
        f"{frame.height} utterances, {frame['speaker'].n_unique()} speakers, {hours:.2f} h of audio"
    )
    table = Table("class", "utterances")
    for label, count in frame["label"].value_counts().sort("label").iter_rows():
        table.add_row(label or "(none)", str(count))
    page.print(table)
    for rule, count in manifest.handled.items():
        page.print(f"  {count} x {rule}", highlight=False, markup=False)
    _print_rejected(manifest, page)
    for line in (
        f"manifest: {out}",
        f"report:   {out.with_suffix('.json')}",
        f"next:     polymodal corpus check {out}",
        f"          {run_command(manifest, out)}",
    ):
        page.print(line, soft_wrap=True, markup=False, highlight=False)


def _print_rejected(manifest: "Manifest", page: "Console") -> None:
    if not manifest.refused:
        page.print("no row was rejected")
        return
    rules = ", ".join(f"{rule}: {count}" for rule, count in manifest.rejected_by_rule().items())
    page.print(f"{len(manifest.refused)} rows were rejected ({rules})")
    for rejection in manifest.refused[:MAX_REJECTED]:
        page.print(f"  row {rejection.row}: {rejection.rule}: {rejection.reason}", markup=False)
    if len(manifest.refused) > MAX_REJECTED:
        page.print(f"  and {len(manifest.refused) - MAX_REJECTED} more")
