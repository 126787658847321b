"""Check a corpus with a progress bar, write the results, and print a verdict."""

import json
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from polymodal.schemas.manifest import Manifest

if TYPE_CHECKING:
    from polymodal.corpora.validation.issues import Inspection

REFRESH_S = 0.1
COLOURS = {"usable": "green", "usable with warnings": "yellow", "not usable": "red"}


def check_corpus(
    manifest: Manifest, out: Path, *, num_workers: int | None, split: pl.Series | None
) -> "Inspection":
    """Open every file of a corpus, write `check.json` and `check.html`, and print the verdict.

    Args:
        manifest: The corpus.
        out: The folder to write to; created if missing.
        num_workers: Threads that decode; None for one per core.
        split: Name of the split of each row; None if the corpus is not split.

    Raises:
        ManifestError: There are more or fewer splits than rows.
    """
    from polymodal.corpora.validation.class_table import class_table
    from polymodal.corpora.validation.inspection import inspect_manifest
    from polymodal.data.leakage import shared_columns
    from polymodal.report.corpus_page import write_page

    classes = class_table(manifest, split)
    out.mkdir(parents=True, exist_ok=True)
    with _progress(manifest) as progress:
        inspection = inspect_manifest(
            manifest, num_workers=num_workers, progress=progress, split=split
        )
    shared = shared_columns(manifest, [] if split is None else [split])
    values = {**inspection.to_json(classes), "shared": shared}
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    (out / "check.json").write_text(text + "\n", encoding="utf-8")
    write_page(manifest, inspection, out / "check.html", split=split, shared=shared)
    _print_inspection(inspection, out, shared)
    return inspection


def _print_inspection(
    inspection: "Inspection", out: Path, shared: Mapping[str, Mapping[str, Any]]
) -> None:
    from polymodal.data.leakage import guess_notes

    console = Console()
    for message in guess_notes(shared).values():
        console.print(f"note: {message}", markup=False, highlight=False, soft_wrap=True)
    if inspection.issues:
        table = Table("severity", "rule", Column("issues", justify="right"), "first example")
        for rule, issues in inspection.by_rule().items():
            example = f"{issues[0].utterance_id}: {issues[0].detail}"
            table.add_row(issues[0].severity, rule, str(len(issues)), escape(example))
        console.print(table)
    speed = inspection.seconds / max(inspection.wall_s, 1e-9)
    took = f"in {inspection.wall_s:.1f} s ({speed:,.0f} times real time)"
    console.print(f"{inspection.seconds / 3600:.2f} h of audio {took}", highlight=False)
    console.print(f"page: {out / 'check.html'}", markup=False, highlight=False, soft_wrap=True)
    verdict = f"[bold {COLOURS[inspection.verdict]}]{inspection.verdict}[/]"
    console.print(f"{verdict}: {escape(inspection.summary)}", highlight=False, soft_wrap=True)


@contextmanager
def _progress(manifest: Manifest) -> Generator[Callable[[int, int], None]]:
    """Show a bar on a terminal, otherwise a line for each tenth, on standard error."""
    console = Console(stderr=True)
    audio_s = float(manifest.frame["duration_s"].fill_nan(None).sum() or 0.0)
    if console.is_terminal:
        with _bar(console, len(manifest), audio_s) as update:
            yield update
    else:
        yield _lines(console, audio_s)


@contextmanager
def _bar(console: Console, total: int, audio_s: float) -> Generator[Callable[[int, int], None]]:
    from rich import progress as bars

    columns: tuple[str | bars.ProgressColumn, ...] = (
        *("checking", bars.BarColumn(), bars.MofNCompleteColumn()),
        *("utterances, {task.fields[speed]} real time,", bars.TimeRemainingColumn(), "left"),
    )
    begun_s = shown_s = time.perf_counter()
    with bars.Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total, speed="-")

        def update(done: int, total: int) -> None:
            nonlocal shown_s
            now_s = time.perf_counter()
            if now_s - shown_s > REFRESH_S or done == total:
                speed = _speed(audio_s * done / total, now_s - begun_s)
                progress.update(task, completed=done, speed=speed)
                shown_s = now_s

        yield update


def _lines(console: Console, audio_s: float) -> Callable[[int, int], None]:
    begun_s, tenth = time.perf_counter(), 0

    def update(done: int, total: int) -> None:
        nonlocal tenth
        if done * 10 // total > tenth:
            tenth = done * 10 // total
            wall_s = time.perf_counter() - begun_s
            speed, left_s = _speed(audio_s * done / total, wall_s), wall_s * (total - done) / done
            message = f"{done} of {total} utterances, {speed} real time, {left_s:.0f} s left"
            console.print(message, highlight=False, soft_wrap=True)

    return update


def _speed(audio_s: float, wall_s: float) -> str:
    return f"{audio_s / max(wall_s, 1e-9):,.0f} x" if audio_s else "unknown x"
