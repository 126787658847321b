"""A table of utterances in our columns, or in others that a mapping names."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.corpora._base import (
    NUMBERS,
    ReaderOptions,
    Row,
    build_manifest,
    check_columns,
    missing_speaker,
)
from polymodal.corpora.locating import find_folder_of
from polymodal.errors import ManifestError, MissingCorpusError
from polymodal.schemas.manifest import SCHEMA, Manifest

READERS = (".csv", ".jsonl", ".parquet")
SIGNAL, SIGNAL_ENDS = "signal_", ("_rate_hz", "_start", "_length")


def read_table(
    root: str,
    *,
    file: str = "manifest.csv",
    corpus: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    speaker: str | None = None,
    encoding: str = "utf-8",
    label_separator: str | None = None,
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    max_refused: int | None = 0,
) -> Manifest:
    """Read a CSV, JSONL or Parquet file with one row an utterance.

    Cells of a CSV are text (`001` stays `001`). Unknown columns are kept, so that splits can group
    by them. A signal is a column `signal_<name>` with the path of a `.npy` file, with columns
    `signal_<name>_rate_hz` (empty for one value an event), `_start` and `_length`. Without an id,
    the stem of the audio's path is used.

    `root` is the folder that paths in the table are relative to, or its parent; `file` the table,
    relative to it or absolute. `corpus` is the name, by default that of the table's own column or
    of the folder. `columns` maps our column to the table's, None if they are the same. `speaker` is
    that of all rows, if the table has none. `encoding` is that of CSV and JSONL; a byte order mark
    of UTF-8 is ignored. With `label_separator`, such as `;`, each label of a cell becomes a vote,
    and a row with several has no single label. The other options are those of `ReaderOptions`.

    Raises:
        ManifestError: The folder, the file or a column is missing, the encoding is wrong, or more
            rows were rejected than allowed.
    """
    folder = find_folder_of(file, root, corpus)
    path = folder / file
    named = {ours: theirs for ours, theirs in (columns or {}).items() if theirs}
    frame = _renamed(read_cells(path, encoding), path, named)
    if speaker is not None:
        frame = frame.with_columns(pl.lit(speaker).alias("speaker"))
    if "speaker" not in frame.columns:
        raise missing_speaker(path)
    options = ReaderOptions(classes, label_map, where, max_refused, bool(label_separator))
    return build_manifest(_rows(frame, corpus or folder.name, label_separator), folder, options)


def read_cells(path: Path, encoding: str, key: str = "corpus.file") -> pl.DataFrame:
    """Read a CSV, JSONL or Parquet file; `key` is the option that names it, for messages.

    Raises:
        ManifestError: The file is missing, of an unknown kind or encoding, or damaged.
    """
    if path.suffix not in READERS:
        raise ManifestError(f"{path} is of an unknown kind", expected=" or ".join(READERS))
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        text = path.read_bytes().decode("utf-8-sig" if encoding == "utf-8" else encoding)
        if path.suffix == ".jsonl":
            return pl.read_ndjson(text.encode(), infer_schema_length=None)
        return pl.read_csv(text.encode(), infer_schema=False)
    except FileNotFoundError:
        raise MissingCorpusError(
            f"there is no file {path}", hint=f"name it with {key}=FILE"
        ) from None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error}") from None
    except (UnicodeDecodeError, LookupError) as error:
        raise ManifestError(
            f"{path} is not {encoding}: {error}",
            hint="name its encoding, such as corpus.encoding=cp949",
        ) from None
    except pl.exceptions.PolarsError as error:
        raise ManifestError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None


def _renamed(frame: pl.DataFrame, path: Path, columns: Mapping[str, str]) -> pl.DataFrame:
    signals = {name for name in columns if name.startswith(SIGNAL)}
    check_columns(columns, {*SCHEMA, *signals}, frame.columns, path)
    taken = {theirs: ours for ours, theirs in columns.items()}
    hidden = [name for name in frame.columns if name in columns and name not in taken]
    return frame.drop(hidden).rename(taken)


def _rows(frame: pl.DataFrame, corpus: str, separator: str | None) -> Iterator[tuple[int, Row]]:
    for number, cells in enumerate(frame.iter_rows(named=True), start=1):
        row = {name: None if cell == "" else cell for name, cell in cells.items()}
        for name in NUMBERS:
            if name in row:
                row[name] = _number(row[name], name, number)
        signals = _signals(row, number)
        row = {name: cell for name, cell in row.items() if not name.startswith(SIGNAL)}
        if signals:
            row["signals"] = signals
        row["corpus"] = row.get("corpus") or corpus
        if not row.get("utterance_id") and row.get("audio"):
            row["utterance_id"] = Path(str(row["audio"])).stem
        for name in ("utterance_id", "speaker", "label"):
            if row.get(name) is not None:
                row[name] = str(row[name])
        if separator and (cell := row.get("label")):
            row |= _several(cell, separator)
        yield number, row


def _several(cell: str, separator: str) -> Row:
    labels = [label for piece in cell.split(separator) if (label := piece.strip())]
    votes = [{"label": label, "count": 1} for label in dict.fromkeys(labels)]
    return {"label": labels[0] if len(votes) == 1 else None, "votes": votes, "label_raw": cell}


def _signals(row: Mapping[str, Any], number: int) -> list[dict[str, Any]]:
    signals = [name for name in row if name.startswith(SIGNAL) and not name.endswith(SIGNAL_ENDS)]
    for name in signals:
        if f"{name}_rate_hz" not in row:
            raise ManifestError(
                f"there is a column {name!r} but no column '{name}_rate_hz'",
                expected="the samples a second of each signal, empty for one value an event",
            )
    return [_signal(row, name, number) for name in signals if row.get(name)]


def _signal(row: Mapping[str, Any], name: str, number: int) -> dict[str, Any]:
    columns = [f"{name}{end}" for end in SIGNAL_ENDS]
    rate_hz, start, length = (_number(row.get(column), column, number) for column in columns)
    return {
        "name": name.removeprefix(SIGNAL),
        "path": row[name],
        "rate_hz": rate_hz,
        "start": int(start or 0),
        "length": None if length is None else int(length),
    }


def _number(cell: Any, name: str, number: int) -> float | None:
    try:
        return None if cell is None else float(cell)
    except (TypeError, ValueError):
        message = f"row {number}: {name} is {cell!r}"
        raise ManifestError(message, expected="a number", hint="fix the cell") from None
