"""Shows one run: what ran, on what, how it ended, its scores, its files.

polymodal show last
polymodal show 20261123 --json
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.cli.runs import add_folder, span
from polymodal.contracts.run import RunRecord

if TYPE_CHECKING:
    from rich.console import Console

BARS = "▁▂▃▄▅▆▇█"
CURVES = ("train/loss", "val/loss", "val/uar")
WIDEST_CURVE = 60


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
    """
    from polymodal.record.index import alive_or_killed, find_run

    folder = find_run(Path(arguments.runs), arguments.run)
    record = alive_or_killed(RunRecord.read(folder / "run.json"))
    folds = [RunRecord.read(path) for path in _fold_files(folder)]
    if arguments.json:
        values = {**record.to_dict(), "path": str(folder), "folds": [f.to_dict() for f in folds]}
        print(json.dumps(values, indent=1))
        return 0
    from rich.console import Console

    console = Console()
    _print_head(console, folder, record)
    _print_scores(console, record, folds)
    _print_curves(console, folder)
    _print_config(console, folder)
    _print_files(console, folder)
    return 0


def sparkline(values: Sequence[float]) -> str:
    """Draws numbers as a line of bars.

    Args:
        values: The numbers, at least one.

    Returns:
        At most `WIDEST_CURVE` characters.

    Example:
        >>> sparkline([0, 1, 2, 4])
        '▁▂▄█'
    """
    step = max(1, -(-len(values) // WIDEST_CURVE))
    shown = list(values)[::step]
    low, high = min(shown), max(shown)
    scale = (len(BARS) - 1) / ((high - low) or 1)
    return "".join(BARS[int((value - low) * scale)] for value in shown)


def _fold_files(folder: Path) -> list[Path]:
    files = [path for path in folder.glob("folds/*/run.json") if path.parent.name.isdigit()]
    return sorted(files, key=lambda path: int(path.parent.name))


def _print_head(console: "Console", folder: Path, record: RunRecord) -> None:
    took = "" if record.duration_s is None else f" in {span(record.duration_s)}"
    console.print(f"[bold]{record.run_id}[/] · {record.kind} · {record.status}{took}")
    lines: dict[str, Any] = {
        "error": record.error,
        "from": record.parent,
        "command": " ".join(record.command),
        "changed": " ".join(_lines(folder / "overrides.txt")),
        "seed": record.seed,
        "data": _words(record.data),
        "code": _words(record.code),
        "host": _words({key: record.host.get(key) for key in ("name", "platform", "cores")}),
        "versions": _words(record.versions),
        "notes": _words(record.notes),
    }
    for name, words in lines.items():
        if words not in (None, ""):
            console.print(f"{name:>9}  {words}", markup=False, highlight=False)


def _print_scores(console: "Console", record: RunRecord, folds: Sequence[RunRecord]) -> None:
    from rich.table import Table

    names = sorted(record.scores, key=lambda name: (not name.startswith("test/"), name))
    if not names:
        return
    table = Table("score", "pooled" if folds else "value", *(f"fold {f.fold}" for f in folds))
    for name in names:
        cells = [one.scores.get(name) for one in (record, *folds)]
        table.add_row(name, *("" if cell is None else f"{cell:.3f}" for cell in cells))
    console.print(table)


def _print_curves(console: "Console", folder: Path) -> None:
    from polymodal.record.journal import read_journal

    lines = read_journal(folder / "metrics.jsonl")
    for name in CURVES:
        values = [line[name] for line in lines if line.get(name) is not None]
        if len(values) > 1:
            curve = sparkline(values)
            console.print(f"{name:>10} {values[0]:.3f} {curve} {values[-1]:.3f}", highlight=False)


def _print_config(console: "Console", folder: Path) -> None:
    from rich.syntax import Syntax

    config = folder / "config.yaml"
    if config.is_file():
        text = config.read_text(encoding="utf-8")
        console.print(Syntax(text, "yaml", background_color="default"))


def _print_files(console: "Console", folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    total = sum(path.stat().st_size for path in files)
    console.print(f"{folder} · {len(files)} files, {total / 1e6:.1f} MB")
    for path in files:
        if "folds" not in path.relative_to(folder).parts:
            size = path.stat().st_size / 1e3
            console.print(f"  {path.relative_to(folder)!s:<36} {size:>10.1f} kB", highlight=False)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value not in (None, {}))
