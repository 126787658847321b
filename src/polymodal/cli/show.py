"""Shows one run: what ran, on what, how it ended, its scores, its files.

polymodal show last
polymodal show 20261123 --json
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.cli.runs import COLOURS, add_folder, number, part_order, plain, shown_scores, span
from polymodal.contracts.run import RunRecord
from polymodal.errors import RunError

if TYPE_CHECKING:
    from rich.console import Console

BARS = "▁▂▃▄▅▆▇█"
FIRST_CURVES = ("val/uar", "val/loss")
WIDEST_CURVE = 60
MOST_CURVES = 10
MOST_CONFIG_LINES = 60
LESS_TOLD = ("hydra", "paths")  # sections of the config that say nothing about the experiment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `polymodal show`.

    Args:
        parser: The command's parser.
    """
    parser.add_argument("run", metavar="RUN", help="run id, its beginning, a path, or `last`")
    add_folder(parser)


def main(arguments: argparse.Namespace) -> int:
    """Prints the run.

    Args:
        arguments: As parsed.

    Returns:
        The exit code.

    Raises:
        RunError: There is no such run, or its record cannot be read.
    """
    from polymodal.record.index import alive_or_killed, find_run, read_record

    folder = find_run(Path(arguments.runs), arguments.run)
    record = alive_or_killed(read_record(folder))
    folds = [read_record(path) for path in _fold_folders(folder)]
    if arguments.json:
        values = {**record.to_dict(), "path": str(folder), "folds": [f.to_dict() for f in folds]}
        print(json.dumps(values, indent=1))
        return 0
    from rich.console import Console

    console = Console(soft_wrap=True)
    _print_head(console, folder, record)
    _print_scores(console, record)
    _print_folds(console, record, folds)
    _print_curves(console, folder)
    _print_config(console, folder)
    _print_files(console, folder)
    return 0


