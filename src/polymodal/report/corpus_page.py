"""Write an inspection of a corpus as one HTML page with plots, without other files or network."""

from collections.abc import Callable, Mapping, Sequence
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
from polymodal.report import charts
from polymodal.report.blocks import (
    Block,
    Cell,
    Code,
    Content,
    Details,
    Facts,
    Figure,
    Grid,
    Mark,
    Phrase,
    Table,
    Verdict,
    document,
    paragraph,
)
from polymodal.report.format import Bold, pluralise, strip_control_chars
from polymodal.report.sections import leaks
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
    *("#0f7fc2", "#e08a00", "#129a72", "#cc6ba3"),
    *("#d1551b", "#55aee0", "#a8962a", "#8a6fd1"),
)
GREYS = {NONE: "#b4b9be", OTHERS: "#7f848a"}
RED = "#d6402b"
SETTINGS: Any = {
    **charts.SETTINGS,
    "axes.titlecolor": charts.INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.fontsize": 8,
}


def write_page(
    manifest: Manifest,
    inspection: Inspection,
    path: Path,
    *,
    split: pl.Series | None = None,
    shared: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write the page: verdict, issues by rule, plots, and the classes by split and speaker.

    Args:
        manifest: The corpus.
        inspection: Its inspection.
        path: The HTML file to write.
        split: Name of the split of each row; None if the corpus is not split.
        shared: What splits share and what tells the class, as `shared_columns` returns it.
    """
    classes = class_table(manifest, split)
    names = manifest.frame["corpus"].drop_nulls().unique().sort().to_list()
    corpus = ", ".join(map(str, names[:3])) + (" and others" if len(names) > 3 else "")
    rules = [_rule(rule, issues) for rule, issues in inspection.by_rule().items()]
    plots = _plots(manifest, inspection, classes)
    sections: list[tuple[str, str, Sequence[Block]]] = [
        ("findings", "Findings", rules or [paragraph("None.")]),
        ("plots", "Plots", [Grid(plots, len(plots), "grid two")]),
        ("classes", "Classes by split and speaker", _classes(classes)),
        ("shared", "What splits share, and what tells the class", leaks(shared)),
    ]
    title = f"Corpus check: {corpus or 'unnamed'}"
    path.write_text(document(title, "", _head(inspection, classes), sections), encoding="utf-8")


def _head(inspection: Inspection, classes: ClassTable) -> list[Block]:
    colours = {"usable": "good", "usable with warnings": "fair", "not usable": "bad"}
    sentence = inspection.summary[:1].upper() + inspection.summary[1:]
    verdict, speed = inspection.verdict, inspection.seconds / max(inspection.wall_s, 1e-9)
    facts = [
        f"{inspection.num_utterances:,} utterances",
        pluralise(classes.counts["speaker"].n_unique(), "speaker"),
        f"{sum(label != NONE for label in classes.labels)} classes",
        f"{inspection.seconds / 3600:.2f} h of audio",
        f"checked in {inspection.wall_s:.1f} s ({speed:,.0f} times real time)",
    ]
    return [Verdict(colours[verdict], f"Verdict: {verdict}", f"{sentence}."), Facts(facts)]


def _short(text: str) -> str:
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"


def _rule(rule: str, issues: Sequence[DataIssue]) -> Block:
    severity = issues[0].severity
    mark = Mark(severity, {"fault": "bad", "warning": "fair", "note": "side"}[severity])
    heading = Phrase([mark, f" {rule} ", Mark(f"{len(issues):,}", "side")])
    rows: list[list[str | Block]] = [
        [Code(issue.utterance_id), issue.detail] for issue in issues[:SHOWN_EXAMPLES]
    ]
    blocks: list[Block] = [Table([["", ""], *rows], (0, 1))]
    if (num_more := len(issues) - SHOWN_EXAMPLES) > 0:
        blocks.append(paragraph(f"and {num_more:,} more; check.json has the first hundred"))
    return Details(heading, blocks)


def _classes(classes: ClassTable) -> list[Block]:
    blocks: list[Block] = []
    if classes.missing:
        pairs = ", ".join(f"{label} in {split}" for label, split in classes.missing)
        blocks.append(paragraph(Mark("Absent classes:", "fair"), f" {pairs}"))
    num_speakers = classes.counts["speaker"].n_unique()
    heading = f"Utterances by split and speaker: {pluralise(num_speakers, 'speaker')}"
    if num_speakers > MAX_SPEAKERS:
        heading += f", the {MAX_SPEAKERS} largest named"
    content: list[Block] = [Table(_class_rows(classes.top_speakers()), (0, 1))]
    if (num_more := len(classes.labels) - LISTED_CLASSES) > 0:
        content.append(paragraph(f"and {num_more} more classes"))
    is_open = num_speakers <= OPEN_SPEAKERS
    return [*blocks, Details(heading, content, 0 if is_open else num_speakers)]


def _class_rows(classes: ClassTable) -> list[list[Content]]:
    """Return a heading, then the speakers of each split below the split itself."""
    labels, counts = classes.labels[:LISTED_CLASSES], classes.totals("split", "speaker", "label")
    of_classes, of_splits = classes.totals("split", "label"), classes.totals("split")
    of_speakers = classes.totals("split", "speaker")
    rows: list[list[Content]] = [["split", "speaker", *labels, "total"]]
    for split in classes.splits:
        sums = [of_classes.get((split, label), 0) for label in labels]
        total = [Bold(f"{num:,}") for num in (*sums, of_splits[(split,)])]
        rows.append([Bold(split), Bold("all speakers"), *total])
        speakers = [speaker for name, speaker in of_speakers if name == split]
        largest = max(counts.get((split, name, label), 0) for name in speakers for label in labels)
        for speaker in sorted(speakers, key=lambda speaker: (speaker == OTHERS, speaker)):
            numbers = [counts.get((split, speaker, label), 0) for label in labels]
            scale = 0 if speaker == OTHERS else largest
            cells = [
                Cell(f"{num:,}", fraction=num / scale if scale else 0.0)
                if num
                else Cell(Mark("0", "faint"))
                for num in numbers
            ]
            rows.append([split, speaker, *cells, f"{of_speakers[(split, speaker)]:,}"])
    return rows


def _plots(manifest: Manifest, inspection: Inspection, classes: ClassTable) -> list[Block]:
    labels = manifest.frame["label"].replace("", None).fill_null(NONE)
    measures = inspection.measures.with_columns(label=labels)
    clipped = [issue.utterance_id for issue in inspection.by_rule().get("clipped audio", [])]
    has_loudness = measures["rms_db"].drop_nulls().len() > 0
    drawn: list[Block] = []
    if measures["seconds"].drop_nulls().len():
        drawn.append(_histogram(measures, "seconds", "Durations by class", "seconds (s)"))
    if has_loudness:
        drawn.append(_histogram(measures, "rms_db", "Loudness by class", "loudness (RMS, dBFS)"))
    drawn += [_class_bars(classes), _speaker_bars(classes)]
    return [*drawn, _scatter(measures, clipped)] if has_loudness else drawn


def _draw(title: str, height: float, paint: Callable[[Any], None], caption: str) -> Block:
    def titled(axes: Any) -> None:
        axes.set_title(title)
        paint(axes)

    svg = charts.render(titled, title, (charts.NARROW, height), settings=SETTINGS)
    return Figure(charts.inline_svg(svg.decode(), title), caption, kind="narrow")


def _histogram(measures: pl.DataFrame, column: str, title: str, unit: str) -> Block:
    """Draw bars stacked by class; outliers share the last bins, or they would hide the rest."""
    frame = measures.select("label", column).drop_nulls()
    numbers = frame[column].to_numpy()
    low, high = np.quantile(numbers, (0.002, 0.998)).tolist()
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    groups = _grouped(frame["label"])
    labels = groups.to_numpy()
    outside = int(np.count_nonzero((numbers < edges[0]) | (numbers > edges[-1])))
    values = np.clip(numbers, edges[0], edges[-1])

    def paint(axes: Any) -> None:
        below, width = np.zeros(len(edges) - 1), edges[1] - edges[0]
        for name, colour in _colours(_ordered(groups)).items():
            counts, _ = np.histogram(values[labels == name], edges)
            filled = np.flatnonzero(counts)
            bars = edges[filled], counts[filled], width, below[filled]
            axes.bar(*bars, align="edge", color=colour, label=name)
            below += counts
        axes.set(xlabel=unit, ylabel="utterances")
        axes.margins(x=0.01)
        _legend(axes)

    caption = f"{outside:,} values beyond the ends are in the outermost bins" if outside else ""
    return _draw(title, 3.4, paint, caption)


def _class_bars(classes: ClassTable) -> Block:
    totals = classes.totals("label", "split")
    shown = classes.labels[:LISTED_CLASSES]
    left = len(classes.labels) - len(shown)
    splits = classes.splits

    def paint(axes: Any) -> None:
        ends = np.zeros(len(shown))
        positions = range(len(shown))
        for split, colour in _colours(splits).items():
            counts = np.array([totals.get((label, split), 0) for label in shown])
            axes.barh(positions, counts, left=ends, color=colour, label=_short(split))
            ends += counts
        _name_rows(axes, shown, "class")
        if splits != [ALL]:
            _legend(axes)

    title = "Utterances a class" + ("" if splits == [ALL] else " and split")
    caption = f"{left} more classes are not shown" if left else ""
    return _draw(title, max(1.3 + 0.26 * len(shown), 2.4), paint, caption)


def _name_rows(axes: Any, names: Sequence[str], label: str) -> None:
    axes.set_yticks(range(len(names)), [*map(_plain, names)])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    _whole_numbers(axes.xaxis)
    axes.set(xlabel="utterances", ylabel=label)


def _speaker_bars(classes: ClassTable) -> Block:
    sizes = classes.totals("speaker")
    order = sorted(sizes, key=lambda speaker: (-sizes[speaker], speaker))
    shown = order[:MAX_SPEAKERS]
    counts = [sizes[speaker] for speaker in shown]
    rest = sum(sizes[speaker] for speaker in order[MAX_SPEAKERS:])

    is_named = len(shown) <= OPEN_SPEAKERS

    def paint(axes: Any) -> None:
        if is_named:
            axes.barh(range(len(shown)), counts, color=COLOURS[0])
            _name_rows(axes, [name for (name,) in shown], "speaker")
        else:
            axes.bar(range(1, len(shown) + 1), counts, 0.9, color=COLOURS[0])
            axes.grid(visible=False, axis="x")
            axes.margins(x=0.01)
            _whole_numbers(axes.yaxis)
            axes.set(xlabel="speakers, by number of utterances", ylabel="utterances")

    others = len(order) - len(shown)
    caption = f"{others:,} more speakers have {rest:,} utterances together" if others else ""
    height = max(1.3 + 0.18 * len(shown), 2.4) if is_named else 3.4
    return _draw("Utterances a speaker", height, paint, caption)


def _scatter(measures: pl.DataFrame, clipped: Sequence[str]) -> Block:
    frame = measures.select("utterance_id", "rms_db", "peak").drop_nulls()
    is_clipped = pl.col("utterance_id").is_in(list(clipped))
    groups: dict[str, tuple[pl.DataFrame, dict[str, Any]]] = {
        "not clipped": (
            _sampled(frame.filter(~is_clipped)),
            {"marker": "o", "color": COLOURS[0], "markersize": 3, "mew": 0, "alpha": 0.6},
        ),
        "clipped": (
            _sampled(frame.filter(is_clipped)),
            {"marker": "x", "color": RED, "markersize": 5, "mew": 1.2},
        ),
    }
    shown = sum(points.height for points, _ in groups.values())

    def paint(axes: Any) -> None:
        for name, (points, looks) in groups.items():
            if points.height:
                x, y = points["rms_db"].to_numpy(), points["peak"].to_numpy()
                axes.plot(x, y, linestyle="", label=name, **looks)
        axes.set(xlabel="loudness (RMS, dBFS)", ylabel="peak (1 = full scale)")
        axes.set_ylim(0, 1.05 * max(1.0, float(frame["peak"].to_numpy().max())))
        _legend(axes)

    caption = f"a sample of {shown:,} of {frame.height:,} utterances" * (shown < frame.height)
    return _draw("Peak and loudness", 3.4, paint, caption)


def _sampled(frame: pl.DataFrame) -> pl.DataFrame:
    limit = SCATTERED // 2
    return frame if frame.height <= limit else frame.sample(limit, seed=0)


def _grouped(labels: pl.Series) -> pl.Series:
    """Keep the most frequent classes by name, and join all others."""
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
