"""Features that were computed elsewhere, one array an utterance, beside a table of the labels.

A modality is a folder of `.npy`, an `.npz` or a `.parquet`. Sequences that lie as `.npy` are used
where they lie; everything else is written once, all utterances behind one another, under a name
made of its content, and an index under a name made of the source's bytes says what lies where.
"""

import hashlib
import io
import json
import math
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import polars as pl

from polymodal.contracts.manifest import Manifest, Refusal
from polymodal.corpora.common import Rules, existing, finish
from polymodal.corpora.table import read_table
from polymodal.errors import DataError, ManifestError, nearest
from polymodal.safety.paths import inside

# Changing how arrays are packed changes this number, so that old files are not taken for new ones.
VERSION = 1
DIGITS = 20
GIGABYTE = 10**9
MAX_RATIO = 1000  # an archive of features has about 1, a bomb a thousand and more
ROWS_AT_ONCE = 65_536
KINDS = "biuf"  # NumPy's letters for numbers that have a place on the line
ID = "utterance_id"
SIZE, NUMBERS, UNREADABLE = "other feature size", "features that are no numbers", "unreadable array"
MODALITY = re.compile(r"\w[\w.-]*")
DAMAGED = (OSError, RuntimeError, ValueError, EOFError, zlib.error, zipfile.BadZipFile)
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

Fault = tuple[str, str]
Span = tuple[int, int]


@dataclass(frozen=True)
class _Array:
    """One utterance's array before it is read.

    Args:
        shape: Its shape; empty where it cannot be read.
        load: Reads it.
        fault: Why it cannot be used.
    """

    shape: tuple[int, ...]
    load: Callable[[], Any]
    fault: Fault | None = None

    @property
    def size(self) -> int:
        """Width of its vectors."""
        return self.shape[-1]


@dataclass(frozen=True)
class _Source:
    """What one modality is read from.

    Args:
        name: Name of the modality.
        path: Folder or file.
        arrays: Id to its array.
        files: Id to its file, for a folder.
    """

    name: str
    path: Path
    arrays: Mapping[str, _Array]
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class _Usable:
    """The arrays of a modality that can be used.

    Args:
        spans: Id to file, first row and number of rows.
        faults: Id to rule and reason.
    """

    spans: Mapping[str, tuple[str, int, int]]
    faults: Mapping[str, Fault]


def read_features(
    root: str,
    *,
    modalities: Mapping[str, str],
    prepared: str,
    file: str = "manifest.csv",
    rates_hz: Mapping[str, float | None] | None = None,
    columns: Mapping[str, str | None] | None = None,
    speaker: str | None = None,
    encoding: str = "utf-8",
    corpus: str | None = None,
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, str | Sequence[str]] | None = None,
    max_refused: int | None = 0,
    max_gb: float = 8.0,
) -> Manifest:
    """Reads a table of labels, and features of any modality that lie beside it.

    A modality is a folder with `<utterance_id>.npy`, an `.npz` with one array an utterance, or a
    `.parquet` with `utterance_id` and either one column of lists or one column a feature. An array
    is `[time, feature]`; a vector `[feature]` counts as one step. An utterance may lack a modality.
    An encoder such as `PrecomputedEncoder` reads a modality as the signal of its name.

    Args:
        root: Folder of the table and the features.
        modalities: Name of a modality to its folder or file below `root`.
        prepared: Folder that features are written to which do not lie as sequences in `.npy` files.
        file: The table, see `read_table`.
        rates_hz: Name of a modality to its steps a second; None, or left out, where unknown.
        columns: Our column to the table's; None where they are the same.
        speaker: One speaker for all rows, for tables that name none.
        encoding: Of the table.
        corpus: Name of the corpus; the table's own column, or the folder's name, by default.
        classes: The declared classes; None to accept any label.
        label_map: The table's word to ours.
        where: Column to the value, or values, to keep.
        max_refused: How many rows may be refused; None for any number.
        max_gb: How large an `.npz` may become in memory, in 10^9 bytes.

    Returns:
        The manifest; the features are its signals.

    Raises:
        ManifestError: The table or a modality cannot be read, no utterance has a modality, an
            `.npz` is too large, or more rows were refused than allowed.
        DataError: A path leads out of the folder.
    """
    folder, target = existing(root, "the features"), Path(prepared).expanduser()
    _check_names(modalities, rates_hz or {})
    table = read_table(
        root,
        file=file,
        corpus=corpus,
        columns=columns,
        speaker=speaker,
        encoding=encoding,
        classes=classes,
        label_map=label_map,
        where=where,
        max_refused=max_refused,
    )
    _check_without_signals(table)
    max_bytes = int(max_gb * GIGABYTE)
    sources = [_source(name, path, folder, max_bytes) for name, path in sorted(modalities.items())]
    is_prepared = not all(_lies_ready(source) for source in sources)
    ids = set(table.frame[ID])
    usable = {
        source.name: _packed(source, target) if is_prepared else _in_place(source, folder, ids)
        for source in sources
    }
    signals_root = target if is_prepared else None
    return _joined(table, usable, rates_hz or {}, max_refused, signals_root)


