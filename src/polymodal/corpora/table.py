"""A table of utterances in our columns, or in others that a mapping names."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.corpora._base import NUMBERS, Rules, build_manifest
from polymodal.corpora.locating import find_folder_of
from polymodal.errors import ManifestError, MissingCorpusError, nearest
from polymodal.schemas.manifest import SCHEMA, Manifest

READERS = (".csv", ".jsonl", ".parquet")
SIGNAL = "signal_"
MISSING_WORDS = ("",)


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
    """Reads a CSV, JSONL or Parquet file with one row an utterance.

    Every cell of a CSV is text (`001` stays `001`). A column that is not ours is kept, so that
    splits can group by it. A signal is a column `signal_<name>` with the path of a `.npy` file,
    beside it `signal_<name>_rate_hz` (empty for one value an event), `_start` and `_length`.
    Without a column for the id, the stem of the audio's path is taken.

    Args:
        root: Folder that the paths in the table are relative to, or one with a folder of the
            corpus's name in it.
        file: The table, relative to the folder or absolute.
        corpus: Name of the corpus; the table's own column, or the folder's name, by default.
        columns: Our column to the table's; None where they are the same.
        speaker: One speaker for all rows, for tables that name none.
        encoding: Of CSV and JSONL; with UTF-8 a byte order mark is left out.
        label_separator: What stands between several labels of one cell, such as `;`. Each becomes
            a vote; a row with several has no single label.
        classes: The declared classes; None to accept any label.
        label_map: The table's word to ours.
        where: Column to the value, or values, to keep.
        max_refused: How many rows may be refused; None for any number.

    Returns:
        The manifest.

    Raises:
        ManifestError: The folder, the file or a column is missing, the encoding is another one, or
            more rows were refused than allowed.
    """
    folder = find_folder_of(file, root, corpus)
    path = folder / file
    named = {ours: theirs for ours, theirs in (columns or {}).items() if theirs}
    frame = _renamed(read_cells(path, encoding), path, named)
    if speaker is not None:
        frame = frame.with_columns(pl.lit(speaker).alias("speaker"))
    if "speaker" not in frame.columns:
        raise ManifestError(
            f"{path} has no column for the speaker",
            expected="a column that says who speaks, as splits are by speaker",
            hint="name it with corpus.columns.speaker=COLUMN, or give one speaker to all rows "
            "with corpus.speaker=NAME",
        )
    rules = Rules(classes, label_map or {}, where or {}, max_refused, bool(label_separator))
    rows = _rows(frame, corpus or folder.name, label_separator)
    return build_manifest(rows, folder, rules)


def read_cells(path: Path, encoding: str, key: str = "corpus.file") -> pl.DataFrame:
    """Reads a CSV, JSONL or Parquet file; every cell of a CSV is text.

    Args:
        path: The file.
        encoding: Of CSV and JSONL.
        key: The option that names the file, for messages.

    Returns:
        The table.

    Raises:
        ManifestError: The file is missing, of another kind or encoding, or cannot be read.
    """
    if path.suffix not in READERS:
        raise ManifestError(f"{path} is of no known kind", expected=" or ".join(READERS))
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
    for ours, theirs in columns.items():
        if ours not in SCHEMA and not ours.startswith(SIGNAL):
            raise ManifestError(f"corpus.columns.{ours}", hint=nearest(ours, SCHEMA))
        if theirs not in frame.columns:
            raise ManifestError(
                f"{path} has no column {theirs!r}, which corpus.columns.{ours} names",
                hint=nearest(theirs, frame.columns),
            )
    taken = {theirs: ours for ours, theirs in columns.items()}
    hidden = [name for name in frame.columns if name in columns and name not in taken]
    return frame.drop(hidden).rename(taken)


def _rows(
    frame: pl.DataFrame, corpus: str, separator: str | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, cells in enumerate(frame.iter_rows(named=True), start=1):
        row = {name: None if cell in MISSING_WORDS else cell for name, cell in cells.items()}
        for name in NUMBERS:
            if row.get(name) is not None:
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


def _several(cell: str, separator: str) -> dict[str, Any]:
    labels = [label for part in cell.split(separator) if (label := part.strip())]
    votes = [{"label": label, "count": 1} for label in dict.fromkeys(labels)]
    return {"label": labels[0] if len(votes) == 1 else None, "votes": votes, "label_raw": cell}


def _signals(row: Mapping[str, Any], number: int) -> list[dict[str, Any]]:
    ends = ("_rate_hz", "_start", "_length")
    known = [name for name in row if name.startswith(SIGNAL) and not name.endswith(ends)]
    for name in known:
        if f"{name}_rate_hz" not in row:
            raise ManifestError(
                f"there is a column {name!r} but no column '{name}_rate_hz'",
                expected="the samples a second beside each signal, empty for one value an event",
            )
    return [
        {
            "name": name.removeprefix(SIGNAL),
            "path": row[name],
            "rate_hz": _optional(row.get(f"{name}_rate_hz"), f"{name}_rate_hz", number),
            "start": int(_optional(row.get(f"{name}_start"), f"{name}_start", number) or 0),
            "length": _whole(_optional(row.get(f"{name}_length"), f"{name}_length", number)),
        }
        for name in known
        if row.get(name)
    ]


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _optional(cell: Any, name: str, number: int) -> float | None:
    return None if cell is None else _number(cell, name, number)


def _number(cell: Any, name: str, number: int) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise ManifestError(
            f"row {number}: {name} is {cell!r}", expected="a number", hint="mend the cell"
        ) from None
