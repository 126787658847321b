"""Blocks that the pages of runs and studies share: leaks, modalities, most confident errors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polymodal.report import charts
from polymodal.report.blocks import Block, Content, Example, Figure, Table, paragraph
from polymodal.report.format import MINUS, NONE, as_finite, format_score, interval


@dataclass(frozen=True)
class PlayableExample:
    """The transcript of an utterance, and its audio as a data URL, if known."""

    text: str | None = None
    audio: str | None = None


ExampleLoader = Callable[[Sequence[str]], Mapping[str, PlayableExample]]
CONFUSION_NOTE = (
    "Rows are true, columns are predicted: the share of the row, and the count below it."
)
Scores = Mapping[str, Mapping[str, Any]]  # name to mean, low and high


def leaks(columns: Mapping[str, Any] | None) -> list[Block]:
    """Show what the splits of the data share, as `leak_rows` takes it."""
    if not columns:
        nothing = paragraph("The splits share nothing that was looked for.")
        return [] if columns is None else [nothing]
    return [Table(leak_rows(columns), (0,))]


def leak_rows(columns: Mapping[str, Any] | None) -> list[list[str]]:
    """Return what the splits of the data share: a heading, then a row per column.

    Args:
        columns: Column to the number of folds, of values and the fraction of test rows, and to how
            well the class is guessed from it alone; None if unknown.
    """
    head = ["training shares with test", "folds", "values", "fraction of the test rows"]
    guessed = any(
        isinstance(leak, Mapping) and "guess_uar" in leak for leak in (columns or {}).values()
    )
    rows = [[*head, *(["UAR of the class guessed from it alone", "chance"] if guessed else [])]]
    for column, leak in (columns or {}).items():
        leak = leak if isinstance(leak, Mapping) else {"values": leak}  # of an early version
        counts = [str(leak.get(name, NONE)) for name in ("folds", "values")]
        fraction = as_finite(leak.get("test_share"))
        shared = NONE if fraction is None else f"{100 * fraction:.1f} %"
        guess = [as_finite(leak.get(name)) for name in ("guess_uar", "chance")]
        scores = [NONE if score is None else format_score(score) for score in guess]
        rows.append([str(column), *counts, shared, *(scores if guessed else [])])
    return rows


def contribution_rows(full: Mapping[str, Any], subsets: Scores) -> list[list[str]]:
    """Return the score with only some modalities given: a heading and a row per subset."""
    rows = [["given", "score", f"{MINUS} with all"], ["all", interval(full), NONE]]
    full_mean = as_finite(full.get("mean"))
    for name in sorted(subsets, key=lambda name: (name.count("+"), name)):
        mean = as_finite(subsets[name].get("mean"))
        if mean is None or full_mean is None:
            difference = NONE
        else:
            difference = format_score(mean - full_mean, signed=True)
        rows.append([name.replace("+", " + "), interval(subsets[name]), difference])
    return rows


def contributions(full: Mapping[str, Any], subsets: Scores, label: str) -> list[Block]:
    """Show what each modality adds: a picture and a table."""
    estimates = [
        charts.Estimate(
            name.replace("+", " + "), mean, as_finite(score.get("low")), as_finite(score["high"])
        )
        for name, score in {"all": full, **subsets}.items()
        if (mean := as_finite(score.get("mean"))) is not None
    ]
    if len(estimates) < 2:
        return []
    note = "One model, trained on all; it is given these modalities only. Mean and 95 % interval."
    figure = Figure(charts.forest_plot(estimates, f"{label} by modalities"), note)
    return [figure, Table(contribution_rows(full, subsets), (0,))]


def no_examples(ids: Sequence[str]) -> Mapping[str, PlayableExample]:
    """Return no example."""
    return {}


def errors(rows: Sequence[Mapping[str, Any]], load_examples: ExampleLoader) -> Block:
    """Show wrong predictions with transcripts and audio."""
    if not rows:
        return paragraph("Every utterance was recognised.")
    examples = load_examples([str(row["utterance_id"]) for row in rows])
    table: list[list[Content]] = [["utterance", "speaker", "true", "predicted", "confidence", ""]]
    for row in rows:
        example = examples.get(str(row["utterance_id"]), PlayableExample())
        cells = [row["utterance_id"], row.get("speaker") or NONE, row["label"], row["predicted"]]
        shown = Example(example.text or "", example.audio)
        table.append([*map(str, cells), format_score(row["sure"]), shown])
    return Table(table, (0, 1, 2, 3, 5))
