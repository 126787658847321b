"""Pictures as SVG for an HTML page, which decides light or dark.

Kinds differ in shape and in filled or hollow markers, colours only repeat it, so that nothing is
lost in print and to colour-blind readers.
"""

import logging
import re
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.report.format import MINUS, NONE, format_score, shorten_names, strip_control_chars
from polymodal.security.files import atomic_write
from polymodal.tracking.run_folder import slug

# Readable on white and on near-black; after Okabe and Ito, who made them for colour-blind readers.
COLOURS = ("#0f7fc2", "#e08a00", "#129a72", "#cc6ba3", "#d1551b", "#8a6fd1")
SHAPES = ("o", "D", "s", "^", "v", "P")
# Stand-ins for what the reader's browser decides.
CSS_COLOUR_PLACEHOLDERS = {
    "#010203": "currentColor",
    "#010204": "var(--faint)",
    "#010205": "var(--card)",
}
INK, FAINT, PAPER = CSS_COLOUR_PLACEHOLDERS
Picture = tuple[Callable[[Any], None], str, tuple[float, float]]  # paint, title, inches
_drawn: ContextVar[list[Picture] | None] = ContextVar("drawn", default=None)
ROW_INCHES = 0.25
WIDE, NARROW = 8.6, 6.4  # inches
SETTINGS: Any = {  # matplotlib's own type lists every key, and it may be absent
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 9,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "savefig.transparent": True,
}


@dataclass(frozen=True)
class Estimate:
    """A mean (finite) with an interval, if known; every kind has a shape of its own."""

    name: str
    mean: float
    low: float | None = None
    high: float | None = None
    kind: str = "member"


@dataclass(frozen=True)
class TrainTestGap:
    """A score on the training split and on another split, named `against`."""

    name: str
    train: float
    tested: float
    against: str = "val"


def forest_plot(
    estimates: Sequence[Estimate], label: str, *, chance_level: float | None = None
) -> str:
    """Draw a row per estimate: mean, interval, and both in figures.

    Args:
        estimates: From top to bottom; at least one.
        label: Label of the axis.
        chance_level: Score of guessing, as a dotted line; None for no line.

    Example:
        >>> forest_plot([Estimate("speech", 0.44, 0.4, 0.49)], "test/uar")[:4]
        '<svg'
    """
    kinds = list(dict.fromkeys(("member", "vote", *(estimate.kind for estimate in estimates))))

    def paint(axes: Any) -> None:
        for index, estimate in enumerate(estimates):
            colour, shape, paper = _look(kinds.index(estimate.kind))
            axes.plot(*_line(estimate, index), color=colour, linewidth=2, solid_capstyle="butt")
            looks = {"color": colour, "markerfacecolor": paper, "markersize": 7}
            axes.plot(estimate.mean, index, shape, **looks)
            mean, low, high = map(format_score, (estimate.mean, estimate.low, estimate.high))
            _figures(axes, index, mean if NONE in (low, high) else f"{mean}  [{low}, {high}]")
        _rows(axes, [estimate.name for estimate in estimates])
        drawn = {estimate.kind for estimate in estimates}
        handles = [handle(index, kind) for index, kind in enumerate(kinds) if kind in drawn]
        if chance_level is not None:
            axes.axvline(chance_level, color=INK, linewidth=1, linestyle=":")
            name = f"chance {format_score(chance_level)}"
            handles.append(handle(0, name, marker="", color=INK, linestyle=":"))
        legend(axes, handles)
        axes.set_xlabel(label)

    return render_svg(paint, f"{label} with intervals", rows=len(estimates))


