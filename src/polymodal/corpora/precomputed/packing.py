"""Pack the arrays of a modality into one `.npy` of float32.

The file is named by the hash of its content. An index, named by the hash of the source, lists the
position of each array, so that nothing is written twice.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from polymodal.corpora.precomputed.files import DAMAGED, Fault, FeatureSource, unreadable
from polymodal.schemas.keys import clean_key
from polymodal.security.files import atomic_write, sha256_of

# Increase when arrays are packed differently, so that cached files are not used.
VERSION = 1
DIGITS = 20
CHUNK_ROWS = 65_536

Span = tuple[int, int]


@dataclass(frozen=True)
class PackedFeatures:
    """Id to file, first row and number of rows of usable arrays; the faults of the others."""

    spans: Mapping[str, tuple[str, int, int]]
    faults: Mapping[str, Fault]


def index_files(source: FeatureSource, root: Path, ids: Collection[str]) -> PackedFeatures:
    """Use the arrays of a folder in place, and check the values of the table's utterances."""
    spans, faults = {}, {}
    for name, path in source.files.items():
        array = source.arrays[name]
        fault = array.fault or (
            _value_fault(name, array.load()) if clean_key(name) in ids else None
        )
        if fault:
            faults[name] = fault
        else:
            spans[name] = (path.relative_to(root).as_posix(), 0, array.shape[0])
    return PackedFeatures(spans, faults)


def pack(source: FeatureSource, target: Path) -> PackedFeatures:
    """Pack a modality, or load the index of the same bytes."""
    target.mkdir(parents=True, exist_ok=True)
    index = target / f"{source.name}-{_source_digest(source)[:DIGITS]}.json"
    if (cached := _load(index, target)) is not None:
        return cached
    with atomic_write(index) as tmp_path:  # another process may pack it, too
        name, spans, faults = _pack(source, tmp_path)
        size = tmp_path.stat().st_size
        tmp_path.replace(target / name)
        body = {"path": name, "bytes": size, "spans": spans, "faults": faults}
        tmp_path.write_text(json.dumps(body), encoding="utf-8")
    return PackedFeatures({array_id: (name, *span) for array_id, span in spans.items()}, faults)


def _load(index: Path, target: Path) -> PackedFeatures | None:
    try:
        body = json.loads(index.read_text(encoding="utf-8"))
        path = str(body["path"])
        if (target / path).stat().st_size != body["bytes"]:
            return None
        spans = {name: (path, int(a), int(b)) for name, (a, b) in body["spans"].items()}
        faults = {name: (str(rule), str(why)) for name, (rule, why) in body["faults"].items()}
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
    """Write all arrays, sorted by id, and return the name made of their content."""
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
    """Yield the usable arrays, float32 `[time, feature]`, and add the faults of the others."""
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
    for start in range(0, len(values), CHUNK_ROWS):
        if not np.isfinite(_float32(values[start : start + CHUNK_ROWS])).all():
            return "features that are not finite", f"{name!r} holds NaN or infinite values"
    return None


def _float32(values: Any) -> np.ndarray:
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is rejected
        return np.asarray(values, dtype="<f4")


def _write_header(file: IO[bytes], length: int, width: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (length, width)}
    np.lib.format.write_array_header_1_0(file, header)
