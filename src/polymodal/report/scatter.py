"""Scatter plots of labelled points: a panel per split, with the same axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polymodal.report import charts
from polymodal.report.format import shorten_names, strip_control_chars

UNLABELLED = "without a label"
MIN_ROWS = 13
MAX_COLUMNS = 4  # of the legend


@dataclass(frozen=True)
class Point:
    """A labelled point with finite coordinates; the label is None if unknown."""

    label: str | None
    x: float
    y: float


def scatter(
    panels: Mapping[str, Sequence[Point]],
    classes: Sequence[str],
    axis_labels: tuple[str, str],
    title: str,
) -> str:
    """Draw points side by side, a panel per split, every class with its own colour and marker.

    Args:
        panels: Title of each panel to its points; at least one panel.
        classes: Order of colours and markers; classes without a point are not in the legend, other
            labels follow.
        axis_labels: Below the panels, and left of the first.
        title: For screen readers.

    Example:
        >>> points = [Point("calm", 0.0, 1.0), Point("joy", 1.0, 0.0)]
        >>> scatter({"train": points, "test": points}, ["calm", "joy"], ("x", "y"), "two")[:4]
        '<svg'
    """
    labels = {point.label for points in panels.values() for point in points}
    order = [name for name in classes if name in labels]
    order += sorted(label for label in labels if label is not None and label not in order)
    entries = {name: index for index, name in enumerate(order)}

    def paint(axes: Any) -> None:
        figure = axes.figure
        axes.remove()
        plots = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for plot, (panel, points) in zip(plots, panels.items(), strict=True):
            plot.set_title(strip_control_chars(panel), fontsize=9)
            for label, index in [(None, None), *entries.items()]:
                members = [point for point in points if point.label == label]
                x, y = [point.x for point in members], [point.y for point in members]
                plot.plot(x, y, linestyle="", alpha=0.8, markersize=4.5, **_looks(index))
            charts.short_ticks(plot.xaxis)
            charts.short_ticks(plot.yaxis)
            plot.set_xlabel(strip_control_chars(axis_labels[0]))
        plots[0].set_ylabel(strip_control_chars(axis_labels[1]))
        _add_legend(plots[0], entries, unlabelled=None in labels)

    return charts.render_svg(paint, title, rows=MIN_ROWS + len(order) / MAX_COLUMNS)


def _add_legend(plot: Any, entries: Mapping[str, int], *, unlabelled: bool) -> None:
    looks = {name: _looks(entries[label]) for label, name in shorten_names(entries).items()}
    looks |= {UNLABELLED: _looks(None)} if unlabelled else {}
    if looks:
        charts.legend(
            plot, [charts.handle(0, name, linestyle="", **of) for name, of in looks.items()]
        )


def _looks(index: int | None) -> dict[str, Any]:
    """Return colour and marker, of which 36 differ; every other marker is hollow."""
    if index is None:
        return {"color": charts.INK, "marker": "x"}
    colour = charts.COLOURS[index % len(charts.COLOURS)]
    index += index // len(charts.COLOURS)  # or pairs would repeat with the colours
    marker = charts.SHAPES[index % len(charts.SHAPES)]
    inside = charts.PAPER if index % 2 else colour
    return {"color": colour, "marker": marker, "markerfacecolor": inside}
