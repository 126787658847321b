"""Datasets that the Hugging Face library `datasets` wrote with `save_to_disk`.

`state.json` lists the Arrow files, `dataset_info.json` the types of columns. A dataset with several
splits has a folder for each, listed in `dataset_dict.json`. The library is not needed.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.corpora._base import (
    ReaderOptions,
    build_manifest,
    check_columns,
    missing_speaker,
    relative_to_root,
    require_dir,
)
from polymodal.errors import ManifestError
from polymodal.schemas.manifest import SCHEMA, Manifest
from polymodal.security.files import atomic_write
from polymodal.security.paths import resolve_inside

DIGITS = 20
PLAIN_NAME = re.compile(r"\w[\w.-]*")
SUFFIX = re.compile(r"\.\w{1,5}")
BEGINNINGS: Mapping[bytes, str] = {
    b"RIFF": ".wav",
    b"fLaC": ".flac",
    b"OggS": ".ogg",
    b"ID3": ".mp3",
    b"\xff\xfb": ".mp3",
    b"\xff\xf3": ".mp3",
    b"\xff\xf2": ".mp3",
    b"FORM": ".aiff",
}
NESTED = ("signals", "votes")  # columns that hold lists
EXPECTED: Mapping[str, str] = {
    "audio": "audio, or the path of a file",
    "utterance_id": "text",
    **{name: "numbers" for name, dtype in SCHEMA.items() if dtype.is_numeric()},
}


def read_dataset(
    root: str,
    *,
    prepared: str,
    columns: Mapping[str, str | None] | None = None,
    speaker: str | None = None,
    corpus: str | None = None,
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    max_refused: int | None = 0,
) -> Manifest:
    """Read a dataset that `save_to_disk` of the library `datasets` wrote.

    Classes become their names, -1 no label. The split becomes the column `split`. Embedded audio is
    written to `prepared` unchanged, and `prepared` is then the manifest's root; audio given by path
    must be below the folder. Unknown columns are kept if they hold plain values. Without an id as
    text, the id is split and row, such as `train-000000`, counted from 0 as in `dataset[0]`.

    `columns` maps our column to the dataset's, None if they are the same. `speaker` is that of all
    rows, if the dataset has none; `corpus` is the name, by default that of the dataset's own column
    or of the folder. The other options are those of `ReaderOptions`.

    Raises:
        ManifestError: The folder is not such a dataset, a file is damaged, a column is missing,
            only some audio is embedded, or more rows were rejected than allowed.
        DataError: A name in the dataset leads out of its folder.
    """
    folder, target = require_dir(root, "the corpus"), Path(prepared).expanduser()
    named = {ours: theirs for ours, theirs in (columns or {}).items() if theirs}
    reading = _Reading(folder, target, named)
    fixed = {"speaker": speaker} if speaker else {}
    rows = [
        (name, row | fixed | {"corpus": row.get("corpus") or corpus or folder.name})
        for split, split_dir in _splits(folder)
        for name, row in reading.rows(split, split_dir)
    ]
    if rows and not any("speaker" in row for _, row in rows):
        raise missing_speaker(folder)
    options = ReaderOptions(classes, label_map, where, max_refused)
    base = target if reading.kinds == {"bytes"} else folder
    handled = {f"column left out: {name}": 1 for name in reading.left_out}
    return build_manifest(rows, base, options, handled=handled)


def _splits(folder: Path) -> Iterator[tuple[str | None, Path]]:
    """Yield each split's name and folder; a dataset of one split may have no name for it."""
    index = folder / "dataset_dict.json"
    if not index.is_file():
        yield None, folder
        return
    names = _json(index).get("splits")
    if not isinstance(names, list) or not names:
        raise ManifestError(f"{index} names no splits")
    for name in names:
        if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name):
            message = f"{index} names a split {name!r}"
            raise ManifestError(message, expected="the name of a folder next to it")
        yield name, resolve_inside(folder, name)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
        reason = "it is not a mapping"
    except FileNotFoundError:
        reason = "there is no such file"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise ManifestError(
        f"{path} cannot be read: {reason}",
        expected="a folder that save_to_disk of the library `datasets` wrote",
        hint="write it with dataset.save_to_disk(FOLDER), and name that folder with corpus.root",
    )