def _check_names(modalities: Mapping[str, str], rates_hz: Mapping[str, float | None]) -> None:
    if not modalities or not all(MODALITY.fullmatch(name) for name in modalities):
        raise ManifestError(
            f"corpus.modalities={dict(modalities)}",
            expected="names of letters, digits, dots and dashes, each with its folder or file",
            remedy="for example corpus.modalities.face=face.npz",
        )
    for name, rate_hz in rates_hz.items():
        if name not in modalities:
            raise ManifestError(f"corpus.rates_hz.{name}", remedy=nearest(name, modalities))
        if rate_hz is not None and not 0 < rate_hz < math.inf:
            raise ManifestError(f"corpus.rates_hz.{name}={rate_hz}", expected="above 0, or null")


def _check_without_signals(table: Manifest) -> None:
    if table.frame["signals"].list.len().sum():
        raise ManifestError(
            "the table has signals of its own (columns signal_<name>)",
            expected="features by corpus.modalities only",
            remedy="leave those columns out, or read all of them with corpus=table",
        )


def _joined(
    table: Manifest,
    usable: Mapping[str, _Usable],
    rates_hz: Mapping[str, float | None],
    max_refused: int | None,
    signals_root: Path | None,
) -> Manifest:
    """The table with the features as signals, without the rows whose features cannot be used."""
    rows: list[tuple[int | str, dict[str, Any]]] = []
    refused, handled = list(table.refused), Counter(table.handled)
    for name, speaker in table.frame.select(ID, "speaker").iter_rows():
        faults = [(key, one.faults[name]) for key, one in usable.items() if name in one.faults]
        if faults:
            modality, (rule, reason) = faults[0]
            refused.append(Refusal(name, rule, f"{modality}: {reason}"))
            continue
        signals = [
            _reference(key, one.spans[name], rates_hz.get(key))
            for key, one in usable.items()
            if name in one.spans
        ]
        handled.update(f"no {key}" for key, one in usable.items() if name not in one.spans)
        rows.append((name, {ID: name, "speaker": speaker, "signals": signals}))
    ids = set(table.frame[ID])
    for key, one in usable.items():
        known = {*one.spans, *one.faults}
        if not known & ids:
            raise _no_id_in_common(key, known, ids)
        if others := len(known - ids):
            handled[f"{key} of an utterance that is not in the table"] = others
    rules = Rules(max_refused=max_refused)
    kept = finish(rows, table.root, rules, refused, handled=handled, signals_root=signals_root)
    signals_of = kept.frame.select(ID, "signals")
    frame = table.frame.drop("signals").join(signals_of, on=ID, how="inner").sort(ID)
    return replace(kept, frame=frame)


def _reference(name: str, span: tuple[str, int, int], rate_hz: float | None) -> dict[str, Any]:
    path, start, length = span
    return {"name": name, "path": path, "rate_hz": rate_hz, "start": start, "length": length}


def _no_id_in_common(name: str, known: Iterable[str], ids: Iterable[str]) -> ManifestError:
    return ManifestError(
        f"no utterance of the table has {name}: it has {sorted(known)[:3]}, the table "
        f"{sorted(ids)[:3]}",
        expected="the ids of the table as names of the arrays",
        remedy="rename the arrays, or map another column with corpus.columns.utterance_id=COLUMN",
    )


