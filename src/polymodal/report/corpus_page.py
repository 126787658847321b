"""Shows an inspection as one HTML page with plots that needs no other file and no network."""

import importlib.util
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from polymodal.corpora.validation.class_table import (
    ALL,
    MAX_SPEAKERS,
    NONE,
    OTHERS,
    ClassTable,
    class_table,
)
from polymodal.corpora.validation.issues import DataIssue, Inspection
from polymodal.errors import MissingExtraError
from polymodal.report import charts, html
from polymodal.report.format import strip_control_chars
from polymodal.schemas.manifest import Manifest

SHOWN_EXAMPLES = 20
SCATTERED = 3_000
BINS = 40
NAMED_COLOURS = 8
LISTED_CLASSES = 30
OPEN_SPEAKERS = 40
MAX_NAME = 24
# Readable on white and on near-black; after Okabe and Ito, who made them for colour-blind readers.
COLOURS = (
    "#0f7fc2",
    "#e08a00",
    "#129a72",
    "#cc6ba3",
    "#d1551b",
    "#55aee0",
    "#a8962a",
    "#8a6fd1",
)
GREYS = {NONE: "#b4b9be", OTHERS: "#7f848a"}
RED = "#d6402b"
SETTINGS: Any = {  # as in charts
    **charts.SETTINGS,
    "svg.hashsalt": "polymodal",
    "axes.titlecolor": charts.INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.fontsize": 8,
}


def require_matplotlib() -> None:
    """Sees to it that the plots can be drawn, before anything long begins.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "plots")


def write_page(
    manifest: Manifest, inspection: Inspection, path: Path, *, split: pl.Series | None = None
) -> None:
    """Write the page: verdict, issues by rule, plots, and the classes by split and speaker.

    Args:
        manifest: The corpus.
        inspection: What was found in it.
        path: The HTML file to write.
        split: Name of the split of each row; None where the corpus is not parted.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    require_matplotlib()
    classes = class_table(manifest, split)
    title = f"Corpus check: {_corpus_name(manifest)}"
    head = _verdict(inspection) + _figures(inspection, classes)
    plots = "".join(_plots(manifest, inspection, classes))
    sections = [
        ("findings", "Findings", "\n".join(_findings(inspection))),
        ("plots", "Plots", f'<div class="grid two">{plots}</div>'),
        ("classes", "Classes by split and speaker", "\n".join(_classes(classes))),
    ]
    path.write_text(html.document(title, "", head, sections), encoding="utf-8")


def _corpus_name(manifest: Manifest) -> str:
    names = manifest.frame["corpus"].drop_nulls().unique().sort().to_list()
    return ", ".join(map(str, names[:3])) + (" and others" if len(names) > 3 else "") or "unnamed"


def _short(text: str) -> str:
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"


def _verdict(inspection: Inspection) -> str:
    kinds = {"usable": "good", "usable with warnings": "fair", "not usable": "bad"}
    sentence = inspection.summary[:1].upper() + inspection.summary[1:]
    return (
        f'<div class="verdict {kinds[inspection.verdict]}"><strong>Verdict: {inspection.verdict}'
        f"</strong><p>{html.escape_html(sentence)}.</p></div>"
    )


def _figures(inspection: Inspection, classes: ClassTable) -> str:
    speed = inspection.seconds / max(inspection.wall_s, 1e-9)
    speakers = classes.counts["speaker"].n_unique()
    entries = [
        f"{inspection.num_utterances:,} utterances",
        f"{speakers:,} speaker{'s' if speakers != 1 else ''}",
        f"{sum(label != NONE for label in classes.labels)} classes",
        f"{inspection.seconds / 3600:.2f} h of audio",
        f"checked in {inspection.wall_s:.1f} s ({speed:,.0f} times real time)",
    ]
    return f'<ul class="facts">{"".join(f"<li>{entry}</li>" for entry in entries)}</ul>'


