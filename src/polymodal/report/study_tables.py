"""The tables of a study: CSV for programs, Markdown and LaTeX for people.

A summary is the content of `study.json`: mappings, lists, texts and numbers. A number may be None
or NaN, and everything but the study's name, status and members may be missing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polymodal.report.format import (
    MINUS,
    NONE,
    Bold,
    as_finite,
    format_p,
    format_score,
    interval,
    latex,
    write_table,
)
from polymodal.security.files import atomic_write_text

Summary = Mapping[str, Any]

SCORE_COLUMNS = ("member", "kind", "score", "mean", "low", "high", "n")
COMPARISON_COLUMNS = (
    *("a", "b", "score", "difference", "low", "high", "p", "p_corrected"),
    *("unit", "num_units", "verdict"),
)


def write_tables(summary: Summary, folder: Path) -> None:
    """Write `scores`, `comparisons` and `classes` as `.csv`, `.md` and `.tex`.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{summary.get('name') or ''} {summary['study']}"
    write_table(folder, "scores", score_rows(summary), score_table(summary), title)
    compared = comparison_table(summary)
    write_table(folder, "comparisons", comparison_rows(summary), compared, title)
    narrow = [row[:-1] for row in compared]  # a sentence per row is too wide for a printed page
    atomic_write_text(folder / "comparisons.tex", latex(narrow, title))
    if len(classes := class_table(summary)) > 1:
        write_table(folder, "classes", classes, classes, title)


def members(summary: Summary) -> Mapping[str, Mapping[str, Any]]:
    """Return members and votes by name."""
    result: Mapping[str, Mapping[str, Any]] = summary["members"]
    return result


def kind_of(member: Mapping[str, Any]) -> str:
    """Return `member` or `vote`."""
    return str(member.get("kind") or "member")


def score_of(member: Mapping[str, Any], key: str | None) -> Mapping[str, Any]:
    """Return mean, low, high and n of one score of a member; empty if it has none."""
    result: Mapping[str, Any] = (member.get("scores") or {}).get(key) or {}
    return result


def lower_is_better(score: str, summary: Summary) -> bool:
    """Return whether a lower score is better; early studies list `lower_is_better`.

    Example:
        >>> lower_is_better("test/ece", {"higher_is_better": {"ece": False}})
        True
    """
    name = tail(score)
    return not summary.get("higher_is_better", {}).get(
        name, name not in summary.get("lower_is_better", ())
    )


def tail(score: str) -> str:
    """Return the name of a score without the split: `uar` for `test/uar`."""
    return score.rpartition("/")[2]


def score_keys(summary: Summary) -> list[str]:
    """Return the scores that any member has, the study's main one first.

    Example:
        >>> scores = {"test/accuracy": {}, "test/uar": {}}
        >>> score_keys({"score": "uar", "members": {"speech": {"scores": scores}}})
        ['test/uar', 'test/accuracy']
    """
    keys = [key for member in members(summary).values() for key in member.get("scores") or {}]
    main = tail(str(summary.get("score") or ""))
    keys = list(dict.fromkeys(keys))
    return sorted(keys, key=lambda key: (tail(key) != main, not key.startswith("test/")))


def ranked(summary: Summary, key: str | None, kind: str | None = None) -> list[str]:
    """Return names from the best mean of a score to the worst, then those without one.

    Without a key the order stays. With a kind (`member` or `vote`) only names of this kind that
    have the score are returned.
    """
    means = {
        name: as_finite(score_of(member, key).get("mean"))
        for name, member in members(summary).items()
    }
    sign = 1 if lower_is_better(key or "", summary) else -1
    names = sorted(means, key=lambda name: (means[name] is None, sign * (means[name] or 0.0)))
    if kind is None:
        return names
    of_kind = [name for name in names if kind_of(members(summary)[name]) == kind]
    return [name for name in of_kind if means[name] is not None]


def headings(keys: Sequence[str], summary: Summary) -> list[str]:
    """Return scores as column headings: with their direction, without the split if all share it.

    Example:
        >>> headings(["test/uar", "test/ece"], {"higher_is_better": {"ece": False}})
        ['uar ↑', 'ece ↓']
    """
    shared = len({key.rpartition("/")[0] for key in keys}) == 1
    arrows = ["↓" if lower_is_better(key, summary) else "↑" for key in keys]
    names = [tail(key) if shared else key for key in keys]
    return [f"{name} {arrow}" for name, arrow in zip(names, arrows, strict=True)]


def score_rows(summary: Summary) -> list[list[object]]:
    """Return a heading, then a row per member and score, with every digit."""
    rows: list[list[object]] = [[*SCORE_COLUMNS]]
    for name, member in members(summary).items():
        for key in score_keys(summary):
            if score := score_of(member, key):
                cells = [_clean(score.get(column)) for column in SCORE_COLUMNS[3:]]
                rows.append([name, kind_of(member), key, *cells])
    return rows


def comparison_rows(summary: Summary) -> list[list[object]]:
    """Return a heading, then a row per comparison, with every digit."""
    compared = summary.get("comparisons") or []
    rows = [
        [_clean(comparison.get(column)) for column in COMPARISON_COLUMNS] for comparison in compared
    ]
    return [[*COMPARISON_COLUMNS], *rows]


def score_table(summary: Summary, names: Sequence[str] | None = None) -> list[list[str]]:
    """Return a heading, then a row per name (default: all members), the best means `Bold`."""
    keys = score_keys(summary)
    winners = [ranked(summary, key)[0] for key in keys]
    rows = [["member", "kind", *headings(keys, summary)]]
    for name in members(summary) if names is None else names:
        member = members(summary)[name]
        cells = [interval(score_of(member, key)) for key in keys]
        bold = [
            Bold(cell) if name == winner and cell != NONE and len(members(summary)) > 1 else cell
            for cell, winner in zip(cells, winners, strict=True)
        ]
        rows.append([name, kind_of(member), *bold])
    return rows


def class_table(summary: Summary) -> list[list[str]]:
    """Return a heading, then a row per member: its recall of each class."""
    classes = [str(name) for name in summary.get("classes") or []]
    rows = [["member", *classes]]
    for name in ranked(summary, next(iter(score_keys(summary)), None)):
        matrix = members(summary)[name].get("confusion") or []
        if classes and len(matrix) == len(classes):
            counts = [[as_finite(cell) or 0.0 for cell in row] for row in matrix]
            recalls = (row[k] / sum(row) if sum(row) else None for k, row in enumerate(counts))
            rows.append([name, *map(format_score, recalls)])
    return rows


def comparison_table(summary: Summary) -> list[list[str]]:
    """Return a heading, then a row per comparison, the verdict last."""
    rows = [["a", "b", "score", f"a {MINUS} b", "p", "p corrected", "verdict"]]
    for comparison in summary.get("comparisons") or []:
        names = [str(comparison.get(name) or NONE) for name in ("a", "b", "score")]
        difference = interval({**comparison, "mean": comparison.get("difference")})
        errors = [format_p(comparison.get(name)) for name in ("p", "p_corrected")]
        rows.append([*names, difference, *errors, str(comparison.get("verdict") or NONE)])
    return rows


def _clean(value: object) -> object:
    """Replace NaN and infinity by None, which is an empty cell of CSV."""
    return as_finite(value) if isinstance(value, float) else value
