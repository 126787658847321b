"""Write a run as one HTML page without other files, scripts or network.

First its status and scores with intervals; then the details, each section only if the run has it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.evaluation.breakdown import (
    accuracy_by_speaker,
    bootstrap_cis,
    most_confident_errors,
    per_class_metrics,
    reliability,
)
from polymodal.evaluation.classification import Score
from polymodal.evaluation.confusion import confusion_matrix
from polymodal.report import charts, format
from polymodal.report.blocks import (
    Block,
    Details,
    Figure,
    Grid,
    Link,
    Listing,
    Table,
    Verdict,
    confusion_heatmap,
    document,
    key_value_table,
    paragraph,
)
from polymodal.report.embeddings import embedding_entries, embedding_rows, embeddings_section
from polymodal.report.encoder_origins import origins
from polymodal.report.format import NONE, as_finite, format_score, interval
from polymodal.report.sections import (
    CONFUSION_NOTE,
    PlayableExample,
    contribution_rows,
    contributions,
    errors,
    leaks,
)
from polymodal.schemas.predictions import SPEAKER, PredictionTable
from polymodal.schemas.run_record import RunRecord
from polymodal.security.files import atomic_write_text

SPLITS = ("test", "val", "train")
STEPS = ("epoch", "step", "fold")  # of a line of the metrics log
MAX_CURVES = 12
MAX_ERRORS = 20
MAX_SPEAKERS = 100
UNREPORTED = ("classes", "leaks")  # of the data: shown by themselves


@dataclass(frozen=True)
class RunPage:
    """The content of the page of a run."""

    record: RunRecord  # its record
    # split to predictions; `test`, `val` and `train` are shown
    tables: Mapping[str, PredictionTable]
    scores: Mapping[str, Score]  # name to score
    monitor: str  # the score that comes first
    lines: Sequence[Mapping[str, Any]] = ()  # its metrics log, a mapping per line
    config: str = ""  # its configuration as YAML
    # reads utterances by id; those that it does not know are left out
    heard: Callable[[Sequence[str]], Mapping[str, PlayableExample]] = field(default=lambda ids: {})
    # predictions of the test split with only some modalities given
    subsets: PredictionTable | None = None
    fold_marks: Sequence[str] = ()  # why the scores of some folds say less than their name
    embeddings: object = None  # modality to the result of `describe_embeddings`, of a deep fusion

    @cached_property
    def intervals(self) -> dict[str, dict[str, float | int]]:
        """Each score with its interval, of all splits with predictions."""
        intervals: dict[str, dict[str, float | int]] = {}
        for split in SPLITS:
            if (table := self.labelled(split)) is not None:
                intervals |= bootstrap_cis(table, self.scores, split)
        return intervals

    def labelled(self, split: str) -> PredictionTable | None:
        """Return the rows of a split that have a label, or None."""
        table = self.tables.get(split)
        if table is None:
            return None
        frame = table.frame.filter(pl.col("label").is_not_null()) if table.classes else table.frame
        return table.with_frame(frame) if frame.height else None

    @property
    def first(self) -> PredictionTable | None:
        """The classified rows of test, else of validation, of which details are shown."""
        tables = (self.labelled(split) for split in SPLITS[:2])
        return next((table for table in tables if table is not None and table.classes), None)


def write_page(page: RunPage, folder: Path) -> Path:
    """Write `report.html` to a run folder, with `tables/` (CSV, Markdown, LaTeX) and `figures/`.

    Raises:
        OSError: A file cannot be written.
    """
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    title = f"{page.record.name} {page.record.run_id}"
    for name, exact, rows in (
        ("scores", _exact_scores(page), _score_rows(page)),
        ("classes", _exact_classes(page), _shown(_exact_classes(page))),
        ("confusion", _confusion_rows(page), _confusion_rows(page)),
        ("speakers", _exact_speakers(page), _shown(_exact_speakers(page))),
        ("modalities", _modality_rows(page), _modality_rows(page)),
        ("embeddings", _embedding_rows(page), _embedding_rows(page)),
    ):
        if len(rows) > 1:
            format.write_table(folder / "tables", name, exact, rows, title)
    path = folder / "report.html"
    with charts.export_figures(folder / "figures"):
        sections = [(name, title, section(page)) for name, title, section in SECTIONS]
    about = f"{page.record.run_id}, {page.record.status}"
    title = f"Run: {page.record.name}"
    atomic_write_text(path, document(title, about, [_headline(page)], sections))
    return path


def _headline(page: RunPage) -> Block:
    record, lines = page.record, []
    keys = [f"{split}/{page.monitor}" for split in SPLITS]
    key = next((key for key in keys if key in page.intervals), None)
    headline = f"The run is {record.status}: nothing was scored."
    if key is not None:
        headline = f"{key} {interval(page.intervals[key])}"
        lines.append(f"Mean and 95 % interval over {_unit(page, key)}.")
    lines += [f"{mark['text'][:1].upper()}{mark['text'][1:]}." for mark in record.marks]
    lines += [f"{mark[:1].upper()}{mark[1:]}." for mark in page.fold_marks]
    if record.status != "finished":
        lines.append(f"The run is {record.status}; what is shown is what there is.")
    if record.error:
        lines.append(record.error)
    colour = {"finished": "good", "failed": "bad"}.get(record.status, "fair")
    return Verdict(colour if key else "fair", headline, " ".join(lines))


def _unit(page: RunPage, key: str) -> str:
    table = page.labelled(key.partition("/")[0])
    speakers = table.speakers() if table is not None else None
    utterances = format.pluralise(int(page.intervals[key]["n"]), "utterance")
    if speakers is None:
        return utterances
    return f"{utterances} of {format.pluralise(len({*speakers}), 'speaker')}"


# Tables: with every digit for CSV (`_exact_...`), and as they are shown (`..._rows`).


def _score_rows(page: RunPage) -> list[list[str]]:
    names = list(dict.fromkeys(key.partition("/")[2] for key in page.intervals))
    names.sort(key=lambda name: name != page.monitor)
    rows = [["split", *names]]
    for split in SPLITS:
        if page.labelled(split) is not None:
            keys = [f"{split}/{name}" for name in names]
            cells = [interval(page.intervals[k]) if page.intervals.get(k) else NONE for k in keys]
            marked = zip(keys, cells, strict=True)
            is_marked = page.record.is_marked
            rows.append([split, *(cell + "*" * is_marked(key) for key, cell in marked)])
    return rows


def _exact_scores(page: RunPage) -> list[list[object]]:
    columns = ("mean", "low", "high", "n")
    rows: list[list[object]] = [["split", "score", *columns]]
    for key, score in page.intervals.items():
        rows.append([*key.split("/", 1), *(score[name] for name in columns)])
    return rows


def _scores(page: RunPage) -> list[Block]:
    rows = _score_rows(page)
    if len(rows) == 1:
        return []
    formats = {"csv": "CSV", "md": "Markdown", "tex": "LaTeX"}
    csv, markdown, latex = (Link(name, f"tables/scores.{end}") for end, name in formats.items())
    note = paragraph(
        "Mean [95 % interval], drawn over speakers where four or more are known: ",
        *(csv, ", ", markdown, ", ", latex),
        ". The other tables lie beside it, the pictures as SVG and PDF in figures/.",
    )
    return [note, Table(rows, (0,))]


def _progress(page: RunPage) -> list[Block]:
    """Draw losses in one picture, each validation score in another."""
    lines = _curves(page.lines)
    moving = {name for name, line in lines.items() if max(map(len, line.values())) > 1}
    names: tuple[str, ...] = ("train/loss", "val/loss")
    losses = {name: lines[name] for name in names if name in moving}
    scores = sorted(name for name in moving if name.startswith("val/") and name not in losses)
    scores.sort(key=lambda name: name != f"val/{page.monitor}")
    pictures = [charts.progress(losses, "loss")] if losses else []
    pictures += [
        charts.progress({score: lines[score]}, score.partition("/")[2])
        for score in scores[:MAX_CURVES]
    ]
    if "train/lr" in moving:
        pictures.append(charts.progress({"train/lr": lines["train/lr"]}, "learning rate"))
    if not pictures:
        return []
    grid = Grid([Figure(picture, kind="narrow") for picture in pictures], 2, "grid two")
    more = len(scores) - MAX_CURVES
    note = paragraph(f"{more:,} further curves stand in metrics.jsonl.")
    return [grid, note] if more > 0 else [grid]


def _curves(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return the mean of every epoch by score and fold."""
    values: dict[str, dict[str, dict[float, list[float]]]] = {}
    for line in lines:
        epoch, fold = as_finite(line.get("epoch")), str(line.get("fold", ""))
        for name, value in line.items():
            number = as_finite(value)
            if name not in STEPS and epoch is not None and number is not None:
                epochs = values.setdefault(name, {}).setdefault(fold, {})
                epochs.setdefault(epoch + 1, []).append(number)
    return {
        name: {
            fold: [(epoch, sum(epochs[epoch]) / len(epochs[epoch])) for epoch in sorted(epochs)]
            for fold, epochs in folds.items()
        }
        for name, folds in values.items()
    }