def _findings(inspection: Inspection) -> list[str]:
    if not inspection.issues:
        return ["<p>None.</p>"]
    return [_rule(rule, found) for rule, found in inspection.by_rule().items()]


def _rule(rule: str, found: Sequence[DataIssue]) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape_html(one.utterance_id)}</code></td><td>{html.escape_html(one.detail)}</td></tr>"
        for one in found[:SHOWN_EXAMPLES]
    )
    left = len(found) - SHOWN_EXAMPLES
    more = f"<p>and {left:,} more; check.json has the first hundred</p>" if left > 0 else ""
    kind = "bad" if found[0].severity == "fault" else "fair"
    return (
        f'<details><summary><strong class="{kind}">{found[0].severity}</strong> '
        f"{html.escape_html(rule)} "
        f'<span class="count">{len(found):,}</span></summary><div class="scroll">'
        f'<table class="examples">{rows}</table></div>{more}</details>'
    )


def _classes(classes: ClassTable) -> list[str]:
    lines = []
    if classes.missing:
        pairs = ", ".join(
            f"{html.escape_html(label)} in {html.escape_html(split)}"
            for label, split in classes.missing
        )
        lines.append(f'<p><strong class="fair">Absent classes:</strong> {pairs}</p>')
    num_speakers = classes.counts["speaker"].n_unique()
    listed = classes.top_speakers()
    shown = "" if num_speakers > OPEN_SPEAKERS else " open"
    told = f"{num_speakers:,} speaker{'s' if num_speakers != 1 else ''}"
    if num_speakers > MAX_SPEAKERS:
        told += f", the {MAX_SPEAKERS} largest named"
    lines.append(f"<details{shown}><summary>Utterances by split and speaker: {told}</summary>")
    lines += ['<div class="scroll">', *_class_rows(listed), "</div></details>"]
    return lines


def _class_rows(classes: ClassTable) -> list[str]:
    labels, cells = classes.labels[:LISTED_CLASSES], classes.totals("split", "speaker", "label")
    totals, sums = classes.totals("split", "label"), classes.totals("split")
    speakers = classes.totals("split", "speaker")
    heads = "".join(f"<th>{html.escape_html(label)}</th>" for label in labels)
    lines = [
        f'<table><thead><tr><th>split</th><th class="name">speaker</th>{heads}<th>total</th></tr>'
        "</thead><tbody>"
    ]
    for split in classes.splits:
        counts = [totals.get((split, label), 0) for label in labels]
        row = _row(split, "all speakers", counts, sums[(split,)], 0)
        lines.append(row.replace("<tr>", '<tr class="total">', 1))
        names = [name for part, name in speakers if part == split]
        hottest = max(cells.get((split, name, label), 0) for name in names for label in labels)
        for name in sorted(names, key=lambda one: (one == OTHERS, one)):
            counts = [cells.get((split, name, label), 0) for label in labels]
            heat = 0 if name == OTHERS else hottest
            lines.append(_row(split, name, counts, speakers[(split, name)], heat))
    left = len(classes.labels) - len(labels)
    note = [f"<p>and {left} more classes</p>"] if left > 0 else []
    return [*lines, "</tbody></table>", *note]


def _row(split: str, speaker: str, counts: Sequence[int], total: int, hottest: int) -> str:
    cells = "".join(_cell(count, hottest) for count in counts)
    names = f'<td>{html.escape_html(split)}</td><td class="name">{html.escape_html(speaker)}</td>'
    return f"<tr>{names}{cells}<td>{total:,}</td></tr>"


def _cell(count: int, hottest: int) -> str:
    if not count:
        return '<td class="none">0</td>'
    if not hottest:
        return f"<td>{count:,}</td>"
    share = min(count / hottest, 1) * 0.55
    return f'<td style="background: rgb(var(--heat) / {share:.2f})">{count:,}</td>'


