"""Folders that the Hugging Face library `datasets` wrote with `save_to_disk`.

`state.json` names the Arrow files, `dataset_info.json` says what the columns are. A dataset of
several splits is a folder a split, and `dataset_dict.json` names them. The library is not needed.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.corpora._base import Rules, build_manifest, require_dir
from polymodal.errors import ManifestError, nearest
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
NESTED = ("signals", "votes")  # columns of ours that are no plain values
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
    """Reads a dataset that `save_to_disk` of the library `datasets` wrote.

    The number of a class becomes its name, -1 no label. The split becomes the column `split`. Audio
    that lies in the dataset itself is written to the folder `prepared`, as it is; audio that the
    dataset names by path must lie below the folder. A column that is not ours is kept if it holds
    plain values. Without text for an id, the id is split and row, such as `train-000000`, counted
    from 0 as in `dataset[0]`.

    Args:
        root: The folder.
        prepared: Folder that audio from within the dataset is written to.
        columns: Our column to the dataset's; None where they are the same.
        speaker: One speaker for all rows, for datasets that name none.
        corpus: Name of the corpus; the dataset's own column, or the folder's name, by default.
        classes: The declared classes; None to accept any label.
        label_map: The dataset's word to ours.
        where: Column to the value, or values, to keep.
        max_refused: How many rows may be refused; None for any number.

    Returns:
        The manifest; its root is `prepared` where the audio lies in the dataset.

    Raises:
        ManifestError: The folder is no such dataset, a file is damaged, a column is missing, some
            audio lies in the dataset and some beside it, or more rows were refused than allowed.
        DataError: A name in the dataset leads out of its folder.
    """
    folder, target = require_dir(root, "the corpus"), Path(prepared).expanduser()
    named = {ours: theirs for ours, theirs in (columns or {}).items() if theirs}
    reading = _Reading(folder, target, named)
    fixed = {"speaker": speaker} if speaker else {}
    rows = [
        (name, row | fixed | {"corpus": row.get("corpus") or corpus or folder.name})
        for split, part in _splits(folder)
        for name, row in reading.rows(split, part)
    ]
    if rows and not any("speaker" in row for _, row in rows):
        raise ManifestError(
            f"{folder} has no column for the speaker",
            expected="a column that says who speaks, as splits are by speaker",
            hint="name it with corpus.columns.speaker=COLUMN, or give one speaker to all rows "
            "with corpus.speaker=NAME",
        )
    rules = Rules(classes, label_map or {}, where or {}, max_refused)
    base = target if reading.kinds == {"bytes"} else folder
    handled = {f"column left out: {name}": 1 for name in sorted(reading.left_out)}
    return build_manifest(rows, base, rules, handled=handled)


def _splits(folder: Path) -> Iterator[tuple[str | None, Path]]:
    """Each split's name and folder; a dataset of one part has the name that it knows, or none."""
    if not (folder / "dataset_dict.json").is_file():
        yield None, folder
        return
    names = _json(folder / "dataset_dict.json").get("splits")
    if not isinstance(names, list) or not names:
        raise ManifestError(f"{folder / 'dataset_dict.json'} names no splits")
    for name in names:
        if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name):
            raise ManifestError(
                f"{folder / 'dataset_dict.json'} names a split {name!r}",
                expected="the name of a folder beside it",
            )
        yield name, resolve_inside(folder, name)


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(read, dict):
            return read
        error: Exception | str = "it holds no names"
    except FileNotFoundError:
        error = "there is no such file"
    except (OSError, ValueError) as caught:
        error = caught
    raise ManifestError(
        f"{path} cannot be read: {error}",
        expected="a folder that save_to_disk of the library `datasets` wrote",
        hint="write it with dataset.save_to_disk(FOLDER), and name that folder with corpus.root",
    )


