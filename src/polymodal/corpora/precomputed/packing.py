"""Gives every array of a modality a place in a `.npy` of float32, and writes it there if need be.

All arrays lie behind one another under a name made of their content; an index under a name made of
the source's bytes says what lies where, so that nothing is written twice.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from polymodal.corpora.precomputed.files import DAMAGED, Fault, FeatureSource, unreadable
from polymodal.security.files import atomic_write, sha256_of

# Changing how arrays are packed changes this number, so that old files are not taken for new ones.
VERSION = 1
DIGITS = 20
ROWS_AT_ONCE = 65_536

Span = tuple[int, int]


@dataclass(frozen=True)
class PackedFeatures:
    """Where the arrays of a modality lie that can be used.

    Args:
        spans: Id to file, first row and number of rows.
        faults: Id to rule and reason, for the others.
    """

    spans: Mapping[str, tuple[str, int, int]]
    faults: Mapping[str, Fault]


def placed(source: FeatureSource, root: Path, ids: Collection[str]) -> PackedFeatures:
    """Takes the arrays of a folder where they lie.

    Args:
        source: The modality.
        root: Folder of the corpus, which the files are named from.
        ids: Utterances of the table; the values of others are not read.

    Returns:
        The places of the arrays.
    """
    spans, faults = {}, {}
    for name, path in source.files.items():
        array = source.arrays[name]
        fault = array.fault or (_value_fault(name, array.load()) if name in ids else None)
        if fault:
            faults[name] = fault
        else:
            spans[name] = (path.relative_to(root).as_posix(), 0, array.shape[0])
    return PackedFeatures(spans, faults)


def packed(source: FeatureSource, target: Path) -> PackedFeatures:
    """Packs a modality, or finds what was packed of the same bytes before.

    Args:
        source: The modality.
        target: The folder to write to; it is made where there is none.

    Returns:
        The places of the arrays.
    """
    target.mkdir(parents=True, exist_ok=True)
    index = target / f"{source.name}-{_source_digest(source)[:DIGITS]}.json"
    known = _known(index, target)
    if known is not None:
        return known
    with atomic_write(index) as beside:  # another process may pack it, too
        name, spans, faults = _pack(source, beside)
        size = beside.stat().st_size
        beside.replace(target / name)
        body = {"path": name, "bytes": size, "spans": spans, "faults": faults}
        beside.write_text(json.dumps(body), encoding="utf-8")
    return PackedFeatures({one: (name, *span) for one, span in spans.items()}, faults)


def _known(index: Path, target: Path) -> PackedFeatures | None:
    try:
        body = json.loads(index.read_text(encoding="utf-8"))
        path = str(body["path"])
        if (target / path).stat().st_size != body["bytes"]:
            return None
        spans = {one: (path, int(span[0]), int(span[1])) for one, span in body["spans"].items()}
        faults = {one: (str(rule), str(reason)) for one, (rule, reason) in body["faults"].items()}
        return PackedFeatures(spans, faults)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _source_digest(source: FeatureSource) -> str:
    digest = hashlib.sha256(f"{VERSION} ".encode())
    files = source.files if source.path.is_dir() else {"": source.path}
    for name, path in sorted(files.items()):
        fault = source.arrays[name].fault if name else None
        digest.update(f"{name!r}: {fault or sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _pack(source: FeatureSource, path: Path) -> tuple[str, dict[str, Span], dict[str, Fault]]:
    """Writes all arrays, in the order of their ids, and names the file after its content."""
    faults = {name: array.fault for name, array in source.arrays.items() if array.fault}
    width = next((array.size for array in source.arrays.values() if not array.fault), 1)
    spans: dict[str, Span] = {}
    digest, end = hashlib.sha256(), 0
    with path.open("wb") as file:
        _write_header(file, 0, width)
        for name, values in _loaded(source, faults):
            spans[name] = (end, len(values))
            end += len(values)
            digest.update(f"{name!r}{values.shape}".encode() + values.tobytes())
            file.write(values.tobytes())
        file.seek(0)
        _write_header(file, end, width)  # as long as the first one: NumPy leaves room for growth
    return f"{source.name}-{digest.hexdigest()[:DIGITS]}.npy", spans, faults


def _loaded(source: FeatureSource, faults: dict[str, Fault]) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays that can be used, float32 `[time, feature]`; notes the faults of the others."""
    for name, array in sorted(source.arrays.items()):
        if array.fault:
            continue
        try:
            values = _float32(array.load()).reshape(-1, array.size)
        except DAMAGED as error:
            faults[name] = unreadable(name, error)
            continue
        if fault := _value_fault(name, values):
            faults[name] = fault
        else:
            yield name, values


def _value_fault(name: str, values: Any) -> Fault | None:
    for start in range(0, len(values), ROWS_AT_ONCE):
        if not np.isfinite(_float32(values[start : start + ROWS_AT_ONCE])).all():
            return "features that are no numbers", f"{name!r} holds NaN or infinite values"
    return None


def _float32(values: Any) -> np.ndarray:
    with np.errstate(over="ignore"):  # too large for float32 is infinite, which is refused
        return np.asarray(values, dtype="<f4")


def _write_header(file: IO[bytes], length: int, width: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (length, width)}
    np.lib.format.write_array_header_1_0(file, header)
