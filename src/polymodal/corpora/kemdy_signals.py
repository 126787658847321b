"""Physiology of KEMDy: tables whose rows name their segment.

A table is cut once into a `.npy` file with the samples of each segment side by side, and read again
only when it changes.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from polymodal.security.files import atomic_write, sha256_of

# Increase when tables are cut differently, so that cached files are not used.
VERSION = 1
FIELDS = ("first", "second", "third", "fourth")
# Rates of the devices, for tables without times (Empatica E4; ECG is uncertain).
DEFAULT_RATES_HZ: Mapping[str, float | None] = {"EDA": 4.0, "TEMP": 4.0, "ECG": 250.0, "IBI": None}
CLOCK = r"(\d{1,2}):(\d{2}):(\d{2}(?:[.,]\d+)?)"
MILLISECONDS_FROM, MICROSECONDS_FROM = 1e11, 1e14


@dataclass(frozen=True)
class Cut:
    """A table cut by segment."""

    path: str  # of the `.npy` file below the folder of the signals
    rate_hz: float | None  # samples a second; None for one value an event
    segments: Mapping[str, tuple[int, int]]  # segment to (first sample, number of samples)
    odd: Mapping[str, int]  # oddity to its count


def cut_signals(
    root: Path,
    signals_root: Path,
    segment_id: re.Pattern[str],
    belongs_to: Callable[[Path, str], bool],
    handled: Counter[str],
) -> dict[str, list[dict[str, Any]]]:
    """Cut every table of every signal, and return the signals of each segment as in a manifest.

    `belongs_to` tells whether a segment is by the person who wore the device of a file.
    """
    signals: dict[str, list[dict[str, Any]]] = {}
    for kind in DEFAULT_RATES_HZ:
        tables = sorted((root / kind).rglob("*.csv"))
        originals = [table for table in tables if table.parent.name == "Original"]
        for table in originals or tables:
            cut = _cut_once(table, kind, root, signals_root, segment_id)
            handled.update(cut.odd)
            for segment, (start, length) in cut.segments.items():
                if belongs_to(table, segment):
                    reference = {"path": cut.path, "rate_hz": cut.rate_hz}
                    span = {"name": kind.lower(), "start": start, "length": length}
                    signals.setdefault(segment, []).append({**reference, **span})
    return signals


def _cut_once(
    table: Path, kind: str, root: Path, signals_root: Path, segment_id: re.Pattern[str]
) -> Cut:
    """Cut a table, or load the cached cut."""
    target = (signals_root / table.relative_to(root)).with_suffix(".npy")
    index, state = target.with_suffix(".json"), table.stat()
    source = [VERSION, state.st_size, state.st_mtime_ns, segment_id.pattern]
    if (cached := _load(index, source)) is not None:
        return cached
    values, cut = _cut(table, kind, target.relative_to(signals_root).as_posix(), segment_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as tmp_path:
        np.save(tmp_path, values)
    text = json.dumps({"source": source, "sha256": sha256_of(target), "cut": vars(cut)})
    with atomic_write(index) as tmp_path:
        tmp_path.write_text(text, encoding="utf-8")
    return cut


def _load(index: Path, source: list[Any]) -> Cut | None:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        usable = content["source"] == source
        usable = usable and content["sha256"] == sha256_of(index.with_suffix(".npy"))
        cut = content["cut"]
        segments = {name: (start, length) for name, (start, length) in cut["segments"].items()}
        return Cut(cut["path"], cut["rate_hz"], segments, cut["odd"]) if usable else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cut(table: Path, kind: str, path: str, segment_id: re.Pattern[str]) -> tuple[np.ndarray, Cut]:
    odd: Counter[str] = Counter()
    rows = _rows_in_segments(table, segment_id)
    if rows is None:
        odd[f"{kind} table without a row in a segment"] += 1
        return np.zeros(0, np.float32), Cut(path, None, {}, odd)
    values = _values(rows, kind)
    usable = values.select(pl.all_horizontal(pl.all().is_finite().fill_null(False))).to_series()
    if lost := int((~usable).sum()):
        odd[f"{kind} sample that is not finite"] += lost
    rows, values = rows.filter(usable), values.filter(usable)
    spans = rows.with_row_index("row").group_by("segment", maintain_order=True)
    lengths = spans.agg(pl.col("row").first().alias("start"), pl.len().alias("length"))
    segments = {name: (start, length) for name, start, length in lengths.iter_rows()}
    array = values.to_numpy().astype(np.float32)
    if kind == "IBI":
        # Offsets count from the first beat of the segment, not from the start of the recording.
        offsets = array[:, 0].copy()
        for start, length in segments.values():
            array[start : start + length, 0] -= offsets[start]
        return array, Cut(path, None, segments, odd)
    return array[:, 0], Cut(path, _rate_hz(table, kind, rows, odd), segments, odd)


def _rows_in_segments(table: Path, segment_id: re.Pattern[str]) -> pl.DataFrame | None:
    """Return rows that end with a segment id, grouped by segment; header lines have none."""
    raw = table.read_bytes()
    if not raw.strip():
        return None
    lines = pl.read_csv(
        raw,
        has_header=False,
        schema={"line": pl.String},
        separator="\x01",  # a line is one field, whatever its number of commas
        quote_char=None,
        encoding="utf8-lossy",
    )
    split = pl.col("line").str.split_exact(",", len(FIELDS) - 1).struct.rename_fields([*FIELDS])
    cells = lines.select(split).unnest("line").select(pl.all().str.strip_chars(' \r\ufeff"'))
    matches = pl.all().str.contains(f"^(?:{segment_id.pattern})$").fill_null(False)
    index = int(cells.select(matches).sum().to_numpy().argmax())
    named = cells.with_columns(cells.to_series(index).alias("segment"))
    inside = named.filter(cells.select(matches).to_series(index))
    if inside.is_empty() or index < 2:
        return None
    times = inside.with_columns(inside.to_series(index - 1).alias("time"))
    return times.drop(FIELDS[index - 1 :]).sort("segment", maintain_order=True)


def _values(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Return the column of values, or offset and interval of heart beats."""
    names = [name for name in FIELDS if name in rows.columns]
    numbers = rows.select(pl.col(names).cast(pl.Float64, strict=False))
    if kind == "IBI":
        return numbers.select(names[:2])
    if kind == "ECG" and len(names) > 1 and _is_clock(numbers.to_series(0), rows["segment"]):
        return numbers.select(names[1])
    return numbers.select(names[0])


