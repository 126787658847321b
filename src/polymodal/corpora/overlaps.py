"""Rows of one recording that overlap in time although their labels differ."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

MIN_OVERLAP_S = 0.1  # shorter overlaps come from rounded times
COLUMNS = ("audio", "utterance_id", "label", "start_s", "duration_s")


@dataclass(frozen=True)
class _Segment:
    utterance_id: str
    label: str
    start_s: float
    end_s: float

    def overlaps(self, other: "_Segment") -> bool:
        shared_s = min(self.end_s, other.end_s) - max(self.start_s, other.start_s)
        return shared_s >= min(MIN_OVERLAP_S, self.end_s - self.start_s)

    def __str__(self) -> str:
        end = "the end" if math.isinf(self.end_s) else f"{self.end_s:.2f} s"
        return f"{self.label!r} from {self.start_s:.2f} s to {end}"


def conflicting_rows(frame: pl.DataFrame) -> list[tuple[str, str]]:
    """Return id and description of each row that overlaps a row of its file with another label."""
    if not {"audio", "label"} <= {*frame.columns}:
        return []
    missing = [pl.lit(None, pl.Float64).alias(n) for n in COLUMNS[3:] if n not in frame.columns]
    rows = frame.with_columns(missing).select(COLUMNS).filter(pl.col("audio").is_duplicated())
    conflicts = []
    for (audio,), group in rows.drop_nulls(["audio", "label"]).group_by("audio"):
        segments = [_segment(*row) for row in group.select(COLUMNS[1:]).iter_rows()]
        for segment, other in _conflicts(segments):
            detail = f"{audio}: {segment}, but {other} ({other.utterance_id})"
            conflicts.append((segment.utterance_id, detail))
    return sorted(conflicts)


def _segment(name: str, label: str, start_s: float | None, duration_s: float | None) -> _Segment:
    start = start_s or 0.0
    return _Segment(name, label, start, math.inf if duration_s is None else start + duration_s)


def _conflicts(segments: Sequence[_Segment]) -> Iterator[tuple[_Segment, _Segment]]:
    """Yield each segment that overlaps one of another label, with the first such one.

    Of each label, one segment decides: of those that begin earlier the one that ends last, of those
    that begin later the first.
    """
    ordered = sorted(segments, key=lambda item: (item.start_s, item.end_s, item.utterance_id))
    others: dict[str, list[_Segment]] = {item.utterance_id: [] for item in ordered}
    latest: dict[str, _Segment] = {}
    for item in ordered:
        others[item.utterance_id] += latest.values()
        before = latest.get(item.label)
        if before is None or item.end_s > before.end_s:
            latest[item.label] = item
    following: dict[str, _Segment] = {}
    for item in reversed(ordered):
        others[item.utterance_id] += following.values()
        following[item.label] = item
    for item in ordered:
        for other in others[item.utterance_id]:
            if other.label != item.label and item.overlaps(other):
                yield item, other
                break
