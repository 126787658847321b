"""Shows a run as one HTML page that needs no other file, no script and no network.

First how it ended and what it scored, with intervals; then what that rests on, each part only where
the run has it.
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
from polymodal.report import charts, format, html
from polymodal.report.embeddings import embedding_entries, embedding_rows, embeddings_section
from polymodal.report.encoder_origins import origins
from polymodal.report.format import NONE, as_finite, format_score, interval
from polymodal.report.sections import (
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
STEPS = ("epoch", "step", "fold")  # of a line of the journal
MAX_CURVES = 12
MAX_ERRORS = 20
MAX_SPEAKERS = 100
UNREPORTED = ("classes", "leaks")  # of the data: shown by themselves


@dataclass(frozen=True)
class RunPage:
    """What the page of a run is made of.

    Args:
        record: Its record.
        tables: Part to predictions; `test`, `val` and `train` are shown.
        scores: Name to score.
        monitor: The score that stands first.
        lines: Its journal, a mapping a line.
        config: Its configuration as YAML.
        overrides: What was given on the command line.
        heard: Reads what utterances were, by id; those that it does not know are left out.
        subsets: Predictions of the first part shown where only some modalities are given.
        embeddings: Modality to what `describe_embeddings` returned, of a deep fusion.
    """

    record: RunRecord
    tables: Mapping[str, PredictionTable]
    scores: Mapping[str, Score]
    monitor: str
    lines: Sequence[Mapping[str, Any]] = ()
    config: str = ""
    overrides: Sequence[str] = ()
    heard: Callable[[Sequence[str]], Mapping[str, PlayableExample]] = field(default=lambda ids: {})
    subsets: PredictionTable | None = None
    embeddings: object = None

    @cached_property
    def intervals(self) -> dict[str, dict[str, float | int]]:
        """Each score with its interval, of the parts that are there."""
        intervals: dict[str, dict[str, float | int]] = {}
        for part in SPLITS:
            if (known := self.known(part)) is not None:
                intervals |= bootstrap_cis(known, self.scores, part)
        return intervals

    def known(self, part: str) -> PredictionTable | None:
        """Return the rows of a part whose truth is known, or None."""
        table = self.tables.get(part)
        if table is None:
            return None
        frame = table.frame.filter(pl.col("label").is_not_null()) if table.classes else table.frame
        return table.with_frame(frame) if frame.height else None

    @property
    def first(self) -> PredictionTable | None:
        """The rows that details are shown of: of test, else of validation."""
        found = (self.known(part) for part in SPLITS[:2])
        return next((one for one in found if one is not None and one.classes), None)


def write_page(page: RunPage, folder: Path) -> Path:
    """Write `report.html`, its tables as CSV, Markdown and LaTeX, its pictures as SVG and PDF.

    Args:
        page: What it is made of.
        folder: The run folder; `tables/` and `figures/` are made in it.

    Raises:
        OSError: A file cannot be written.
    """
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    title = f"{page.record.name} {page.record.run_id}"
    for name, exact, rows in (
        ("scores", _exact_scores(page), _score_rows(page)),
        ("classes", _exact_classes(page), _class_rows(page)),
        ("confusion", _confusion_rows(page), _confusion_rows(page)),
        ("speakers", _exact_speakers(page), _speaker_rows(page)),
        ("modalities", _modality_rows(page), _modality_rows(page)),
        ("embeddings", _embedding_rows(page), _embedding_rows(page)),
    ):
        if len(rows) > 1:
            atomic_write_text(folder / "tables" / f"{name}.csv", format.csv_text(exact))
            atomic_write_text(folder / "tables" / f"{name}.md", format.markdown(rows))
            atomic_write_text(folder / "tables" / f"{name}.tex", format.latex(rows, title))
    path = folder / "report.html"
    with charts.export_figures(folder / "figures"):
        sections = [(name, title, section(page)) for name, title, section in SECTIONS]
    about = f"{page.record.run_id}, {page.record.status}"
    title = f"Run: {page.record.name}"
    atomic_write_text(path, html.document(title, about, _headline(page), sections))
    return path


def _headline(page: RunPage) -> str:
    """How it ended, and the main score."""
    record, lines = page.record, []
    key = next((f"{part}/{page.monitor}" for part in SPLITS if _has(page, part)), None)
    headline = f"The run is {record.status}: nothing was scored."
    if key is not None:
        headline = f"{key} {interval(page.intervals[key])}"
        lines.append(f"Mean and 95 % interval over {_unit(page, key)}.")
    if record.status != "finished":
        lines.append(f"The run is {record.status}; what is shown is what there is.")
    if record.error:
        lines.append(record.error)
    colour = {"finished": "good", "failed": "bad"}.get(record.status, "fair")
    return (
        f'<div class="verdict {colour if key else "fair"}">'
        f"<strong>{html.escape_html(headline)}</strong>"
        f"<p>{html.escape_html(' '.join(lines))}</p></div>"
    )


def _has(page: RunPage, part: str) -> bool:
    return f"{part}/{page.monitor}" in page.intervals


def _unit(page: RunPage, key: str) -> str:
    table = page.known(key.partition("/")[0])
    speakers = table.speakers() if table is not None else None
    num = int(page.intervals[key]["n"])
    told = format.pluralise(num, "utterance")
    return (
        told if speakers is None else f"{told} of {format.pluralise(len({*speakers}), 'speaker')}"
    )


def _score_rows(page: RunPage) -> list[list[str]]:
    names = list(dict.fromkeys(key.partition("/")[2] for key in page.intervals))
    names.sort(key=lambda name: name != page.monitor)
    rows = [["part", *names]]
    for part in SPLITS:
        if page.known(part) is not None:
            shown = (page.intervals.get(f"{part}/{name}") for name in names)
            rows.append([part, *(interval(one) if one else NONE for one in shown)])
    return rows


def _exact_scores(page: RunPage) -> list[list[object]]:
    """A row a score, for programs."""
    columns = ("mean", "low", "high", "n")
    rows: list[list[object]] = [["part", "score", *columns]]
    for key, one in page.intervals.items():
        rows.append([*key.split("/", 1), *(one[name] for name in columns)])
    return rows


def _scores(page: RunPage) -> str:
    rows = _score_rows(page)
    if len(rows) == 1:
        return ""
    ends = {"csv": "CSV", "md": "Markdown", "tex": "LaTeX"}
    files = ", ".join(f'<a href="tables/scores.{end}">{told}</a>' for end, told in ends.items())
    note = (
        f"<p>Mean [95 % interval], drawn over speakers where four or more are known: {files}. "
        "The other tables lie beside it, the pictures as SVG and PDF in figures/.</p>"
    )
    return note + html.table(rows, words=(0,))


def _progress(page: RunPage) -> str:
    """Losses in one picture, the validation scores in others."""
    found: dict[str, dict[str, dict[float, list[float]]]] = {}
    for line in page.lines:
        epoch = as_finite(line.get("epoch"))
        for name, value in line.items():
            if name not in STEPS and epoch is not None and (shown := as_finite(value)) is not None:
                folds = found.setdefault(name, {}).setdefault(str(line.get("fold", "")), {})
                folds.setdefault(epoch + 1, []).append(shown)
    lines = {
        name: {
            fold: [(epoch, sum(some) / len(some)) for epoch, some in sorted(points.items())]
            for fold, points in folds.items()
        }
        for name, folds in found.items()
    }
    moving = {name for name, line in lines.items() if max(map(len, line.values())) > 1}
    losses = [one for one in ("train/loss", "val/loss") if one in moving]
    scores = sorted(one for one in moving if one.startswith("val/") and one not in losses)
    scores.sort(key=lambda name: name != f"val/{page.monitor}")
    scores, more = scores[:MAX_CURVES], len(scores) - MAX_CURVES
    pictures = [charts.progress({loss: lines[loss] for loss in losses}, "loss")] if losses else []
    pictures += [
        charts.progress({score: lines[score]}, score.partition("/")[2]) for score in scores
    ]
    if "train/lr" in moving:
        pictures.append(charts.progress({"train/lr": lines["train/lr"]}, "learning rate"))
    told = f"<p>{more:,} further curves stand in metrics.jsonl.</p>" if more > 0 else ""
    return (
        html.grid([html.figure(picture, kind="narrow") for picture in pictures], 2, "grid two")
        + told
    )


def _confusion_rows(page: RunPage) -> list[list[str]]:
    """A row a true class, a column a said one: counts."""
    if (table := page.first) is None:
        return []
    said = table.logits().argmax(axis=1)
    matrix = confusion_matrix(said, table.targets(), len(table.classes)).tolist()
    rows = [[name, *map(str, row)] for name, row in zip(table.classes, matrix, strict=True)]
    return [["true / said", *table.classes], *rows]


def _confusion(page: RunPage) -> str:
    if (table := page.first) is None:
        return ""
    body = {}
    for name, *counts in _confusion_rows(page)[1:]:
        row = [int(count) for count in counts]
        shares = [one / (sum(row) or 1) for one in row]
        body[name] = [
            html.heatmap_cell(share, format_score(share), f"{num:,}")
            for share, num in zip(shares, row, strict=True)
        ]
    note = "<p>Rows are true, columns were said: the share of the row, and the count below it.</p>"
    return note + html.heatmap_table("true / said", table.classes, body)


def _exact_classes(page: RunPage) -> list[list[object]]:
    """A row a class, for programs."""
    rows: list[list[object]] = [["class", "utterances", "recall", "precision", "f1"]]
    if (table := page.first) is not None:
        rows += [[*astuple(metric)] for metric in per_class_metrics(table)]
    return rows


def _class_rows(page: RunPage) -> list[list[str]]:
    heading, *rows = _exact_classes(page)
    shown = [[str(name), f"{num:,}", *map(format_score, shares)] for name, num, *shares in rows]
    return [[*map(str, heading)], *shown]


def _classes(page: RunPage) -> str:
    rows = _class_rows(page)
    return html.table(rows, words=(0,)) if len(rows) > 1 else ""


def _reliability(page: RunPage) -> str:
    if (table := page.first) is None:
        return ""
    points = [(one.confidence, one.accuracy, one.num) for one in reliability(table)]
    note = "Below the dotted line the model is surer than it is right."
    return html.figure(charts.reliability(points), note, kind="narrow")


def _exact_speakers(page: RunPage) -> list[list[object]]:
    """A row a speaker, the hardest first, for programs."""
    table = page.first
    if table is None or table.speakers() is None:
        return []
    result = accuracy_by_speaker(table)
    counts = dict(table.frame[SPEAKER].value_counts().iter_rows())
    hardest = sorted(result, key=lambda one: (result[one], one))
    rows: list[list[object]] = [[one, counts[one], result[one]] for one in hardest]
    return [["speaker", "utterances", "accuracy"], *rows]


def _speaker_rows(page: RunPage) -> list[list[str]]:
    heading, *rows = _exact_speakers(page) or [[]]
    shown = [[str(name), f"{num:,}", format_score(share)] for name, num, share in rows]
    return [[*map(str, heading)], *shown]


def _speakers(page: RunPage) -> str:
    heading, *rows = _speaker_rows(page)
    if not rows:
        return ""
    shares = sorted(accuracy_by_speaker(page.first).values()) if page.first else []
    drawn = charts.strip_plot({"accuracy": shares}, "accuracy")
    title = f"{format.pluralise(len(rows), 'speaker')}, the hardest first"
    table = html.table([heading, *rows[:MAX_SPEAKERS]], words=(0,))
    return html.figure(drawn) + html.collapsible(title, table, len(rows))


def _subset_scores(page: RunPage) -> tuple[str, dict[str, dict[str, float | int]]]:
    """The main score of a subset of the modalities, by their names."""
    key = f"{SPLITS[0]}/{page.monitor}"
    if page.subsets is None or key not in page.intervals:
        return key, {}
    found = {}
    for (split,), frame in page.subsets.frame.group_by(["split"], maintain_order=True):
        scored = bootstrap_cis(page.subsets.with_frame(frame), page.scores, SPLITS[0])
        found[str(split).partition("@")[2]] = scored[key]
    return key, found


def _modality_rows(page: RunPage) -> list[list[str]]:
    key, found = _subset_scores(page)
    return contribution_rows(page.intervals[key], found) if found else []


def _modalities(page: RunPage) -> str:
    key, found = _subset_scores(page)
    return contributions(page.intervals[key], found, key) if found else ""


def _embedding_rows(page: RunPage) -> list[list[str]]:
    entries = embedding_entries(page.embeddings)
    return embedding_rows(entries) if entries else []


def _embeddings(page: RunPage) -> str:
    classes = page.first.classes if page.first else ()
    return embeddings_section(embedding_entries(page.embeddings), classes)


def _errors(page: RunPage) -> str:
    """The utterances of which the model was surest, and wrong."""
    if (table := page.first) is None:
        return ""
    worst = most_confident_errors(table, MAX_ERRORS)
    wrong = table.frame.filter(pl.col("predicted") != pl.col("label")).height
    note = f"<p>{wrong:,} of {len(table):,} are wrong; those of which the model was surest:</p>"
    return note * bool(worst) + errors(worst, page.heard)


def _data(page: RunPage) -> str:
    data = {name: one for name, one in page.record.data.items() if name not in UNREPORTED}
    rows = [[name.replace("_", " "), format.value(one) or NONE] for name, one in data.items()]
    rows += [["classes", format.value(page.record.data.get("classes"))]]
    shared = leaks(page.record.data.get("leaks"))
    if not page.record.data:
        return ""
    return html.table([["", ""], *rows], words=(0, 1)) + origins(page.record) + shared


def _resources(page: RunPage) -> str:
    record, rows = page.record, []
    for name, seconds in (record.notes.get("stage_s") or {}).items():
        rows.append([name, format.duration(seconds)])
    rows.append(["the whole run", format.duration(record.duration_s)])
    rows += [
        [name.replace("_", " "), format.value(note)]
        for name, note in record.notes.items()
        if name not in ("stage_s", "assignment")
    ]
    rows += [[f"machine: {name}", format.value(one)] for name, one in record.host.items()]
    return html.table([["", ""], *rows], words=(0, 1))


def _repeat(page: RunPage) -> str:
    record = page.record
    given = f"<pre><code>{html.escape_html(format.command(record.command))}</code></pre>"
    again = f"<pre><code>polymodal run --again {html.escape_html(record.run_id)}</code></pre>"
    code = f"<p>Code: {html.escape_html(format.value(record.code))}</p>"
    versions = html.collapsible(
        "versions",
        html.table(
            [["", ""], *([name, version] for name, version in record.versions.items())],
            words=(0, 1),
        ),
    )
    config = html.collapsible(
        "configuration", f"<pre><code>{html.escape_html(page.config)}</code></pre>"
    )
    return given + (again if record.kind == "run" else "") + code + versions + config


SECTIONS: tuple[tuple[str, str, Callable[[RunPage], str]], ...] = (
    ("scores", "Scores", _scores),
    ("progress", "Training", _progress),
    ("confusion", "Confusion", _confusion),
    ("classes", "Classes", _classes),
    ("reliability", "Calibration", _reliability),
    ("speakers", "Speakers", _speakers),
    ("modalities", "What each modality adds", _modalities),
    ("embeddings", "Embeddings that the fusion reads", _embeddings),
    ("errors", "Worst errors", _errors),
    ("data", "Data and leaks", _data),
    ("resources", "Time and memory", _resources),
    ("repeat", "Repeat it", _repeat),
)
