"""Scatter plots of labelled points: a panel a split, with the same axes."""

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
    """A labelled point of the plane.

    Args:
        label: Its class; None where it is unknown.
        x: Horizontal coordinate, finite.
        y: Vertical coordinate, finite.
    """

    label: str | None
    x: float
    y: float


def scatter(
    panels: Mapping[str, Sequence[Point]],
    classes: Sequence[str],
    axis_labels: tuple[str, str],
    title: str,
) -> str:
    """Draw points side by side, a panel a split, every class with its own colour and marker.

    Args:
        panels: Title of each panel to its points; at least one panel.
        classes: In the order of colours and markers; classes without a point are not in the legend,
            labels that are missing here follow them.
        axis_labels: Below the panels, and left of the first.
        title: What a screen reader says.

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
    names = shorten_names(entries)
    handles = [
        charts.handle(0, names[name], linestyle="", **_looks(index))
        for name, index in entries.items()
    ]
    if unlabelled:
        handles.append(charts.handle(0, UNLABELLED, linestyle="", **_looks(None)))
    if handles:
        charts.legend(plot, handles)


def _looks(index: int | None) -> dict[str, Any]:
    """Colour and marker, of which 36 differ; every other marker is hollow."""
    if index is None:
        return {"color": charts.INK, "marker": "x"}
    # Shifted by one each time that the colours begin anew, so that no pair comes back with them.
    colour = charts.COLOURS[index % len(charts.COLOURS)]
    marker = charts.SHAPES[(index + index // len(charts.COLOURS)) % len(charts.SHAPES)]
    inside = charts.PAPER if (index + index // len(charts.COLOURS)) % 2 else colour
    return {"color": colour, "marker": marker, "markerfacecolor": inside}
