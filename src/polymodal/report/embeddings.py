"""Show embeddings: a table, what follows from its figures, and scatter plots.

The descriptions are those of `polymodal.evaluation.embeddings`, as a record holds them: each of
their keys may be missing, and a number may be None or NaN.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polymodal.report.blocks import Block, Details, Figure, Table, paragraph
from polymodal.report.format import NONE, as_finite, format_score
from polymodal.report.scatter import Point, scatter

SPLITS = ("train", "val", "test")
MAX_OPEN = 2  # figures; further ones are folded
MAX_DRAWN = 500  # points of a split
MAX_COORDINATE = 1e9  # Matplotlib fails at the largest floats
MIN_GAP = 0.1  # from which training rows are called easier to separate
TEXT_COLUMNS = ("fusion", "modality", "encoders of", "fusion trained on")
NUMBERS = ("probe train", "probe val", "probe test", "gap", "distance val", "distance test")
HEADING = (*TEXT_COLUMNS[:3], *NUMBERS, TEXT_COLUMNS[3])
NOTE = (
    "Probe: unweighted average recall of a linear model that is fitted to the embeddings of the "
    "fusion's training rows; a part of its generalisation gap (train minus test) is its own. "
    "Distance: squared Fréchet distance of the embeddings of a split from those of the training "
    "rows, for each principal component; 0 is alike."
)


@dataclass(frozen=True)
class EmbeddingEntry:
    """The embeddings of one modality of one fusion."""

    modality: str  # such as `speech`
    description: Mapping[str, Any]  # the result of `describe_embeddings`, or what is left of it
    member: str = ""  # the fusion's name; empty if it is the only one
    encoders: str = ""  # the member whose encoders it took; empty if unknown
    # `in_fold`, or `held_out` to the fraction of the training speakers; None if unknown
    fusion_rows: object = None

    def probe(self, split: str) -> float | None:
        """Return the recall of the linear probe on a split, or None."""
        return as_finite(_mapping(self.description.get("probe")).get(split))

    def distance(self, split: str) -> float | None:
        """Return the distance of a split from the training rows, or None."""
        return as_finite(_mapping(self.description.get("distance")).get(split))

    @property
    def tested_on(self) -> str:
        """`test`, or `val` if only that was probed."""
        return "val" if self.probe("test") is None and self.probe("val") is not None else "test"

    @property
    def gap(self) -> float | None:
        """By how much the probe is better on the training rows, or None."""
        train, tested = self.probe("train"), self.probe(self.tested_on)
        return None if train is None or tested is None else train - tested


def embedding_entries(
    descriptions: object, *, member: str = "", encoders: object = None, fusion_rows: object = None
) -> list[EmbeddingEntry]:
    """Return an entry per modality of a record's descriptions, without those of a wrong type.

    `encoders` maps modalities to the member whose encoders the fusion took.

    Example:
        >>> [entry.modality for entry in embedding_entries({"speech": {"num_folds": 5}, "text": 3})]
        ['speech']
    """
    names = _mapping(encoders)
    return [
        EmbeddingEntry(str(name), description, member, str(names.get(name) or ""), fusion_rows)
        for name, description in _mapping(descriptions).items()
        if isinstance(description, Mapping) and description
    ]


def embeddings_section(
    entries: Sequence[EmbeddingEntry], classes: Sequence[str] = (), more: Sequence[Block] = ()
) -> list[Block]:
    """Return findings, table and figures; nothing without an entry."""
    if not entries:
        return []
    findings = map(paragraph, embedding_findings(entries))
    rows = embedding_rows(entries)
    text_columns = [column for column, name in enumerate(rows[0]) if name in TEXT_COLUMNS]
    figures = [figure for entry in entries if (figure := _figure(entry, classes))]
    folded = figures[MAX_OPEN:]
    details = [Details(f"{len(folded)} more", folded)] if folded else []
    table = Table(rows, text_columns)
    return [*findings, *more, paragraph(NOTE), table, *figures[:MAX_OPEN], *details]


def embedding_rows(entries: Iterable[EmbeddingEntry]) -> list[list[str]]:
    """Return a heading, then a row per entry; columns of text without content are left out."""
    rows = [
        [
            *(entry.member, entry.modality, entry.encoders),
            *(format_score(entry.probe(split)) for split in SPLITS),
            format_score(entry.gap, signed=True),
            *(format_score(entry.distance(split)) for split in SPLITS[1:]),
            fusion_rows_text(entry.fusion_rows),
        ]
        for entry in entries
    ]
    columns = [column for column in range(len(HEADING)) if any(row[column] for row in rows)]
    return [[row[column] or NONE for column in columns] for row in [[*HEADING], *rows]]


def fusion_rows_text(fusion_rows: object) -> str:
    """Describe which rows a fusion was trained on; empty if unknown.

    Example:
        >>> fusion_rows_text({"held_out": 0.3})
        '30 % of the training speakers, unseen by the encoders'
    """
    if fusion_rows == "in_fold":
        return "the rows that the encoders were fitted to"
    if not _held_out(fusion_rows):
        return ""
    fraction = as_finite(_mapping(fusion_rows).get("held_out"))
    shown = "some" if fraction is None else f"{100 * fraction:.3g} %"
    return f"{shown} of the training speakers, unseen by the encoders"


def embedding_findings(entries: Sequence[EmbeddingEntry]) -> list[str]:
    """Return a sentence on the largest probe gap for each way of choosing the fusion's rows."""
    groups: dict[str, list[EmbeddingEntry]] = {}
    for entry in entries:
        if entry.gap is not None:
            kind = "held out" if _held_out(entry.fusion_rows) else str(entry.fusion_rows)
            groups.setdefault(kind, []).append(entry)
    return [_finding(group) for group in groups.values()]