def _is_clock(column: pl.Series, segments: pl.Series) -> bool:
    """Return whether a column only grows within segments, like a time and unlike a voltage."""
    steps = pl.DataFrame({"value": column, "segment": segments}).select(
        pl.col("value").diff().over("segment").drop_nulls()
    )["value"]
    return bool((steps >= 0).all()) and column.n_unique() > segments.n_unique()


def _rate_hz(table: Path, kind: str, rows: pl.DataFrame, odd: Counter[str]) -> float:
    """Return the rate from the header, the times, or the device's default."""
    if (stated := _stated_rate_hz(table)) is not None:
        return stated
    spans = (
        rows.select("segment", _seconds(rows["time"]).alias("s"))
        .group_by("segment")
        .agg(pl.len().alias("num"), (pl.col("s").last() - pl.col("s").first()).alias("span_s"))
        .filter((pl.col("num") > 1) & (pl.col("span_s") > 0))
    )
    default = DEFAULT_RATES_HZ[kind]
    assert default is not None
    if spans.is_empty():
        odd[f"{kind} table whose rate is assumed"] += 1
        return default
    rate = float(spans.select(((pl.col("num") - 1) / pl.col("span_s")).median()).item())
    nearest = max(1, round(rate))
    return float(nearest) if abs(rate - nearest) < 0.02 * nearest else round(rate, 3)


def _stated_rate_hz(table: Path) -> float | None:
    """Return the second line of an Empatica E4 file, if it is a rate."""
    with table.open(encoding="utf-8-sig", errors="replace") as file:
        head = [file.readline().strip() for _ in range(2)]
    try:
        start, rate_hz = float(head[0]), float(head[1])
    except ValueError:
        return None
    return rate_hz if start > 1e8 and 0 < rate_hz < 1e5 else None


def _seconds(times: pl.Series) -> pl.Series:
    """Return seconds from a clock (`10:00:00.250` in any date format) or a number (s, ms or us)."""
    number = pl.col("t").cast(pl.Float64, strict=False)
    scaled = (
        pl.when(number > MICROSECONDS_FROM)
        .then(number / 1e6)
        .when(number > MILLISECONDS_FROM)
        .then(number / 1e3)
        .otherwise(number)
    )
    fields = [
        pl.col("t").str.extract(CLOCK, group).str.replace(",", ".").cast(pl.Float64, strict=False)
        for group in (1, 2, 3)
    ]
    clock = fields[0] * 3600 + fields[1] * 60 + fields[2]
    return times.to_frame("t").select(pl.coalesce(clock, scaled)).to_series()