def dumbbell_plot(gaps: Sequence[TrainTestGap], label: str) -> str:
    """Draw a row per member: its scores on both splits, and their difference."""

    def paint(axes: Any) -> None:
        for index, gap in enumerate(gaps):
            axes.plot([gap.train, gap.tested], [index] * 2, color=COLOURS[0], linewidth=2.5)
            axes.plot(gap.train, index, "s", color=COLOURS[0], markerfacecolor=PAPER, markersize=7)
            axes.plot(gap.tested, index, "o", color=COLOURS[0], markersize=7)
            _figures(axes, index, format_score(gap.train - gap.tested, signed=True))
        _rows(axes, [gap.name for gap in gaps])
        others = "/".join(dict.fromkeys(gap.against for gap in gaps))
        hollow = handle(0, "train", marker="s", markerfacecolor=PAPER, linestyle="")
        legend(axes, [hollow, handle(0, shorten_names([others])[others], linestyle="")])
        axes.set_xlabel(label)

    return render_svg(paint, f"{label}: train and validation", rows=len(gaps))


def curves(
    lines: Mapping[str, Sequence[tuple[float, Estimate]]], label: str, limits: tuple[float, float]
) -> str:
    """Draw a line per member over the fraction of the training data.

    Args:
        lines: Name to pairs of fraction (0 to 1) and estimate; at most one per colour.
        label: Label of the vertical axis.
        limits: Lower and upper end of the vertical axis.
    """
    fractions = sorted({fraction for points in lines.values() for fraction, _ in points})
    names = shorten_names(lines)

    def paint(axes: Any) -> None:
        handles = []
        for index, (name, points) in enumerate(lines.items()):
            colour, shape, paper = _look(index)
            aside = 1 + 0.012 * (index - (len(lines) - 1) / 2)  # or intervals would hide each other
            across = [fraction * aside for fraction, _ in points]
            means = [estimate.mean for _, estimate in points]
            for position, (_, estimate) in zip(across, points, strict=True):
                ends = reversed(_line(estimate, position))
                axes.plot(*ends, color=colour, linewidth=1.2, alpha=0.6)
            looks = {"marker": shape, "markerfacecolor": paper, "markersize": 6}
            axes.plot(across, means, color=colour, linewidth=1.6, **looks)
            handles.append(handle(index, names[name]))
        if fractions[-1] / fractions[0] > 5:  # else the small ones would stand in one place
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(fractions, [f"{100 * fraction:.3g} %" for fraction in fractions])
        axes.set(xlabel="share of the training data", ylabel=label, ylim=limits)
        axes.margins(x=0.08)
        short_ticks(axes.yaxis)
        legend(axes, handles)

    title = f"{label} by share of the training data: {', '.join(lines)}"
    return render_svg(paint, title, rows=12, width=NARROW)


def progress(lines: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], label: str) -> str:
    """Draw scores over the epochs: a faint line per fold, and a strong one for their mean."""

    def paint(axes: Any) -> None:
        handles = []
        for index, (name, folds) in enumerate(lines.items()):
            colour = COLOURS[index % len(COLOURS)]
            means: dict[float, list[float]] = {}
            for points in folds.values():
                for epoch, value in points:
                    means.setdefault(epoch, []).append(value)
                if len(folds) > 1:
                    axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.7, alpha=0.4)
            # Folds that have stopped drop out of the mean: it ends where fewer than half are left.
            epochs = [mean for mean in sorted(means) if 2 * len(means[mean]) >= len(folds)]
            shape = SHAPES[index % len(SHAPES)] if len(epochs) < 30 else ""
            looks = {"marker": shape, "markersize": 4}
            axes.plot(epochs, [np.mean(means[epoch]) for epoch in epochs], color=colour, **looks)
            handles.append(handle(index, name, markerfacecolor=colour, marker=shape))
        axes.set(xlabel="epoch", ylabel=label)
        short_ticks(axes.yaxis)
        legend(axes, handles)

    return render_svg(paint, f"{label} by epoch: {', '.join(lines)}", rows=10, width=NARROW)