def _finding(group: Sequence[EmbeddingEntry]) -> str:
    entry = max(group, key=lambda entry: entry.gap or 0.0)
    gap = entry.gap or 0.0
    start = "With rows that the encoders have not seen, a" if _held_out(entry.fusion_rows) else "A"
    split = {"test": "test", "val": "validation"}[entry.tested_on]
    end = "the fusion trains on embeddings that are easier to separate than those it is tested on"
    if abs(gap) < MIN_GAP:
        end = "both are about as easy to separate"
    elif gap < 0:
        end = "the fusion is tested on embeddings that are even easier to separate"
    elif _held_out(entry.fusion_rows):  # by encoders that have seen neither of them
        end = "as the encoders have seen neither, the probe overfits or the speakers differ"
    largest = f" (the largest gap of {len(group)})" if len(group) > 1 else ""
    return (
        f"{start} linear probe on the embeddings of {_name(entry)} reaches "
        f"{format_score(entry.probe('train'))} on the training rows and "
        f"{format_score(entry.probe(entry.tested_on))} on the {split} rows{largest}: {end}."
    )


def _name(entry: EmbeddingEntry) -> str:
    return f"{entry.modality} in {entry.member}" if entry.member else entry.modality


def _figure(entry: EmbeddingEntry, classes: Sequence[str]) -> Block | None:
    panels = {split: _points(entry, split) for split in SPLITS}
    tested_on = "test" if panels["test"] else "val"
    panels = {split: panels[split] for split in ("train", tested_on) if panels[split]}
    if not panels:
        return None
    svg = scatter(panels, classes, _axis_labels(entry), f"embeddings of {_name(entry)}")
    note = f"{_name(entry)}: first two principal components of the training rows of the first fold"
    return Figure(svg, note)


def _points(entry: EmbeddingEntry, split: str) -> list[Point]:
    points = []
    for point in map(_mapping, _sequence(entry.description.get("points"))):
        x, y, label = as_finite(point.get("x")), as_finite(point.get("y")), point.get("label")
        if x is None or y is None or max(abs(x), abs(y)) > MAX_COORDINATE:
            continue
        if point.get("split") == split:
            points.append(Point(None if label is None else str(label), x, y))
    return points[:MAX_DRAWN]


def _axis_labels(entry: EmbeddingEntry) -> tuple[str, str]:
    ratios = [*map(as_finite, _sequence(entry.description.get("explained"))), None, None]
    shown = ["" if ratio is None else f" ({100 * ratio:.0f} % of the variance)" for ratio in ratios]
    return f"first component{shown[0]}", f"second component{shown[1]}"


def _held_out(fusion_rows: object) -> bool:
    return "held_out" in _mapping(fusion_rows)


def _mapping(value: object) -> Mapping[Any, Any]:
    """Return a part of a record, which may be missing or of a wrong type."""
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
