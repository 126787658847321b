"""Check the signal files of a manifest: existence, length and values."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from polymodal.corpora.validation.issues import DataIssue, UnusableFileError, rule_and_detail
from polymodal.errors import DataError
from polymodal.security.paths import resolve_inside

CHUNK_VALUES = 1 << 20


def signal_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a row a signal of an utterance, sorted by file; `frame` is numbered by `row`."""
    signals = frame.select("utterance_id", "row", "signals").explode("signals")
    return signals.drop_nulls("signals").unnest("signals").sort("path", "row", "name")


def signal_issues(root: Path, rows: pl.DataFrame) -> Iterator[DataIssue]:
    """Yield the issues in the signal files of some `signal_rows`."""
    for path, of_file in groupby(rows.iter_rows(named=True), lambda row: row["path"]):
        listed = list(of_file)
        try:
            values = _opened(root, path)
            for row in listed:
                yield from (_issue(row, *detail) for detail in _value_details(values, row))
        except Exception as error:  # a damaged file must not hide the others
            issue = rule_and_detail(error, "unreadable signal", path)
            yield from (_issue(row, *issue) for row in listed)


def _opened(root: Path, relative: str | None) -> np.ndarray:
    if not relative:
        raise UnusableFileError("missing signal", "no path is given")
    try:
        path = resolve_inside(root, relative)
    except DataError as error:
        raise UnusableFileError("path outside the corpus", error.message) from None
    if not path.is_file():
        raise UnusableFileError("missing signal", f"there is no file {relative}")
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        kind = getattr(values, "dtype", "an archive")
        raise UnusableFileError("unreadable signal", f"{relative} holds {kind}, not numbers")
    if values.ndim not in (1, 2):
        detail = f"{relative} has the shape {values.shape}, expected [sample] or [sample, channel]"
        raise UnusableFileError("unreadable signal", detail)
    return values


def _value_details(values: np.ndarray, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    first, length = row["start"] or 0, row["length"]
    stop = len(values) if length is None else first + length
    if not 0 <= first <= stop <= len(values) or (first == stop and length is None):
        detail = f"{row['path']} has {len(values)} samples, expected {first} to {stop}"
        yield "signal too short", detail
        return
    if first == stop:
        yield "empty signal", f"samples {first} to {stop} of {row['path']}"
        return
    low, high = values[first], values[first]
    for begin in range(first, stop, CHUNK_VALUES):
        block = values[begin : min(begin + CHUNK_VALUES, stop)]
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
        if block.dtype.kind == "f" and not np.isfinite(block).all():
            bad = ~np.isfinite(block).reshape(len(block), -1).all(axis=1)
            yield "signal not finite", f"sample {begin - first + int(bad.argmax())} is not finite"
            return
    if stop - first > 1 and np.any(low == high):
        yield "constant signal", f"every one of {stop - first} samples is the same"


def _issue(row: Mapping[str, Any], rule: str, detail: str) -> DataIssue:
    return DataIssue(row["utterance_id"], rule, f"{row['name']}: {detail}")
