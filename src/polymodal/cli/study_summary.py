"""What a study found, for a terminal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from polymodal.cli.runs import console, number, plain
from polymodal.errors import RunError

STUDY = "study.json"


def read_study(folder: Path) -> dict[str, Any]:
    """Read what stands in a study's folder.

    Raises:
        RunError: There is nothing, or it cannot be read.
    """
    try:
        return dict(json.loads((folder / STUDY).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / STUDY} cannot be read: {error}") from None


def print_study(folder: Path, study: Mapping[str, Any]) -> None:
    """Print scores with intervals, what can be claimed, and where the report is."""
    page = console()
    page.print(Text.assemble((plain(study["name"]), "bold"), f" · {study['status']}"))
    if study["members"]:
        page.print(_scores(study))
    for one in study["comparisons"]:
        page.print(f"  {plain(one['verdict'])}", highlight=False, markup=False)
    for words in study["warnings"]:
        page.print(f"  warning: {plain(words)}", highlight=False, markup=False)
    if not study["members"]:
        page.print(_cells(study))
    report = folder / "report.html"
    for line in (f"study:  {folder}", *([f"report: {report}"] if report.is_file() else [])):
        page.print(line, soft_wrap=True, highlight=False, markup=False)


def _scores(study: Mapping[str, Any]) -> Table:
    main = study["score"]
    names = list(dict.fromkeys(n for one in study["members"].values() for n in one["scores"]))
    names.sort(key=lambda name: name != f"test/{main}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in names[:5]:
        table.add_column(Text(name.removeprefix("test/")), justify="right")
    table.add_column("generalisation gap", justify="right")
    for name, one in study["members"].items():
        cells = [_cell(one["scores"].get(score)) for score in names[:5]]
        gap = one.get("gap")
        kind = " (vote)" if one["kind"] == "vote" else ""
        table.add_row(Text(plain(name) + kind), *cells, f"{gap['gap']:+.3f}" if gap else "")
    return table


def _cell(score: Mapping[str, Any] | None) -> str:
    if score is None or score["mean"] is None:
        return ""
    if score["low"] is None:
        return number(score["mean"])
    return f"{number(score['mean'])} [{number(score['low'])}, {number(score['high'])}]"


def _cells(study: Mapping[str, Any]) -> Table:
    table = Table("member", "seed", "share", "status", "run", box=SIMPLE_HEAD, pad_edge=False)
    for one in study["cells"]:
        row = (one["member"], one["seed"], one["share"], one["status"], one["run"] or "")
        table.add_row(*(Text(plain(str(cell))) for cell in row))
    return table