@dataclass
class _Reading:
    folder: Path
    target: Path  # folder to which audio is written
    named: Mapping[str, str]  # our column to the dataset's
    kinds: set[str] = field(default_factory=set)  # how the audio is given: `bytes` or `path`
    left_out: set[str] = field(default_factory=set)  # columns that hold no plain values

    def rows(self, split: str | None, split_dir: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield name and columns of every row of a split."""
        state, info = _json(split_dir / "state.json"), _json(split_dir / "dataset_info.json")
        features = info.get("features")
        features = features if isinstance(features, dict) else {}
        stored = state.get("_split")
        has_name = isinstance(stored, str) and PLAIN_NAME.fullmatch(stored)
        prefix = str(split or (stored if has_name else "data"))
        before = {} if stored is None else {"split": str(stored)}
        after = {} if split is None else {"split": split}
        number = 0
        for path in _data_files(split_dir, state):
            frame = self._columns(_arrow(path), path, features)
            for cells in frame.iter_rows(named=True):
                name = f"{prefix}-{number:06d}"
                row = {"utterance_id": name} | before | cells | after
                if "audio" in row:
                    row["audio"] = self._audio(row["audio"], prefix)
                yield name, row
                number += 1

    def _columns(
        self, frame: pl.DataFrame, path: Path, features: Mapping[str, Any]
    ) -> pl.DataFrame:
        """Return the usable columns, by our names."""
        check_columns(self.named, [*SCHEMA.keys() - {*NESTED}], frame.columns, path)
        ours_of = {theirs: ours for ours, theirs in self.named.items()}
        chosen = []
        for theirs in frame.columns:
            ours = ours_of.get(theirs, theirs)
            if ours in self.named and theirs not in ours_of:
                continue  # another column was given its name
            series = _plain(frame[theirs], ours, path, features.get(theirs))
            if series is not None:
                chosen.append(series.alias(ours))
            elif theirs in ours_of:
                raise ManifestError(
                    f"{path}: {theirs!r}, which corpus.columns.{ours} names, holds "
                    f"{frame[theirs].dtype}",
                    expected=EXPECTED.get(ours, "plain values"),
                    hint="name another column",
                )
            else:
                self.left_out.add(theirs)
        return pl.DataFrame(chosen)

    def _audio(self, cell: Any, prefix: str) -> str | None:
        """Return the path of a row's audio; write embedded audio first."""
        audio = cell if isinstance(cell, dict) else {"bytes": None, "path": cell}
        data, path = audio["bytes"], audio["path"]
        if data is None and not path:
            return None
        self.kinds.add("path" if data is None else "bytes")
        if len(self.kinds) > 1:
            raise ManifestError(
                f"{self.folder} has some audio in the dataset and some as files",
                expected="all audio in the dataset, or all of it as files",
                hint="write it with save_to_disk of a newer version of `datasets`, which takes "
                "all audio into the dataset",
            )
        if data is not None:
            return _written(data, path, self.target, prefix)
        return relative_to_root(self.folder, str(path))


def _data_files(split_dir: Path, state: Mapping[str, Any]) -> list[Path]:
    files = state.get("_data_files")
    try:
        return [resolve_inside(split_dir, str(entry["filename"])) for entry in files or ()]
    except (TypeError, KeyError):
        message = f"{split_dir / 'state.json'}: _data_files is {files!r}"
        raise ManifestError(message, expected="a list of files") from None


def _arrow(path: Path) -> pl.DataFrame:
    try:
        return pl.read_ipc_stream(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ManifestError(
            f"{path} cannot be read: {str(error).splitlines()[0]}",
            expected="an Arrow stream",
            hint="copy or write the dataset again",
        ) from None


def _plain(series: pl.Series, ours: str, path: Path, feature: Any) -> pl.Series | None:
    """Convert a column: classes to names, numeric columns to numbers, the rest to text."""
    dtype = series.dtype
    is_class = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    try:
        if is_class and feature.get("names"):
            names = {number: name for number, name in enumerate(feature["names"])} | {-1: None}
            return series.replace_strict(names, return_dtype=pl.String)
        if ours == "audio":
            return series if dtype == pl.String or _is_audio(dtype) else None
        if ours == "utterance_id" and dtype != pl.String:
            return None  # numbers restart in each split
        if ours in NESTED or dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            return None
        return series.cast(SCHEMA.get(ours, pl.String()))
    except pl.exceptions.PolarsError as error:
        raise ManifestError(
            f"{path}: the column {series.name!r} cannot be read: {str(error).splitlines()[0]}",
            expected=f"{len(feature['names'])} classes" if is_class else EXPECTED.get(ours, ""),
        ) from None


def _is_audio(dtype: Any) -> bool:
    names = {item.name for item in dtype.fields} if isinstance(dtype, pl.Struct) else set()
    return {"bytes", "path"} <= names


def _written(data: bytes, path: str | None, target: Path, split: str) -> str:
    """Write audio under the hash of its content, unless it exists; return its name."""
    suffix = next((end for start, end in BEGINNINGS.items() if data.startswith(start)), None)
    if suffix is None:
        suffix = Path(path or "").suffix.lower()
        suffix = suffix if SUFFIX.fullmatch(suffix) else ".audio"
    name = f"{split}/{hashlib.sha256(data).hexdigest()[:DIGITS]}{suffix}"
    file = target / name
    if not file.is_file() or file.stat().st_size != len(data):
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as tmp_path:  # another process may write it, too
            tmp_path.write_bytes(data)
    return name