@dataclass
class _Reading:
    """A dataset that is being read.

    Args:
        folder: Folder of the dataset.
        target: Folder that audio is written to.
        named: Our column to the dataset's.
        kinds: How the audio is given: `bytes` or `path`.
        left_out: Columns that hold no plain values.
    """

    folder: Path
    target: Path
    named: Mapping[str, str]
    kinds: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)

    def rows(self, split: str | None, part: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """The name and the columns of every row of a split."""
        state, features = _json(part / "state.json"), _features(part)
        own = state.get("_split")
        prefix = split or (own if isinstance(own, str) and PLAIN_NAME.fullmatch(own) else "data")
        before = {} if own is None else {"split": str(own)}
        after = {} if split is None else {"split": split}
        number = 0
        for path in _data_files(part, state):
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
        """The columns that can be used, by our names."""
        _check_columns(self.named, frame, path)
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
        """The path of a row's audio; audio from within the dataset is written first."""
        audio = cell if isinstance(cell, dict) else {"bytes": None, "path": cell}
        data, path = audio["bytes"], audio["path"]
        if data is None and not path:
            return None
        self.kinds.add("path" if data is None else "bytes")
        if len(self.kinds) > 1:
            raise ManifestError(
                f"{self.folder} has some audio in the dataset and some beside it, by path",
                expected="all audio in the dataset, or all of it as files",
                hint="write it with save_to_disk of a newer version of `datasets`, which takes "
                "all audio into the dataset",
            )
        if data is not None:
            return _written(data, path, self.target, prefix)
        root, place = self.folder.resolve(), Path(str(path))
        is_below = place.is_absolute() and place.is_relative_to(root)
        return place.relative_to(root).as_posix() if is_below else str(path)


def _features(part: Path) -> Mapping[str, Any]:
    features = _json(part / "dataset_info.json").get("features")
    return features if isinstance(features, dict) else {}


def _data_files(part: Path, state: Mapping[str, Any]) -> list[Path]:
    files = state.get("_data_files")
    try:
        return [resolve_inside(part, str(one["filename"])) for one in files or ()]
    except (TypeError, KeyError):
        raise ManifestError(
            f"{part / 'state.json'}: _data_files is {files!r}", expected="a list of files"
        ) from None


def _arrow(path: Path) -> pl.DataFrame:
    try:
        return pl.read_ipc_stream(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise ManifestError(
            f"{path} cannot be read: {reason}",
            expected="an Arrow stream",
            hint="copy or write the dataset again",
        ) from None


def _check_columns(named: Mapping[str, str], frame: pl.DataFrame, path: Path) -> None:
    for ours, theirs in named.items():
        if ours not in SCHEMA or ours in NESTED:
            known = [name for name in SCHEMA if name not in NESTED]
            raise ManifestError(f"corpus.columns.{ours}", hint=nearest(ours, known))
        if theirs not in frame.columns:
            raise ManifestError(
                f"{path} has no column {theirs!r}, which corpus.columns.{ours} names",
                hint=nearest(theirs, frame.columns),
            )


def _plain(series: pl.Series, ours: str, path: Path, feature: Any) -> pl.Series | None:
    """A column as we keep it: classes by name, our numbers as numbers, the rest as text."""
    dtype = series.dtype
    is_class = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    try:
        if is_class and feature.get("names"):
            names = {number: name for number, name in enumerate(feature["names"])} | {-1: None}
            return series.replace_strict(names, return_dtype=pl.String)
        if ours == "audio":
            return series if dtype == pl.String or _is_audio(dtype) else None
        if ours == "utterance_id" and dtype != pl.String:
            return None  # numbers begin anew in each split
        if ours in NESTED or dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            return None
        return series.cast(SCHEMA.get(ours, pl.String()))
    except pl.exceptions.PolarsError as error:
        raise ManifestError(
            f"{path}: the column {series.name!r} cannot be read: {str(error).splitlines()[0]}",
            expected=f"{len(feature['names'])} classes" if is_class else EXPECTED.get(ours, ""),
        ) from None


def _is_audio(dtype: Any) -> bool:
    return isinstance(dtype, pl.Struct) and {"bytes", "path"} <= {one.name for one in dtype.fields}


def _written(data: bytes, path: str | None, target: Path, split: str) -> str:
    """Writes audio under a name made of its content, if it is not there; returns that name."""
    suffix = next((end for start, end in BEGINNINGS.items() if data.startswith(start)), None)
    if suffix is None:
        suffix = Path(path or "").suffix.lower()
        suffix = suffix if SUFFIX.fullmatch(suffix) else ".audio"
    name = f"{split}/{hashlib.sha256(data).hexdigest()[:DIGITS]}{suffix}"
    file = target / name
    if not file.is_file() or file.stat().st_size != len(data):
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as beside:  # another process may write it, too
            beside.write_bytes(data)
    return name
