"""Finds the arrays of a modality in a folder of `.npy`, an `.npz` or a `.parquet`.

Only shapes are read at first; values are read when somebody asks for them. Nothing is unpickled.
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

from polymodal.errors import DataError, ManifestError
from polymodal.security.paths import resolve_inside

GIGABYTE = 10**9
MAX_RATIO = 1000  # an archive of features has about 1, a bomb a thousand and more
KINDS = "biuf"  # NumPy's letters for numbers that have a place on the line
ID = "utterance_id"
DAMAGED = (OSError, RuntimeError, ValueError, EOFError, zlib.error, zipfile.BadZipFile)
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

Fault = tuple[str, str]


@dataclass(frozen=True)
class FeatureArray:
    """One utterance's array before it is read.

    Args:
        shape: Its shape; of no meaning where there is a fault.
        load: Reads it.
        fault: Rule and reason why it cannot be used.
    """

    shape: tuple[int, ...]
    load: Callable[[], Any]
    fault: Fault | None = None

    @property
    def size(self) -> int:
        """Width of its vectors."""
        return self.shape[-1]


@dataclass(frozen=True)
class FeatureSource:
    """What one modality is read from.

    Args:
        name: Name of the modality.
        path: Folder or file.
        arrays: Id to its array; in a folder, `<id>.npy` is its file.
    """

    name: str
    path: Path
    arrays: Mapping[str, FeatureArray]

    @property
    def files(self) -> dict[str, Path]:
        """Id to the file of its own; empty where all arrays lie in one file."""
        if not self.path.is_dir():
            return {}
        return {name: self.path / f"{name}.npy" for name in self.arrays}

    @property
    def lies_ready(self) -> bool:
        """Whether all that can be used are sequences in files of their own."""
        usable = [array for array in self.arrays.values() if not array.fault]
        return self.path.is_dir() and all(len(array.shape) == 2 for array in usable)


def feature_source(name: str, path: str, folder: Path, max_gb: float) -> FeatureSource:
    """Finds the arrays of a modality; empty ones are left out.

    Args:
        name: Name of the modality.
        path: Its folder or file below `folder`.
        folder: Folder of the corpus.
        max_gb: How large an `.npz` may become in memory, in 10^9 bytes.

    Returns:
        The arrays, those that cannot be used with their fault.

    Raises:
        ManifestError: There is no such file, or it cannot be read as a whole.
        DataError: The path leads out of the folder.
    """
    place = resolve_inside(folder, path)
    readers: Mapping[str, Callable[[Path], dict[str, FeatureArray]]] = {
        "folder": partial(_folder_arrays, root=folder),
        ".npz": partial(_archive_arrays, max_gb=max_gb),
        ".parquet": _table_arrays,
    }
    kind = "folder" if place.is_dir() else place.suffix if place.is_file() else ""
    if kind not in readers:
        fault = "is of no known kind" if place.is_file() else "is missing"
        raise ManifestError(
            f"corpus.modalities.{name}: {place} {fault}",
            expected="a folder of .npy, an .npz or a .parquet below corpus.root",
        )
    try:
        return FeatureSource(name, place, _checked(readers[kind](place)))
    except (OSError, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
        raise ManifestError(
            f"{place} cannot be read: {str(error).splitlines()[0]}",
            expected="an .npz that numpy.savez wrote, or a .parquet",
        ) from None


def _checked(arrays: Mapping[str, FeatureArray]) -> dict[str, FeatureArray]:
    """Marks what is no sequence of vectors of the usual width; leaves out what is empty."""
    held = {
        name: _shape_checked(array)
        for name, array in arrays.items()
        if array.fault or math.prod(array.shape)
    }
    sizes = Counter(array.size for array in held.values() if not array.fault)
    usual = min(sizes, key=lambda size: (-sizes[size], size), default=0)
    for name, array in held.items():
        if not array.fault and array.size != usual:
            reason = f"{name!r} has {array.size} features, most have {usual}"
            held[name] = replace(array, fault=("other feature size", reason))
    return held


def _shape_checked(array: FeatureArray) -> FeatureArray:
    if array.fault or len(array.shape) in (1, 2):
        return array
    reason = f"the shape is {array.shape}, expected [time, feature] or [feature]"
    return replace(array, fault=("other shape", reason))


def unreadable(name: str, error: Exception) -> Fault:
    """Says that an array is damaged.

    Args:
        name: Its id.
        error: What reading it said.

    Returns:
        Rule and reason.
    """
    reason = error.message if isinstance(error, DataError) else str(error)
    return "unreadable array", f"{name!r}: {reason}"


def _without_values(fault: Fault | None = None) -> FeatureArray:
    return FeatureArray((0,), tuple, fault)


def _folder_arrays(folder: Path, root: Path) -> dict[str, FeatureArray]:
    """Arrays of all `.npy` that are not hidden; an id may have `/`, as in `read_folders`."""
    arrays = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.endswith(".npy") and not name.startswith("."):
                path = Path(place) / name
                one = path.relative_to(folder).as_posix().removesuffix(".npy")
                arrays[one] = _file_array(path, root)
    return arrays


def _file_array(path: Path, root: Path) -> FeatureArray:
    try:
        resolve_inside(root, path.relative_to(root).as_posix())
        with path.open("rb") as file:
            shape = _shape(file, path.stat().st_size)
    except (DataError, *DAMAGED) as error:
        return _without_values(unreadable(path.stem, error))
    return FeatureArray(shape, partial(np.load, path, mmap_mode="r", allow_pickle=False))


def _shape(file: Any, num_bytes: int) -> tuple[int, ...]:
    """The shape in the header of a `.npy`; ValueError if it holds no numbers or too few bytes."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the format")
    try:
        shape, _, dtype = HEADERS[version](file)
    except (SyntaxError, TokenError) as error:  # NumPy lets these through
        raise ValueError(f"its header is damaged: {error}") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded; save numbers instead")
    if dtype.kind not in KINDS:
        raise ValueError(f"it holds {dtype}, not numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > num_bytes - file.tell():
        raise ValueError(f"its header says {shape}, more than there is")
    return tuple(shape)


def _archive_arrays(path: Path, max_gb: float) -> dict[str, FeatureArray]:
    archive = zipfile.ZipFile(path)  # stays open for the arrays that are read from it later
    _check_names(path, archive.infolist())
    _check_sizes(path, archive.infolist(), max_gb)
    arrays = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        try:
            with archive.open(member) as file:
                shape = _shape(file, member.file_size)
            load = partial(_from_archive, archive, member.filename)
            arrays[name] = FeatureArray(shape, load)
        except DAMAGED as error:
            arrays[name] = _without_values(unreadable(name, error))
    return arrays


def _check_names(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    for name, count in Counter(member.filename for member in members).items():
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:", name):
            raise ManifestError(f"{path}: the name {name!r} leads out of the folder")
        if count > 1:
            raise ManifestError(f"{path} has {name!r} {count} times", expected="each id once")


def _check_sizes(path: Path, members: Sequence[zipfile.ZipInfo], max_gb: float) -> None:
    """Refuses a bomb by the directory of the archive, before anything is unpacked."""
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
        raise ManifestError(f"{path}: {ID} is empty or stands twice", expected="each id once")
    if lists:
        return {one: _list_array(one, row) for one, row in zip(ids, frame[lists[0]], strict=True)}
    matrix = frame.select(pl.col(numbers).cast(pl.Float32)).to_numpy()
    return {
        one: FeatureArray(row.shape, partial(np.asarray, row))
        for one, row in zip(ids, matrix, strict=True)
    }


def _is_lists(dtype: Any) -> bool:
    """Whether it is a list of numbers, or a list of lists of numbers."""
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
