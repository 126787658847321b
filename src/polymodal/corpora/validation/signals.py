"""Checks the signal files behind a manifest: are they there, long enough, and made of numbers."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from polymodal.corpora.validation.issues import DataIssue, UnusableFileError
from polymodal.errors import DataError
from polymodal.security.paths import resolve_inside

VALUES_AT_ONCE = 1 << 20


def signal_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Chooses what is to be checked.

    Args:
        frame: The manifest's rows, numbered by `row`.

    Returns:
        One row a signal of an utterance, those of one file together.
    """
    signals = frame.select("utterance_id", "row", "signals").explode("signals")
    return signals.drop_nulls("signals").unnest("signals").sort("path", "row", "name")


def signal_findings(root: Path, part: pl.DataFrame) -> Iterator[DataIssue]:
    """Checks the signal files of some rows.

    Args:
        root: Folder of the signals.
        part: Some of `signal_rows`.

    Yields:
        What is wrong with them.
    """
    for path, rows in groupby(part.iter_rows(named=True), lambda row: row["path"]):
        listed = list(rows)
        try:
            values = _opened(root, path)
            for row in listed:
                yield from (_found(row, *found) for found in _value_details(values, row))
        except UnusableFileError as error:
            yield from (_found(row, error.rule, error.detail) for row in listed)
        except Exception as error:  # whatever a file holds, the others are to be seen as well
            yield from (_found(row, "unreadable signal", f"{path}: {error}") for row in listed)


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
        raise UnusableFileError("unreadable signal", f"{relative} holds {kind}, no numbers")
    if values.ndim not in (1, 2):
        detail = f"{relative} has the shape {values.shape}, [sample] or [sample, channel] is wanted"
        raise UnusableFileError("unreadable signal", detail)
    return values


def _value_details(values: np.ndarray, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    first, length = row["start"] or 0, row["length"]
    stop = len(values) if length is None else first + length
    if not 0 <= first <= stop <= len(values) or (first == stop and length is None):
        detail = f"{row['path']} has {len(values)} samples, {first} to {stop} are wanted"
        yield "signal too short", detail
        return
    if first == stop:
        yield "empty signal", f"samples {first} to {stop} of {row['path']}"
        return
    low, high = values[first], values[first]
    for begin in range(first, stop, VALUES_AT_ONCE):
        part = values[begin : min(begin + VALUES_AT_ONCE, stop)]
        low, high = np.minimum(low, part.min(axis=0)), np.maximum(high, part.max(axis=0))
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            bad = ~np.isfinite(part).reshape(len(part), -1).all(axis=1)
            yield "signal not finite", f"sample {begin - first + int(bad.argmax())} is no number"
            return
    if stop - first > 1 and np.any(low == high):
        yield "constant signal", f"every one of {stop - first} samples is the same"


def _found(row: Mapping[str, Any], rule: str, detail: str) -> DataIssue:
    return DataIssue(row["utterance_id"], rule, f"{row['name']}: {detail}")
