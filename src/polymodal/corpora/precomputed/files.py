"""Arrays of a modality in a folder of `.npy`, an `.npz` or a `.parquet`.

Only shapes are read at first, values on request. Nothing is unpickled.
"""

import io
import math
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import Any

import numpy as np
import polars as pl

from polymodal.errors import DataError, ManifestError, reason_of
from polymodal.security.paths import resolve_inside

GIGABYTE = 10**9
MAX_RATIO = 1000  # features compress to about 1:1, a zip bomb to 1:1000 and more
NUMERIC_KINDS = "biuf"  # NumPy's codes for bool, int, uint and float
ID = "utterance_id"
DAMAGED = (OSError, RuntimeError, ValueError, EOFError, zlib.error, zipfile.BadZipFile)
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

Fault = tuple[str, str]


@dataclass(frozen=True)
class FeatureArray:
    """One utterance's array before it is read."""

    shape: tuple[int, ...]  # meaningless if there is a fault
    load: Callable[[], Any]
    fault: Fault | None = None  # rule and reason if it cannot be used

    @property
    def size(self) -> int:
        """Number of features."""
        return self.shape[-1]


@dataclass(frozen=True)
class FeatureSource:
    """The folder or file of one modality; in a folder, `<id>.npy` is the array of an id."""

    name: str
    path: Path
    arrays: Mapping[str, FeatureArray]

    @property
    def files(self) -> dict[str, Path]:
        """Id to its file; empty if all arrays are in one file."""
        if not self.path.is_dir():
            return {}
        return {name: self.path / f"{name}.npy" for name in self.arrays}

    @property
    def is_in_place(self) -> bool:
        """Whether all usable arrays are sequences in their own files."""
        usable = [array for array in self.arrays.values() if not array.fault]
        return self.path.is_dir() and all(len(array.shape) == 2 for array in usable)


