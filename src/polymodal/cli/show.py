"""Show one run or study: configuration, data, status, scores and files.

polymodal show last
polymodal show last --config --files   its configuration and its files, too
polymodal show 20261123 --json
polymodal show RUN RUN                the options in which they differ
"""

import argparse
import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.cli._arguments import add_folder
from polymodal.cli._format import (
    COLOURS,
    console,
    format_duration,
    main_scores,
    marked_score,
    new_table,
    plain,
    print_differences,
    print_study,
    read_study,
    split_order,
)
from polymodal.errors import RunError
from polymodal.report.encoder_origins import origin_sentences
from polymodal.report.format import command
from polymodal.schemas.run_record import RunRecord, fold_marks

if TYPE_CHECKING:
    from rich.console import Console

BARS = "▁▂▃▄▅▆▇█"
FIRST_CURVES = ("val/uar", "val/loss")
MAX_CURVE_WIDTH = 60
MAX_CURVES = 5
MAX_SCORES = 20
MAX_CONFIG_LINES = 120
LABEL_WIDTH = 11
DIGEST = re.compile(r"[0-9a-f]{40,}")
DIGITS_SHOWN = 12
COLLAPSED_DIRS = ("folds", "trackers", "wandb")  # their files are counted, not listed
HIDDEN_SECTIONS = ("hydra", "paths")  # sections of the config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal show`."""
    parser.add_argument("run", metavar="RUN", help="run id or prefix of one, a path, or `last`")
    parser.add_argument("others", nargs="*", metavar="RUN", help="show the differences")
    parser.add_argument(
        "--config", action="store_true", help="show configuration, machine, packages and notes, too"
    )
    parser.add_argument("--files", action="store_true", help="list the files, too")
    add_folder(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print the run.

    Raises:
        RunError: There is no such run, or its record cannot be read.
    """
    from polymodal.tracking.index import find_run, fold_records, read_record, with_live_status

    folder = find_run(Path(arguments.runs), arguments.run)
    if arguments.others:
        return _show_differences(folder, arguments)
    record = with_live_status(read_record(folder))
    if record.kind == "study":
        return _show_study(folder, record.status, as_json=arguments.json)
    folds = fold_records(folder)
    if arguments.json:
        values = {**record.to_dict(), "path": str(folder), "folds": [f.to_dict() for f in folds]}
        print(json.dumps(values, indent=1))
        return 0
    page = console()
    _print_head(page, folder, record, with_environment=arguments.config)
    _print_scores(page, record)
    _print_folds(page, record, folds)
    _print_curves(page, folder)
    if arguments.config:
        _print_config(page, folder)
    _print_files(page, folder, listed=arguments.files)
    if not (arguments.config or arguments.files):
        page.print(
            "--config shows configuration and environment, --files lists the files", style="dim"
        )
    return 0


def _show_differences(folder: Path, arguments: argparse.Namespace) -> int:
    from polymodal.tracking.config_diff import config_diff, read_config
    from polymodal.tracking.index import find_run

    folders = [folder, *(find_run(Path(arguments.runs), name) for name in arguments.others)]
    if arguments.json:
        result = config_diff([read_config(folder) for folder in folders])
        print(json.dumps({"runs": [folder.name for folder in folders], "differ": result}, indent=1))
    else:
        print_differences(folders)
    return 0


def _show_study(folder: Path, status: str, *, as_json: bool) -> int:
    study = {**read_study(folder), "status": status}
    if as_json:
        print(json.dumps(study, indent=1))
    else:
        print_study(folder, study)
    return 0


def sparkline(values: Sequence[float]) -> str:
    """Draw values as a line of at most `MAX_CURVE_WIDTH` bars.

    The last value is always drawn; non-finite values leave a gap.

    Example:
        >>> sparkline([0, 1, 2, 4])
        '▁▂▄█'
        >>> sparkline([3, float("nan"), 3])
        '▁ ▁'
    """
    step = -(-len(values) // MAX_CURVE_WIDTH)
    shown = list(values)[::-1][::step][::-1]
    finite = [value for value in shown if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)

    def bar(value: float) -> str:
        height = (value / 2 - low / 2) / ((high / 2 - low / 2) or 1)  # halves never overflow
        return BARS[int(height * (len(BARS) - 1))] if math.isfinite(value) else " "

    return "".join(map(bar, shown))


def _print_head(
    page: "Console", folder: Path, record: RunRecord, *, with_environment: bool
) -> None:
    """Print what was run on what; with its environment, also by which machine and packages."""
    from rich.text import Text

    took = "" if record.duration_s is None else f" in {format_duration(record.duration_s)}"
    status = (plain(record.status), COLOURS.get(record.status, "red"))
    kind = plain(record.kind)
    page.print(Text.assemble((plain(record.run_id), "bold"), f" · {kind} · ", status, took))
    leaks = (record.data.get("leaks") or {}).items()
    shared = [f"{column} {leak['test_share']:.1%}" for column, leak in leaks]
    lines: dict[str, Any] = {
        "error": record.error,
        "name": record.name if record.name not in (record.run_id, record.experiment) else None,
        "from": record.parent,
        "command": command(record.command),
        "changed": " ".join(_lines(folder / "overrides.txt")),
        "seed": record.seed,
        "started": record.started,
        "data": _inline({key: value for key, value in record.data.items() if key != "leaks"}),
        "shared": f"of the test rows with training: {', '.join(shared)}" if shared else "",
        **{f"{name} from": origin for name, origin in origin_sentences(record).items()},
        "code": _inline(record.code) or "not under git",
    }
    if with_environment:
        lines["host"] = _inline(record.host, leave_out=("pid", "process_started"))
        lines |= {"versions": _inline(record.versions), "notes": _inline(record.notes)}
    for name, line in lines.items():
        if line not in (None, ""):
            wrapped = Text(plain(line)).wrap(page, max(1, page.width - LABEL_WIDTH))
            for label, text in zip([name, *[""] * len(wrapped)], wrapped, strict=False):
                page.print(Text(f"{plain(label):>{LABEL_WIDTH - 2}}  ").append_text(text))


def _print_scores(page: "Console", record: RunRecord) -> None:
    """Print a row per score and a column per split, test first."""
    from rich.text import Text

    names = sorted(record.scores, key=split_order)
    splits = list(dict.fromkeys(name.partition("/")[0] for name in names))
    if not names:
        return
    table = new_table(["score", *splits])
    scores = list(dict.fromkeys(name.partition("/")[2] for name in names))
    for score in scores[:MAX_SCORES]:
        cells = [marked_score(record, f"{split}/{score}") for split in splits]
        table.add_row(Text(plain(score)), *cells)
    page.print(table)
    for mark in record.marks:
        page.print(Text(f"mark: {plain(mark['text'])}", style="yellow"))
    if len(scores) > MAX_SCORES:
        page.print(f"... and {len(scores) - MAX_SCORES:,} more scores: --json has all")


def _print_folds(page: "Console", record: RunRecord, folds: Sequence[RunRecord]) -> None:
    """Print a row per fold below the scores of the pooled predictions."""
    from rich.text import Text

    if not folds:
        return
    names = main_scores([run.scores for run in (record, *folds)])
    table = new_table(["fold", *names])
    table.add_column("held out")
    for label, run in [("pooled", record), *((str(fold.fold), fold) for fold in folds)]:
        cells = [marked_score(run, name) for name in names]
        held_out = run.notes.get("assignment")
        groups = _inline(held_out) if isinstance(held_out, Mapping) else ""
        table.add_row(label, *cells, Text(plain(groups)))
    page.print(table)
    for text in fold_marks(record, folds):
        page.print(Text(f"mark: {plain(text)}", style="yellow"))


def _print_curves(page: "Console", folder: Path) -> None:
    from polymodal.tracking.metrics_log import read_metrics

    try:
        curves = _curves(read_metrics(folder / "metrics.jsonl"))
    except RunError as error:
        page.print(plain(error.message), markup=False)
        return
    shown = list(curves.items())[:MAX_CURVES]
    width = max((len(plain(name)) for name, _ in shown), default=0)
    for name, values in shown:
        ends = f"{values[0]:.3f} {sparkline(values)} {values[-1]:.3f}"
        page.print(f"{plain(name):>{width}}  {ends}", markup=False)


def _curves(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Return the validation curves; with several folds, those of the first score only."""
    names = {name for line in lines for name in line if name.startswith("val/")}
    first = [name for name in FIRST_CURVES if name in names]
    folds = {line["fold"] for line in lines if isinstance(line.get("fold"), int)}
    shown = [*first, *sorted(names - set(first))][: 1 if folds else MAX_CURVES]
    points: dict[str, dict[Any, float]] = {}
    for name in shown:
        for line in lines:
            if isinstance(value := line.get(name), int | float):
                # A resumed run repeats steps: the last value counts.
                key = name if line.get("fold") is None else f"{name} fold {line['fold']}"
                points.setdefault(key, {})[line.get("step")] = value
    return {name: list(of.values()) for name, of in points.items() if len(of) > 1}


def _print_config(page: "Console", folder: Path) -> None:
    from rich.syntax import Syntax

    lines = _compact(_lines(folder / "config.yaml"), page.width)
    if not lines:
        return
    shown = "\n".join(map(plain, lines[:MAX_CONFIG_LINES]))
    coloured = Syntax(shown, "yaml", background_color="default", word_wrap=True)
    page.print(coloured if page.is_terminal else shown, markup=False)
    if len(lines) > MAX_CONFIG_LINES:
        rest = len(lines) - MAX_CONFIG_LINES
        page.print(f"... and {rest} more lines in {plain(folder / 'config.yaml')}", markup=False)


def _compact(lines: Sequence[str], width: int) -> list[str]:
    """Drop the hidden sections, and write lists of plain values in one line."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes lists of plain values in one line."""

    def one_line(dumper: Dumper, values: list[Any]) -> yaml.SequenceNode:
        nested = any(isinstance(value, list | dict) for value in values)
        return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=not nested)

    Dumper.add_representer(list, one_line)
    try:
        config = yaml.safe_load("\n".join(lines))
    except yaml.YAMLError:
        return list(lines)
    if not isinstance(config, dict):
        return list(lines)
    visible = {key: value for key, value in config.items() if key not in HIDDEN_SECTIONS}
    text: str = yaml.dump(visible, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=width)
    return text.splitlines() if visible else []


def _print_files(page: "Console", folder: Path, *, listed: bool) -> None:
    sizes = {}
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # a run in progress renames its files
            if path.is_file():
                sizes[path.relative_to(folder)] = path.stat().st_size
    total = f"{len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB"
    page.print(f"{plain(folder)} · {total}", markup=False)
    visible = [path for path in sizes if listed and path.parts[0] not in COLLAPSED_DIRS]
    shown = {plain(path): sizes[path] for path in visible}
    width = max(map(len, shown), default=0)
    for name, size in shown.items():
        page.print(f"  {name:<{width}} {size / 1e3:>10.1f} kB", markup=False)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _inline(values: Mapping[str, Any], leave_out: Sequence[str] = ()) -> str:
    shown = {key: value for key, value in values.items() if key not in leave_out}
    given = {key: value for key, value in shown.items() if value not in (None, {}, [])}
    return ", ".join(f"{key} {_value(value)}" for key, value in given.items())


def _value(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, Mapping):
        return f"({_inline(value)})"
    if isinstance(value, str) and DIGEST.fullmatch(value):
        return value[:DIGITS_SHOWN]
    return str(value)