def _confusion_counts(table: PredictionTable) -> list[list[int]]:
    predicted = table.logits().argmax(axis=1)
    counts = confusion_matrix(predicted, table.targets(), len(table.classes))
    return [list(map(int, row)) for row in counts]


def _confusion_rows(page: RunPage) -> list[list[str]]:
    if (table := page.first) is None:
        return []
    counts = _confusion_counts(table)
    rows = [[name, *map(str, row)] for name, row in zip(table.classes, counts, strict=True)]
    return [["true / predicted", *table.classes], *rows]


def _confusion(page: RunPage) -> list[Block]:
    if (table := page.first) is None:
        return []
    note = paragraph(CONFUSION_NOTE)
    return [note, confusion_heatmap(table.classes, _confusion_counts(table))]


def _exact_classes(page: RunPage) -> list[list[object]]:
    rows: list[list[object]] = [["class", "utterances", "recall", "precision", "f1"]]
    if (table := page.first) is not None:
        rows += [[*astuple(metric)] for metric in per_class_metrics(table)]
    return rows


def _shown(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """Return rows as they are shown: counts with commas, scores with three decimals."""
    return [[cell if isinstance(cell, str) else _number(cell) for cell in row] for row in rows]


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else format_score(value)


def _classes(page: RunPage) -> list[Block]:
    rows = _shown(_exact_classes(page))
    return [Table(rows, (0,))] if len(rows) > 1 else []


def _reliability(page: RunPage) -> list[Block]:
    if (table := page.first) is None:
        return []
    points = [(point.confidence, point.accuracy, point.num) for point in reliability(table)]
    note = "Below the dotted line the confidence of the model exceeds its accuracy."
    return [Figure(charts.reliability(points), note, kind="narrow")]


def _exact_speakers(page: RunPage) -> list[list[object]]:
    """Return a row per speaker, the hardest first."""
    table = page.first
    if table is None or table.speakers() is None:
        return []
    accuracies = accuracy_by_speaker(table)
    counts = dict(table.frame[SPEAKER].value_counts().iter_rows())
    hardest = sorted(accuracies, key=lambda name: (accuracies[name], name))
    rows: list[list[object]] = [[name, counts[name], accuracies[name]] for name in hardest]
    return [["speaker", "utterances", "accuracy"], *rows]


def _speakers(page: RunPage) -> list[Block]:
    heading, *rows = _shown(_exact_speakers(page)) or [[]]
    if not rows:
        return []
    accuracies = sorted(accuracy_by_speaker(page.first).values()) if page.first else []
    title = f"{format.pluralise(len(rows), 'speaker')}, the hardest first"
    table = Table([heading, *rows[:MAX_SPEAKERS]], (0,))
    figure = Figure(charts.strip_plot({"accuracy": accuracies}, "accuracy"))
    return [figure, Details(title, [table], len(rows))]


def _subset_scores(page: RunPage) -> tuple[str, dict[str, dict[str, float | int]]]:
    """Return the key of the main score, and its value for each subset of the modalities."""
    key = f"{SPLITS[0]}/{page.monitor}"
    if page.subsets is None or key not in page.intervals:
        return key, {}
    scores = {}
    for (split,), frame in page.subsets.frame.group_by(["split"], maintain_order=True):
        scored = bootstrap_cis(page.subsets.with_frame(frame), page.scores, SPLITS[0])
        scores[str(split).partition("@")[2]] = scored[key]
    return key, scores


def _modality_rows(page: RunPage) -> list[list[str]]:
    key, scores = _subset_scores(page)
    return contribution_rows(page.intervals[key], scores) if scores else []


def _modalities(page: RunPage) -> list[Block]:
    key, scores = _subset_scores(page)
    return contributions(page.intervals[key], scores, key) if scores else []


def _embeddings(page: RunPage) -> list[Block]:
    classes = page.first.classes if page.first else ()
    return embeddings_section(embedding_entries(page.embeddings), classes)


def _embedding_rows(page: RunPage) -> list[list[str]]:
    entries = embedding_entries(page.embeddings)
    return embedding_rows(entries) if entries else []


def _errors(page: RunPage) -> list[Block]:
    if (table := page.first) is None:
        return []
    worst = most_confident_errors(table, MAX_ERRORS)
    num_wrong = table.frame.filter(pl.col("predicted") != pl.col("label")).height
    note = paragraph(f"{num_wrong:,} of {len(table):,} are wrong; the most confident errors:")
    shown = errors(worst, page.heard)
    return [note, shown] if worst else [shown]


def _data(page: RunPage) -> list[Block]:
    data = page.record.data
    if not data:
        return []
    rows = [
        [name.replace("_", " "), format.value(data[name]) or NONE]
        for name in data
        if name not in UNREPORTED
    ]
    rows.append(["classes", format.value(data.get("classes"))])
    return [key_value_table(rows), *origins(page.record), *leaks(data.get("leaks"))]


def _resources(page: RunPage) -> list[Block]:
    record, stages = page.record, page.record.notes.get("stage_s") or {}
    rows = [[name, format.duration(seconds)] for name, seconds in stages.items()]
    rows.append(["the whole run", format.duration(record.duration_s)])
    rows += [
        [name.replace("_", " "), format.value(note)]
        for name, note in record.notes.items()
        if name not in ("stage_s", "assignment")
    ]
    rows += [[f"machine: {name}", format.value(value)] for name, value in record.host.items()]
    return [key_value_table(rows)]


def _repeat(page: RunPage) -> list[Block]:
    record = page.record
    again = [Listing(f"polymodal run --again {record.run_id}")] if record.kind == "run" else []
    versions = [[name, version] for name, version in record.versions.items()]
    return [
        Listing(format.command(record.command)),
        *again,
        paragraph(f"Code: {format.value(record.code)}"),
        Details("versions", [key_value_table(versions)]),
        Details("configuration", [Listing(page.config)]),
    ]


SECTIONS: tuple[tuple[str, str, Callable[[RunPage], list[Block]]], ...] = (
    ("scores", "Scores", _scores),
    ("progress", "Training", _progress),
    ("confusion", "Confusion", _confusion),
    ("classes", "Classes", _classes),
    ("reliability", "Calibration", _reliability),
    ("speakers", "Speakers", _speakers),
    ("modalities", "What each modality adds", _modalities),
    ("embeddings", "Embeddings that the fusion reads", _embeddings),
    ("errors", "Most confident errors", _errors),
    ("data", "Data and leaks", _data),
    ("resources", "Time and memory", _resources),
    ("repeat", "Repeat it", _repeat),
)