def _source(name: str, path: str, folder: Path, max_bytes: int) -> _Source:
    place = inside(folder, path)
    if place.is_dir():
        files = _npy_files(place)
        arrays = {one: _file_array(file, folder) for one, file in files.items()}
        return _Source(name, place, _checked(arrays), files)
    readers: Mapping[str, Callable[[Path], dict[str, _Array]]] = {
        ".npz": partial(_archive_arrays, max_bytes=max_bytes),
        ".parquet": _table_arrays,
    }
    if not place.is_file() or place.suffix not in readers:
        fault = "is of no known kind" if place.is_file() else "is missing"
        raise ManifestError(
            f"corpus.modalities.{name}: {place} {fault}",
            expected="a folder of .npy, an .npz or a .parquet below corpus.root",
        )
    try:
        return _Source(name, place, _checked(readers[place.suffix](place)))
    except (OSError, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
        raise ManifestError(
            f"{place} cannot be read: {str(error).splitlines()[0]}",
            expected="an .npz that numpy.savez wrote, or a .parquet",
        ) from None


def _checked(arrays: Mapping[str, _Array]) -> dict[str, _Array]:
    """Marks what is no sequence of vectors of the usual width; leaves out what is empty."""
    held = {one: array for one, array in arrays.items() if array.fault or math.prod(array.shape)}
    checked = {}
    for one, array in held.items():
        if not array.fault and len(array.shape) not in (1, 2):
            reason = f"the shape is {array.shape}, expected [time, feature] or [feature]"
            array = replace(array, fault=("other shape", reason))
        checked[one] = array
    sizes = Counter(array.size for array in checked.values() if not array.fault)
    if not sizes:
        return checked
    usual = min(sizes, key=lambda size: (-sizes[size], size))
    for one, array in checked.items():
        if not array.fault and array.size != usual:
            fault = (SIZE, f"{one!r} has {array.size} features, most have {usual}")
            checked[one] = replace(array, fault=fault)
    return checked


def _npy_files(folder: Path) -> dict[str, Path]:
    """Id to file; an id may have `/`, as those of `read_folders` do."""
    files = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.endswith(".npy") and not name.startswith("."):
                path = Path(place) / name
                files[path.relative_to(folder).as_posix().removesuffix(".npy")] = path
    return files


def _file_array(path: Path, root: Path) -> _Array:
    try:
        inside(root, path.relative_to(root).as_posix())
        with path.open("rb") as file:
            shape = _shape(file, path.stat().st_size)
    except (DataError, *DAMAGED) as error:
        return _unreadable(path.stem, error)
    return _Array(shape, partial(np.load, path, mmap_mode="r", allow_pickle=False))


def _unreadable(name: str, error: Exception) -> _Array:
    reason = error.found if isinstance(error, DataError) else str(error)
    return _Array((), tuple, (UNREADABLE, f"{name!r}: {reason}"))


def _shape(file: Any, num_bytes: int) -> tuple[int, ...]:
    """The shape that the header of a `.npy` says; nothing behind the header is read.

    Args:
        file: The file, at its beginning.
        num_bytes: How long it is.

    Returns:
        The shape.

    Raises:
        ValueError: It is no `.npy`, holds no numbers, or is shorter than its header says.
    """
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


def _archive_arrays(path: Path, max_bytes: int) -> dict[str, _Array]:
    archive = zipfile.ZipFile(path)  # stays open for the arrays that are read from it later
    _check_archive(path, archive.infolist(), max_bytes)
    arrays = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        try:
            with archive.open(member) as file:
                shape = _shape(file, member.file_size)
            arrays[name] = _Array(shape, partial(_from_archive, archive, member.filename))
        except DAMAGED as error:
            arrays[name] = _unreadable(name, error)
    return arrays


def _check_archive(path: Path, members: Sequence[zipfile.ZipInfo], max_bytes: int) -> None:
    """Refuses a bomb and foreign names by the directory of the archive, before anything is read."""
    names = Counter(member.filename for member in members)
    for name, count in names.items():
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:", name):
            raise ManifestError(f"{path}: the name {name!r} leads out of the folder")
        if count > 1:
            raise ManifestError(f"{path} has {name!r} {count} times", expected="each id once")
    total = sum(member.file_size for member in members)
    if total > max_bytes:
        raise ManifestError(
            f"{path} becomes {total / GIGABYTE:.1f} GB in memory",
            expected=f"at most {max_bytes / GIGABYTE:g} GB (corpus.max_gb)",
            remedy="save a .npy an utterance instead, or raise corpus.max_gb if you trust the file",
        )
    for member in members:
        if member.file_size > MAX_RATIO * max(1, member.compress_size):
            raise ManifestError(
                f"{path}: {member.filename!r} grows from {member.compress_size} to "
                f"{member.file_size} bytes",
                expected=f"at most {MAX_RATIO} times as many",
                remedy="save it with numpy.savez, without compression, if you trust the file",
            )


def _from_archive(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    return np.asarray(np.load(io.BytesIO(archive.read(name)), allow_pickle=False))


def _table_arrays(path: Path) -> dict[str, _Array]:
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
        one: _Array(row.shape, partial(np.asarray, row))
        for one, row in zip(ids, matrix, strict=True)
    }


def _is_lists(dtype: Any) -> bool:
    """Whether it is a list of numbers, or a list of lists of numbers."""
    inner = getattr(dtype, "inner", None)
    innermost = getattr(inner, "inner", inner)
    return innermost is not None and bool(innermost.is_numeric())


def _list_array(name: str, row: pl.Series | None) -> _Array:
    if row is None or not len(row):
        return _Array((0,), tuple)
    if not row.dtype.is_nested():
        return _Array((len(row),), partial(_numbers, row, (len(row),)))
    lengths = row.list.len() if isinstance(row.dtype, pl.List) else row.arr.len()
    if lengths.n_unique() > 1 or lengths.is_null().any():
        return _unreadable(name, ValueError("its vectors differ in length"))
    shape = (len(row), int(lengths[0]))
    return _Array(shape, partial(_numbers, row, shape))


def _numbers(row: pl.Series, shape: tuple[int, ...]) -> np.ndarray:
    flat = row.explode() if row.dtype.is_nested() else row
    return flat.cast(pl.Float32).to_numpy().reshape(shape)


def _lies_ready(source: _Source) -> bool:
    usable = [array for array in source.arrays.values() if not array.fault]
    return source.path.is_dir() and all(len(array.shape) == 2 for array in usable)


def _in_place(source: _Source, root: Path, ids: Collection[str]) -> _Usable:
    """Where each array lies; the values of those that the table does not ask for are not read."""
    spans, faults = {}, {}
    for name, array in source.arrays.items():
        path = source.files[name].relative_to(root).as_posix()
        fault = array.fault or (_value_fault(name, array.load()) if name in ids else None)
        if fault:
            faults[name] = fault
        else:
            spans[name] = (path, 0, array.shape[0])
    return _Usable(spans, faults)


def _value_fault(name: str, values: Any) -> Fault | None:
    for start in range(0, len(values), ROWS_AT_ONCE):
        if not np.isfinite(_float32(values[start : start + ROWS_AT_ONCE])).all():
            return NUMBERS, f"{name!r} holds NaN or infinite values"
    return None


def _float32(values: Any) -> np.ndarray:
    with np.errstate(over="ignore"):  # too large for float32 is infinite, which is refused
        return np.asarray(values, dtype="<f4")


def _packed(source: _Source, target: Path) -> _Usable:
    """Packs a modality, or finds what was packed of the same bytes before."""
    target.mkdir(parents=True, exist_ok=True)
    index = target / f"{source.name}-{_digest(source)[:DIGITS]}.json"
    known = _known(index, target)
    if known is not None:
        return known
    beside = target / f".{source.name}.{os.getpid()}.new"  # another process may pack it, too
    try:
        name, spans, faults = _pack(source, beside)
        size = beside.stat().st_size
        beside.replace(target / name)
        body = {"path": name, "bytes": size, "spans": spans, "faults": faults}
        beside.write_text(json.dumps(body), encoding="utf-8")
        beside.replace(index)
    finally:
        beside.unlink(missing_ok=True)
    return _Usable({one: (name, *span) for one, span in spans.items()}, faults)


def _known(index: Path, target: Path) -> _Usable | None:
    try:
        body = json.loads(index.read_text(encoding="utf-8"))
        path = str(body["path"])
        if (target / path).stat().st_size != body["bytes"]:
            return None
        spans = {one: (path, int(span[0]), int(span[1])) for one, span in body["spans"].items()}
        faults = {one: (str(rule), str(reason)) for one, (rule, reason) in body["faults"].items()}
        return _Usable(spans, faults)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(source: _Source) -> str:
    digest = hashlib.sha256(f"{VERSION} ".encode())
    files = {name: path for name, path in source.files.items() if name in source.arrays}
    for name, path in sorted(files.items()) or [("", source.path)]:
        fault = source.arrays[name].fault if files else None
        digest.update(f"{name!r}: {fault or _file_digest(path)}\n".encode())
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(source: _Source, path: Path) -> tuple[str, dict[str, Span], dict[str, Fault]]:
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


def _loaded(source: _Source, faults: dict[str, Fault]) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays that can be used, float32 `[time, feature]`; notes the faults of the others."""
    for name, array in sorted(source.arrays.items()):
        if array.fault:
            continue
        try:
            values = _float32(array.load()).reshape(-1, array.size)
        except DAMAGED as error:
            faults[name] = (UNREADABLE, f"{name!r}: {error}")
            continue
        if fault := _value_fault(name, values):
            faults[name] = fault
        else:
            yield name, values


def _write_header(file: IO[bytes], length: int, width: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (length, width)}
    np.lib.format.write_array_header_1_0(file, header)
