"""One line of a benchmark's result."""

from typing import Any

Row = dict[str, Any]


def row(what: str, ours: float, goal: float, unit: str, *, more_is_better: bool = False) -> Row:
    """Makes a line.

    Args:
        what: What was measured.
        ours: The figure.
        goal: What it should be.
        unit: Of both.
        more_is_better: Whether the figure should be above the goal, not below it.

    Returns:
        The line; a ratio above 1 means that the goal is met.
    """
    ratio = ours / goal if more_is_better else goal / ours
    return {
        "what": what,
        "ours": round(float(ours), 4),
        "peer": None,
        "unit": unit,
        "ratio": round(float(ratio), 2),
        "goal": goal,
    }