def feature_source(name: str, path: str, folder: Path, max_gb: float) -> FeatureSource:
    """Find the arrays of a modality below `folder`, without empty ones.

    Raises:
        ManifestError: There is no such file, or it cannot be read at all.
        DataError: The path leads out of the folder.
    """
    resolved = resolve_inside(folder, path)
    readers: Mapping[str, Callable[[Path], dict[str, FeatureArray]]] = {
        "folder": partial(_folder_arrays, root=folder),
        ".npz": partial(_archive_arrays, max_gb=max_gb),
        ".parquet": _table_arrays,
    }
    kind = "folder" if resolved.is_dir() else resolved.suffix if resolved.is_file() else ""
    if kind not in readers:
        fault = "is of an unknown kind" if resolved.is_file() else "is missing"
        raise ManifestError(
            f"corpus.modalities.{name}: {resolved} {fault}",
            expected="a folder of .npy, an .npz or a .parquet below corpus.root",
        )
    try:
        return FeatureSource(name, resolved, _checked(readers[kind](resolved)))
    except (OSError, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
        raise ManifestError(
            f"{resolved} cannot be read: {reason_of(error)}",
            expected="an .npz that numpy.savez wrote, or a .parquet",
        ) from None


def _checked(arrays: Mapping[str, FeatureArray]) -> dict[str, FeatureArray]:
    """Mark arrays that are not sequences of vectors of the most frequent size; drop empty ones."""
    checked = {name: a for name, a in arrays.items() if a.fault or math.prod(a.shape)}
    vectors = [a for a in checked.values() if not a.fault and len(a.shape) in (1, 2)]
    sizes = Counter(array.size for array in vectors)
    common_size = min(sizes, key=lambda size: (-sizes[size], size), default=0)
    for name, array in checked.items():
        if array.fault:
            continue
        if len(array.shape) not in (1, 2):
            reason = f"the shape is {array.shape}, expected [time, feature] or [feature]"
            checked[name] = replace(array, fault=("other shape", reason))
        elif array.size != common_size:
            reason = f"{name!r} has {array.size} features, most have {common_size}"
            checked[name] = replace(array, fault=("other feature size", reason))
    return checked


def unreadable(name: str, error: Exception) -> Fault:
    """Return rule and reason for a damaged array."""
    reason = error.message if isinstance(error, DataError) else str(error)
    return "unreadable array", f"{name!r}: {reason}"


def _without_values(fault: Fault | None = None) -> FeatureArray:
    return FeatureArray((0,), tuple, fault)


def _folder_arrays(folder: Path, root: Path) -> dict[str, FeatureArray]:
    """Return arrays of all visible `.npy`; an id may contain `/`, as in `read_folders`."""
    paths = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    names = {path.relative_to(folder).as_posix(): path for path in paths if path.suffix == ".npy"}
    return {
        name.removesuffix(".npy"): _file_array(path, root)
        for name, path in names.items()
        if not any(level.startswith(".") for level in name.split("/"))
    }


def _file_array(path: Path, root: Path) -> FeatureArray:
    try:
        resolve_inside(root, path.relative_to(root).as_posix())
        with path.open("rb") as file:
            shape = _shape(file, path.stat().st_size)
    except (DataError, *DAMAGED) as error:
        return _without_values(unreadable(path.stem, error))
    return FeatureArray(shape, partial(np.load, path, mmap_mode="r", allow_pickle=False))


def _shape(file: Any, num_bytes: int) -> tuple[int, ...]:
    """Return the shape in a `.npy` header; ValueError without numbers or with too few bytes."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the format")
    try:
        shape, _, dtype = HEADERS[version](file)
    except (SyntaxError, TokenError) as error:  # NumPy lets these through
        raise ValueError(f"its header is damaged: {error}") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded; save numbers instead")
    if dtype.kind not in NUMERIC_KINDS:
        raise ValueError(f"it holds {dtype}, not numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > num_bytes - file.tell():
        raise ValueError(f"its header says {shape}, more than there is")
    return tuple(shape)


def _archive_arrays(path: Path, max_gb: float) -> dict[str, FeatureArray]:
    archive = zipfile.ZipFile(path)  # stays open for the arrays that are read from it later
    _check_members(path, archive.infolist(), max_gb)
    arrays = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        try:
            with archive.open(member) as file:
                shape = _shape(file, member.file_size)
            arrays[name] = FeatureArray(shape, partial(_from_archive, archive, member.filename))
        except DAMAGED as error:
            arrays[name] = _without_values(unreadable(name, error))
    return arrays


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo], max_gb: float) -> None:
    """Detect foreign names, and a zip bomb by the archive's directory, before it is unpacked."""
    for name, count in Counter(member.filename for member in members).items():
        member_path = PurePosixPath(name.replace("\\", "/"))
        if member_path.is_absolute() or ".." in member_path.parts or re.match(r"[A-Za-z]:", name):
            raise ManifestError(f"{path}: the name {name!r} leads out of the folder")
        if count > 1:
            raise ManifestError(f"{path} has {name!r} {count} times", expected="each id once")
    total = sum(member.file_size for member in members)
    if total > max_gb * GIGABYTE:
        raise ManifestError(
            f"{path} becomes {total / GIGABYTE:.1f} GB in memory",
            expected=f"at most {max_gb:g} GB (corpus.max_gb)",
            hint="save a .npy an utterance instead, or raise corpus.max_gb if you trust the file",
        )
    for member in members:
        if member.file_size > MAX_RATIO * max(1, member.compress_size):
            raise ManifestError(
                f"{path}: {member.filename!r} grows from {member.compress_size} to "
                f"{member.file_size} bytes",
                expected=f"at most {MAX_RATIO} times as many",
                hint="save it with numpy.savez, without compression, if you trust the file",
            )


def _from_archive(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    return np.asarray(np.load(io.BytesIO(archive.read(name)), allow_pickle=False))


def _table_arrays(path: Path) -> dict[str, FeatureArray]:
    frame = pl.read_parquet(path)
    lists = [name for name, dtype in frame.schema.items() if _is_lists(dtype)]
    numbers = [name for name, dtype in frame.schema.items() if dtype.is_numeric() and name != ID]
    others = [name for name in frame.columns if name not in (*lists, *numbers, ID)]
    if ID not in frame.columns or others or bool(numbers) == bool(lists) or len(lists) > 1:
        raise ManifestError(
            f"{path} has the columns {frame.columns}",
            expected=f"{ID}, and either one column of lists of numbers or one column a feature",
        )
    ids = frame[ID].cast(pl.String)
    if ids.is_null().any() or ids.is_duplicated().any():
        raise ManifestError(f"{path}: {ID} is empty or not unique", expected="each id once")
    if lists:
        pairs = zip(ids, frame[lists[0]], strict=True)
        return {array_id: _list_array(array_id, row) for array_id, row in pairs}
    matrix = frame.select(pl.col(numbers).cast(pl.Float32)).to_numpy()
    arrays = (FeatureArray(row.shape, partial(np.asarray, row)) for row in matrix)
    return dict(zip(ids, arrays, strict=True))


def _is_lists(dtype: Any) -> bool:
    inner = getattr(dtype, "inner", None)
    innermost = getattr(inner, "inner", inner)
    return innermost is not None and bool(innermost.is_numeric())


def _list_array(name: str, row: pl.Series | None) -> FeatureArray:
    if row is None or not len(row):
        return _without_values()
    shape: tuple[int, ...] = (len(row),)
    if row.dtype.is_nested():
        lengths = row.list.len() if isinstance(row.dtype, pl.List) else row.arr.len()
        if lengths.n_unique() > 1 or lengths.is_null().any():
            return _without_values(unreadable(name, ValueError("its vectors differ in length")))
        shape = (len(row), int(lengths[0]))
    return FeatureArray(shape, partial(_numbers, row, shape))


def _numbers(row: pl.Series, shape: tuple[int, ...]) -> np.ndarray:
    flat = row.explode() if row.dtype.is_nested() else row
    return flat.cast(pl.Float32).to_numpy().reshape(shape)