def _plots(manifest: Manifest, inspection: Inspection, classes: ClassTable) -> list[str]:
    import matplotlib

    measures = inspection.measures.with_columns(
        label=manifest.frame["label"].replace("", None).fill_null(NONE)
    )
    clipped = [one.utterance_id for one in inspection.by_rule().get("clipped audio", [])]
    drawn: list[str] = []
    with matplotlib.rc_context(SETTINGS), charts.suppress_font_warnings():
        if measures["seconds"].drop_nulls().len():
            drawn.append(_histogram(measures, "seconds", "Durations by class", "seconds (s)"))
        if measures["rms_db"].drop_nulls().len():
            title = "Loudness by class"
            drawn.append(_histogram(measures, "rms_db", title, "loudness (RMS, dBFS)"))
        drawn.append(_class_bars(classes))
        drawn.append(_speaker_bars(classes))
        if measures["rms_db"].drop_nulls().len():
            drawn.append(_scatter(measures, clipped))
    return drawn


def _draw(height: float, paint: Callable[[Any], str]) -> str:
    """One plot as a figure of the page; `paint` draws into the axes and returns the caption."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    caption = paint(axes)
    buffer = StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format")))
    svg = charts.inline_svg(buffer.getvalue(), axes.get_title(loc="left"))
    note = f"<figcaption>{html.escape_html(caption)}</figcaption>" if caption else ""
    return f'<figure class="narrow">{svg}{note}</figure>'


def _histogram(measures: pl.DataFrame, column: str, title: str, unit: str) -> str:
    """Stacked by class. The outermost values share the last bins, or they would hide the others."""
    frame = measures.select("label", column).drop_nulls()
    numbers = frame[column].to_numpy()
    low, high = np.quantile(numbers, (0.002, 0.998)).tolist()
    edges = _edges(low, high)
    groups = _grouped(frame["label"])
    labels = groups.to_numpy()
    outside = int(np.count_nonzero((numbers < edges[0]) | (numbers > edges[-1])))
    values = np.clip(numbers, edges[0], edges[-1])

    def paint(axes: Any) -> str:
        below = np.zeros(len(edges) - 1)
        for name, colour in _colours(_ordered(groups)).items():
            counts, _ = np.histogram(values[labels == name], edges)
            some = np.flatnonzero(counts)
            axes.bar(
                edges[some],
                counts[some],
                edges[1] - edges[0],
                below[some],
                align="edge",
                color=colour,
                label=name,
            )
            below += counts
        axes.set(title=title, xlabel=unit, ylabel="utterances")
        axes.margins(x=0.01)
        _legend(axes)
        return f"{outside:,} values beyond the ends are in the outermost bins" if outside else ""

    return _draw(3.4, paint)


def _edges(low: float, high: float) -> np.ndarray:
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def _class_bars(classes: ClassTable) -> str:
    totals = classes.totals("label", "split")
    shown = classes.labels[:LISTED_CLASSES]
    left = len(classes.labels) - len(shown)
    splits = classes.splits

    def paint(axes: Any) -> str:
        ends = np.zeros(len(shown))
        places = range(len(shown))
        for split, colour in _colours(splits).items():
            counts = np.array([totals.get((label, split), 0) for label in shown])
            axes.barh(places, counts, left=ends, color=colour, label=_short(split))
            ends += counts
        axes.set_yticks(places, [_plain(label) for label in shown])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        _whole_numbers(axes.xaxis)
        title = "Utterances a class" + ("" if splits == [ALL] else " and split")
        axes.set(title=title, xlabel="utterances", ylabel="class")
        if splits != [ALL]:
            _legend(axes)
        return f"{left} more classes are not shown" if left else ""

    return _draw(max(1.3 + 0.26 * len(shown), 2.4), paint)


def _speaker_bars(classes: ClassTable) -> str:
    sizes = classes.totals("speaker")
    order = sorted(sizes, key=lambda one: (-sizes[one], one))
    shown = order[:MAX_SPEAKERS]
    counts = [sizes[one] for one in shown]
    rest = sum(sizes[one] for one in order[MAX_SPEAKERS:])

    def paint(axes: Any) -> str:
        if len(shown) <= OPEN_SPEAKERS:
            axes.barh(range(len(shown)), counts, color=COLOURS[0])
            axes.set_yticks(range(len(shown)), [_plain(one) for (one,) in shown])
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")
            _whole_numbers(axes.xaxis)
            axes.set(title="Utterances a speaker", xlabel="utterances", ylabel="speaker")
        else:
            axes.bar(range(1, len(shown) + 1), counts, 0.9, color=COLOURS[0])
            axes.grid(visible=False, axis="x")
            axes.margins(x=0.01)
            _whole_numbers(axes.yaxis)
            axes.set(
                title="Utterances a speaker",
                xlabel="speakers, by number of utterances",
                ylabel="utterances",
            )
        others = len(order) - len(shown)
        return f"{others:,} more speakers have {rest:,} utterances together" if others else ""

    named = len(shown) <= OPEN_SPEAKERS
    return _draw(max(1.3 + 0.18 * len(shown), 2.4) if named else 3.4, paint)


def _scatter(measures: pl.DataFrame, clipped: Sequence[str]) -> str:
    frame = measures.select("utterance_id", "rms_db", "peak").drop_nulls()
    marked = frame.filter(pl.col("utterance_id").is_in(list(clipped)))
    others = frame.filter(~pl.col("utterance_id").is_in(list(clipped)))
    marked, others = _sampled(marked, SCATTERED // 2), _sampled(others, SCATTERED // 2)
    shown = marked.height + others.height

    def paint(axes: Any) -> str:
        for part, colour, name in (
            (others, COLOURS[0], "not clipped"),
            (marked, RED, "clipped"),
        ):
            if part.height:
                axes.plot(
                    part["rms_db"].to_numpy(),
                    part["peak"].to_numpy(),
                    "o" if colour != RED else "x",
                    color=colour,
                    markersize=3 if colour != RED else 5,
                    markeredgewidth=0 if colour != RED else 1.2,
                    alpha=0.6 if colour != RED else 1,
                    label=name,
                )
        axes.set(
            title="Peak and loudness",
            xlabel="loudness (RMS, dBFS)",
            ylabel="peak (1 = full scale)",
        )
        axes.set_ylim(0, 1.05 * max(1.0, float(frame["peak"].to_numpy().max())))
        _legend(axes)
        return f"a sample of {shown:,} of {frame.height:,} utterances" * (shown < frame.height)

    return _draw(3.4, paint)


def _sampled(frame: pl.DataFrame, limit: int) -> pl.DataFrame:
    return frame if frame.height <= limit else frame.sample(limit, seed=0)


def _grouped(labels: pl.Series) -> pl.Series:
    """The most frequent classes by name, all others as one."""
    counts = labels.value_counts().sort("count", "label", descending=[True, False])
    if counts.height <= NAMED_COLOURS:
        return labels
    named = counts["label"].head(NAMED_COLOURS).to_list()
    frame = labels.to_frame("label")
    chosen = pl.when(pl.col("label").is_in(named)).then("label").otherwise(pl.lit(OTHERS))
    return frame.select(chosen.alias("label"))["label"]


def _ordered(labels: pl.Series) -> list[str]:
    return sorted(labels.unique(), key=lambda name: (name in (NONE, OTHERS), name))


def _colours(names: Sequence[str]) -> dict[str, str]:
    return {
        name: GREYS.get(name, COLOURS[index % len(COLOURS)]) for index, name in enumerate(names)
    }


def _plain(name: str) -> str:
    return _short(strip_control_chars(name))


def _whole_numbers(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins="auto", integer=True, min_n_ticks=1))


def _legend(axes: Any) -> None:
    handles, names = axes.get_legend_handles_labels()
    if not handles:
        return
    axes.figure.legend(
        handles,
        [_plain(name) for name in names],
        loc="outside lower left",
        ncols=min(len(names), 5 if sum(map(len, names)) / len(names) < 12 else 3),
        handlelength=1,
        columnspacing=1.2,
    )