def sparkline(values: Sequence[float]) -> str:
    """Draws numbers as a line of bars.

    Args:
        values: The numbers, at least one.

    Returns:
        At most `WIDEST_CURVE` characters; the last number is always drawn.

    Example:
        >>> sparkline([0, 1, 2, 4])
        '▁▂▄█'
    """
    step = -(-len(values) // WIDEST_CURVE)
    shown = list(values)[::-1][::step][::-1]
    low, high = min(shown), max(shown)
    scale = (len(BARS) - 1) / ((high - low) or 1)
    return "".join(BARS[int((value - low) * scale)] for value in shown)


def _fold_folders(folder: Path) -> list[Path]:
    found = (path.parent for path in folder.glob("folds/*/run.json"))
    return sorted(
        (path for path in found if path.name.isdecimal()), key=lambda path: int(path.name)
    )


def _print_head(console: "Console", folder: Path, record: RunRecord) -> None:
    from rich.text import Text

    took = "" if record.duration_s is None else f" in {span(record.duration_s)}"
    status = (plain(record.status), COLOURS.get(record.status, "red"))
    kind = plain(record.kind)
    console.print(Text.assemble((plain(record.run_id), "bold"), f" · {kind} · ", status, took))
    lines: dict[str, Any] = {
        "error": record.error,
        "from": record.parent,
        "command": " ".join(map(str, record.command)),
        "changed": " ".join(_lines(folder / "overrides.txt")),
        "seed": record.seed,
        "started": record.started,
        "data": _words(record.data),
        "code": _words(record.code) or "not under git",
        "host": _words(record.host, leave_out=("pid", "process_started")),
        "versions": _words(record.versions),
        "notes": _words(record.notes),
    }
    for name, words in lines.items():
        if words not in (None, ""):
            console.print(f"{name:>9}  {plain(words)}", markup=False, highlight=False)


def _print_scores(console: "Console", record: RunRecord) -> None:
    """One row a score, one column a part of the corpus: test first."""
    from rich.table import Table

    names = sorted(record.scores, key=part_order)
    parts = list(dict.fromkeys(name.partition("/")[0] for name in names))
    if not names:
        return
    table = Table("score")
    for part in parts:
        table.add_column(plain(part), justify="right")
    for score in dict.fromkeys(name.partition("/")[2] for name in names):
        cells = [number(record.scores.get(f"{part}/{score}")) for part in parts]
        table.add_row(plain(score), *cells)
    console.print(table)


def _print_folds(console: "Console", record: RunRecord, folds: Sequence[RunRecord]) -> None:
    """One row a fold, below the scores on the pooled predictions of all."""
    from rich.table import Table

    if not folds:
        return
    names = shown_scores([one.scores for one in (record, *folds)])
    table = Table("fold")
    for name in names:
        table.add_column(plain(name), justify="right")
    table.add_column("held out")
    for label, one in [("pooled", record), *((str(fold.fold), fold) for fold in folds)]:
        cells = [number(one.scores.get(name)) for name in names]
        held_out = one.notes.get("assignment")
        table.add_row(label, *cells, _words(held_out) if isinstance(held_out, Mapping) else "")
    console.print(table)


def _print_curves(console: "Console", folder: Path) -> None:
    from polymodal.record.journal import read_journal

    try:
        curves = _curves(read_journal(folder / "metrics.jsonl"))
    except RunError as error:
        console.print(plain(error.found), markup=False, highlight=False)
        return
    for name, values in list(curves.items())[:MOST_CURVES]:
        ends = f"{values[0]:.3f} {sparkline(values)} {values[-1]:.3f}"
        console.print(f"{plain(name):>16}  {ends}", markup=False, highlight=False)


def _curves(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Curves of the scores of the validation part: of a split with folds, the first score's."""
    names = {name for line in lines for name in line if name.startswith("val/")}
    first = [name for name in FIRST_CURVES if name in names]
    folds = {line["fold"] for line in lines if isinstance(line.get("fold"), int)}
    shown = [*first, *sorted(names - set(first))][: 1 if folds else MOST_CURVES]
    points: dict[str, dict[Any, float]] = {}
    for name in shown:
        for line in lines:
            if isinstance(value := line.get(name), int | float):
                # A continued run says a step anew: what it said last counts.
                key = name if line.get("fold") is None else f"{name} fold {line['fold']}"
                points.setdefault(key, {})[line.get("step")] = value
    return {name: list(of.values()) for name, of in points.items() if len(of) > 1}


def _print_config(console: "Console", folder: Path) -> None:
    from rich.syntax import Syntax

    lines = _without(LESS_TOLD, _lines(folder / "config.yaml"))
    if not lines:
        return
    shown = "\n".join(map(plain, lines[:MOST_CONFIG_LINES]))
    console.print(Syntax(shown, "yaml", background_color="default"))
    if len(lines) > MOST_CONFIG_LINES:
        rest = len(lines) - MOST_CONFIG_LINES
        console.print(f"... and {rest} more lines in config.yaml", highlight=False)


def _without(sections: Sequence[str], lines: Sequence[str]) -> list[str]:
    """Leaves out whole top-level sections of block-style YAML."""
    kept, keep = [], True
    for line in lines:
        if line and line[0] not in " -#":
            keep = line.partition(":")[0] not in sections
        if keep:
            kept.append(line)
    return kept


def _print_files(console: "Console", folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = {path.relative_to(folder): path.stat().st_size for path in files}
    total = f"{len(files)} files, {sum(sizes.values()) / 1e6:.1f} MB"
    console.print(f"{plain(folder)} · {total}", markup=False, highlight=False)
    for path, size in sizes.items():
        if path.parts[0] not in ("folds", "wandb"):
            line = f"  {plain(path):<36} {size / 1e3:>10.1f} kB"
            console.print(line, markup=False, highlight=False)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _words(values: Mapping[str, Any], leave_out: Sequence[str] = ()) -> str:
    shown = {key: one for key, one in values.items() if key not in leave_out}
    return ", ".join(f"{k} {_value(one)}" for k, one in shown.items() if one not in (None, {}, []))


def _value(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, Mapping):
        return f"({_words(value)})"
    return str(value)