def reliability(points: Sequence[tuple[float, float, int]], name: str = "") -> str:
    """Draw accuracy against confidence; a point is confidence, accuracy and number of a bin."""
    max_num = max(num for _, _, num in points)

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
        for confidence, accuracy, num in points:
            axes.plot([confidence] * 2, [confidence, accuracy], color=COLOURS[1], linewidth=1.5)
            size = 4 + 8 * (num / max_num) ** 0.5
            axes.plot(confidence, accuracy, "o", color=COLOURS[0], markersize=size)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
        for axis in (axes.xaxis, axes.yaxis):
            short_ticks(axis)
        line = handle(0, "perfect calibration", marker="", color=INK, linestyle=":")
        dot = handle(0, "utterances; larger is more", linestyle="", markersize=7)
        legend(axes, [dot, line])

    title = f"accuracy by confidence {name}".strip()
    return render_svg(paint, title, rows=12, width=NARROW)


def axis_limits(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """Return limits of an axis that hold all intervals, with room at both ends.

    Example:
        >>> [round(limit, 2) for limit in axis_limits([Estimate("speech", 0.5, 0.4, 0.6)])]
        [0.39, 0.61]
    """
    ends = [end for estimate in estimates for end in _line(estimate, 0)[0]]
    room = 0.05 * (max(ends) - min(ends)) or 0.05
    return min(ends) - room, max(ends) + room


def strip_plot(points: Mapping[str, Sequence[float]], label: str) -> str:
    """Draw a row per member: a dot per speaker, and a line at their mean."""

    def paint(axes: Any) -> None:
        every = [value for values in points.values() for value in values]
        width = (max(every) - min(every)) / 70 or 1.0
        for index, values in enumerate(points.values()):
            heights = index + _spread(values, width)
            axes.plot(values, heights, "o", color=COLOURS[0], markersize=4, alpha=0.85, mew=0)
            mean = float(np.mean(values))
            axes.plot([mean] * 2, [index - 0.36, index + 0.36], color=INK, linewidth=1.8)
        _rows(axes, [*points])
        line = handle(0, "their mean", marker="", color=INK)
        legend(axes, [handle(0, "a speaker", linestyle="", markersize=4), line])
        axes.set_xlabel(label)

    return render_svg(paint, f"{label} of each speaker", rows=1.5 * len(points))


def render_svg(
    paint: Callable[[Any], None], title: str, *, rows: float, width: float = WIDE
) -> str:
    """Draw one picture, `rows` rows high and `width` inches wide.

    The title is for screen readers. The SVG has no address, no size of its own, and no id that
    another picture could have.
    """
    size = (width, 0.95 + ROW_INCHES * rows)
    if (pictures := _drawn.get()) is not None:
        pictures.append((paint, title, size))
    return inline_svg(render(paint, title, size).decode(), title)


@contextmanager
def export_figures(folder: Path) -> Generator[None]:
    """Write all pictures that are drawn meanwhile as SVG and PDF, too, in the colours of print.

    Raises:
        OSError: A file cannot be written.
    """
    pictures: list[Picture] = []
    token = _drawn.set(pictures)
    try:
        yield
    finally:
        _drawn.reset(token)
    names: set[str] = set()
    for paint, title, size in pictures:
        name = slug(title)
        while name in names:
            name += "-"
        names.add(name)
        folder.mkdir(parents=True, exist_ok=True)
        with _print_colours():
            for kind in ("svg", "pdf"):
                with atomic_write(folder / f"{name}.{kind}") as path:
                    path.write_bytes(render(paint, title, size, kind))


def render(
    paint: Callable[[Any], None],
    title: str,
    size: tuple[float, float],
    kind: str = "svg",
    settings: Mapping[str, Any] = SETTINGS,
) -> bytes:
    """Draw one picture, whose size is in inches, as the content of a file of a kind."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    colours = dict(zip(CSS_COLOUR_PLACEHOLDERS, (INK, FAINT, PAPER), strict=True))
    rc: Any = {key: colours.get(value, value) for key, value in settings.items()}
    undated = dict.fromkeys(("Creator", "Date", "Format") if kind == "svg" else ("CreationDate",))
    with matplotlib.rc_context({**rc, "svg.hashsalt": title}), suppress_font_warnings():
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure.subplots())
        buffer = BytesIO()
        figure.savefig(buffer, format=kind, metadata=undated)
    return buffer.getvalue()


@contextmanager
def _print_colours() -> Generator[None]:
    """Draw black on white instead of placeholders for what a browser decides."""
    global INK, FAINT, PAPER
    before = INK, FAINT, PAPER
    INK, FAINT, PAPER = "#000000", "#d9dde1", "#ffffff"
    try:
        yield
    finally:
        INK, FAINT, PAPER = before


def inline_svg(text: str, title: str) -> str:
    """Make a picture part of a page: sized by it, in its colours, without ids of its own."""
    head, _, body = text[text.index("<svg") :].partition(">")
    (size,) = re.findall(r'viewBox="([^"]*)"', head)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'<g id="[\w.]+"', "<g", body)
    for stand_in, colour in CSS_COLOUR_PLACEHOLDERS.items():
        body = re.sub(rf"((?:fill|stroke): ){stand_in}\b", rf"\g<1>{colour}", body)
    label = escape(strip_control_chars(title))
    return f'<svg viewBox="{size}" role="img" aria-label="{label}">{body.strip()}'


@contextmanager
def suppress_font_warnings() -> Generator[None]:
    """Suppress warnings that Matplotlib's font lacks Korean: the browser draws the text."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*missing from font.*")
            yield
    finally:
        logger.setLevel(level)


def _look(index: int) -> tuple[str, str, str]:
    """Return colour, shape, and the colour inside: every other shape is hollow."""
    colour = COLOURS[index % len(COLOURS)]
    return colour, SHAPES[index % len(SHAPES)], PAPER if index % 2 else colour


def handle(index: int, name: str, **looks: Any) -> Any:
    """Return an entry of a legend."""
    from matplotlib.lines import Line2D

    colour, shape, paper = _look(index)
    style: Any = {"color": colour, "marker": shape, "markerfacecolor": paper, "markersize": 6}
    style |= {"linewidth": 1.6, **looks}
    return Line2D([], [], label=name, **style)


def legend(axes: Any, handles: Sequence[Any]) -> None:
    """Draw a legend below a picture."""
    names = [handle.get_label() for handle in handles]
    axes.figure.legend(
        handles,
        names,
        loc="outside lower left",
        ncols=min(len(names), 4 if max(map(len, names)) < 16 else 2),
        columnspacing=1.4,
    )


def _line(estimate: Estimate, position: float) -> tuple[list[float], list[float]]:
    low = estimate.mean if estimate.low is None else estimate.low
    high = estimate.mean if estimate.high is None else estimate.high
    return [low, high], [position, position]


def _rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [*shorten_names(names).values()])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    short_ticks(axes.xaxis)


def short_ticks(axis: Any) -> None:
    """Label an axis with numbers as short as they can be."""
    from matplotlib.ticker import FuncFormatter

    def text(value: float, _: object) -> str:
        return re.sub(r"^(-?)0\.", r"\1.", f"{value:.6g}").replace("-", MINUS)

    axis.set_major_formatter(FuncFormatter(text))


def _figures(axes: Any, position: float, text: str) -> None:
    axes.text(1.02, position, text, transform=axes.get_yaxis_transform(), va="center")


def _spread(values: Sequence[float], width: float) -> np.ndarray:
    """Return heights that separate dots of nearly equal values: 0, up, down, further up, ..."""
    taken: dict[int, int] = {}
    heights = []
    for value in values:
        column = round(value / width)
        turn = taken[column] = taken.get(column, -1) + 1
        step = (turn + 1) // 2 * 0.11
        heights.append(max(-0.4, min(0.4, step if turn % 2 else -step)))
    return np.array(heights)
