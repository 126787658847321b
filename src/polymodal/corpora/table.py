"""A table of utterances in our columns, or in others that a mapping names."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.corpora._base import (
    DURATION_TOLERANCE_S,
    ReaderOptions,
    build_manifest,
    check_columns,
    missing_speaker,
    relative_to_root,
)
from polymodal.corpora.cells import FAULT, Cells, Row, read_cells
from polymodal.corpora.ids import made_ids
from polymodal.corpora.locating import find_folder_of
from polymodal.errors import ManifestError
from polymodal.schemas.manifest import SCHEMA, Manifest
from polymodal.security.paths import resolve_inside

SIGNAL, SIGNAL_ENDS = "signal_", ("_rate_hz", "_start", "_length")
NUMERIC = {name: dtype for name, dtype in SCHEMA.items() if dtype.is_numeric()}
NESTED = ("signals", "votes")
END = "end_s"  # becomes a duration
DECIMAL_COMMA = re.compile(r"[-+]?[\d:]*,\d+(e[-+]?\d+)?", re.IGNORECASE)
CLOCK = re.compile(r"(\d+:)?\d{1,3}:[0-5]?\d([.]\d*)?")


def read_table(
    root: str,
    *,
    file: str = "manifest.csv",
    corpus: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    audio_prefix: str | None = None,
    open_end: bool = False,
    speaker: str | None = None,
    unknown_speaker: str | None = None,
    encoding: str = "utf-8",
    label_separator: str | None = None,
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    max_refused: int | None = 0,
) -> Manifest:
    """Read a CSV, TSV, JSONL or Parquet file with one row an utterance.

    Cells of a CSV are text (`001` stays `001`); its header tells whether they are separated by
    commas, semicolons or tabs; of the last two, numbers may have a decimal comma. Unknown columns
    are kept, so that splits can group by them. A signal
    is a column `signal_<name>` with the path of a `.npy` file, with columns `signal_<name>_rate_hz`
    (empty for one value an event), `_start` and `_length`. Without an id, an utterance has the stem
    of its audio file, its path if the stem is not unique, else its row number.

    `root` is the folder that paths in the table are relative to, or its parent; `file` the table,
    relative to it or absolute. `corpus` is the name, by default that of the table's own column or
    of the folder. `columns` maps our column to the table's, None if they are the same. Paths of
    audio are relative to the folder `audio_prefix` below `root`; absolute ones are taken if they
    are below `root`. `speaker` is that of all rows, if the table has none, `unknown_speaker` that
    of rows that name none. `encoding` is that of CSV and JSONL; a byte order mark of UTF-8 is
    ignored. With `label_separator`, such as `;`, each label of a cell becomes a vote, and a row
    with several has no single label. The other options are those of `ReaderOptions`.

    Raises:
        ManifestError: The folder, the file or a column is missing, the encoding is wrong, or more
            rows were rejected than allowed.
    """
    folder = find_folder_of(file, root, corpus)
    path = folder / file
    _check_prefix(folder, audio_prefix)
    named = {ours: theirs for ours, theirs in (columns or {}).items() if theirs}
    cells = _renamed(read_cells(path, encoding), path, named)
    _check_signals(cells.columns)
    if "speaker" not in cells.columns and not (speaker or unknown_speaker):
        raise missing_speaker(path)
    speakers = speaker, unknown_speaker
    name = corpus or folder.name
    reading = _Reading(cells, folder, name, audio_prefix or "", *speakers, open_end)
    options = ReaderOptions(classes, label_map, where, max_refused, bool(label_separator))
    rows = reading.rows(label_separator)
    return build_manifest(rows, folder, options, handled=reading.handled)


def _check_prefix(folder: Path, prefix: str | None) -> None:
    if prefix and not resolve_inside(folder, prefix).is_dir():
        raise ManifestError(
            f"corpus.audio_prefix={prefix}: there is no folder {folder / prefix}",
            expected=f"a folder below {folder}, which paths in the table are relative to",
            hint="correct it, or leave it out if the paths are relative to corpus.root",
        )


def _renamed(cells: Cells, path: Path, columns: Mapping[str, str]) -> Cells:
    """Give the columns our names; one of the table's whose name another one took is left out."""
    signals = {name for name in columns if name.startswith(SIGNAL)}
    check_columns(columns, {*SCHEMA, END, *signals}, cells.columns, path)
    ours_of = {theirs: ours for ours, theirs in columns.items()}
    names = {
        name: ours_of.get(name, name)
        for name in [*cells.columns, FAULT]
        if name in ours_of or name not in columns
    }

    def rows() -> Iterator[Row]:
        for row in cells.rows():
            yield {names[name]: cell for name, cell in row.items() if name in names}

    return Cells([name for name in names.values() if name != FAULT], rows, cells.separator)


@dataclass
class _Reading:
    """A table while it is read; `handled` counts what was made or left out."""

    cells: Cells
    folder: Path
    corpus: str
    prefix: str
    speaker: str | None
    unknown_speaker: str | None
    open_end: bool
    handled: Counter[str] = field(default_factory=Counter)

    def rows(self, separator: str | None) -> Iterator[tuple[int, Row]]:
        """Yield number and columns of every row; one that cannot be used has a `_fault`."""
        ids = made_ids(self.cells.columns, self._plain_rows(), self.handled)
        for number, row in enumerate(self._plain_rows(), start=1):
            if number in ids:
                row["utterance_id"] = ids[number]
            try:
                yield number, self._row(row, separator)
            except _CellError as error:
                yield number, {**_text_only(row), FAULT: ("impossible number", str(error))}

    def _plain_rows(self) -> Iterator[Row]:
        """Yield rows with paths below the root, and without empty cells."""
        for cells in self.cells.rows():
            row = {name: None if cell == "" else cell for name, cell in cells.items()}
            if row.get("audio"):
                row["audio"] = relative_to_root(self.folder, str(row["audio"]), self.prefix)
            yield row

    def _row(self, row: Row, separator: str | None) -> Row:
        row = self._with_decimal_points(row)
        numbers = {name: _number(row[name], name) for name in NUMERIC if name in row}
        if END in row:
            numbers |= _with_duration(row, numbers)
        self._check_end(numbers)
        signals = _signals(row, self.folder)
        row = {name: cell for name, cell in row.items() if not name.startswith(SIGNAL)} | numbers
        row.pop(END, None)
        if signals:
            row["signals"] = signals
        row["corpus"] = row.get("corpus") or self.corpus
        row["speaker"] = self.speaker or row.get("speaker") or self.unknown_speaker
        row = self._without_nested(row)
        if separator and (cell := row.get("label")):
            row |= _several(cell, separator)
        return row

    def _with_decimal_points(self, row: Row) -> Row:
        """Replace and count decimal commas of numbers, where commas do not separate the cells."""
        if self.cells.separator in ("", ","):
            return row
        changed = {
            name: cell.replace(",", ".")
            for name, cell in row.items()
            if (name in NUMERIC or name == END or name.endswith(SIGNAL_ENDS))
            and isinstance(cell, str)
            and DECIMAL_COMMA.fullmatch(cell.strip())
        }
        self.handled.update(f"{name}: decimal comma read as a point" for name in changed)
        return row | changed

    def _check_end(self, numbers: Mapping[str, float | None]) -> None:
        start_s, has_column = numbers.get("start_s"), {END, "duration_s"} & {*self.cells.columns}
        if start_s is None or start_s < 0 or self.open_end or numbers.get("duration_s") is not None:
            return
        if start_s or has_column:
            raise _CellError(
                f"start_s is {start_s:g}, but there is no end_s or duration_s; with "
                "corpus.open_end=true it lasts until the end of the file"
            )

    def _without_nested(self, row: Row) -> Row:
        """Turn cells into text, and leave out lists and mappings where text is expected."""
        text: Row = {}
        for name, cell in row.items():
            if cell is None or name in NUMERIC or name in NESTED or name == FAULT:
                text[name] = cell
            elif isinstance(cell, list | dict):
                self.handled[f"{name}: lists or mappings left out"] += 1
            else:
                text[name] = cell if isinstance(cell, str) else str(cell)
        return text


class _CellError(Exception):
    """A cell that cannot be used: its message is the reason of the rejection."""


def _text_only(row: Row) -> Row:
    return {name: cell if isinstance(cell, str) else None for name, cell in row.items()}


def _several(cell: str, separator: str) -> Row:
    labels = [label for piece in cell.split(separator) if (label := piece.strip())]
    votes = [{"label": label, "count": 1} for label in dict.fromkeys(labels)]
    return {"label": labels[0] if len(votes) == 1 else None, "votes": votes, "label_raw": cell}


def _check_signals(columns: Sequence[str]) -> None:
    for name in _signal_names(columns):
        if f"{name}_rate_hz" not in columns:
            raise ManifestError(
                f"there is a column {name!r} but no column '{name}_rate_hz'",
                expected="the samples a second of each signal, empty for one value an event",
                hint=f"add the column, or name it with +corpus.columns.{name}_rate_hz=COLUMN",
            )


def _signal_names(columns: Sequence[str]) -> list[str]:
    return [n for n in columns if n.startswith(SIGNAL) and not n.endswith(SIGNAL_ENDS)]


def _signals(row: Row, folder: Path) -> list[dict[str, Any]]:
    names = [name for name in _signal_names([*row]) if row[name]]
    return [_signal(row, name, folder) for name in names]


def _signal(row: Mapping[str, Any], name: str, folder: Path) -> dict[str, Any]:
    columns = [f"{name}{end}" for end in SIGNAL_ENDS]
    rate_hz, start, length = (_number(row.get(column), column) for column in columns)
    return {
        "name": name.removeprefix(SIGNAL),
        "path": relative_to_root(folder, str(row[name])),
        "rate_hz": rate_hz,
        "start": int(start or 0),
        "length": None if length is None else int(length),
    }


def _with_duration(row: Row, numbers: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the duration from start and end; check it if the table has it, too."""
    end_s, start_s = _number(row[END], END), numbers.get("start_s") or 0.0
    stated_s = numbers.get("duration_s")
    if end_s is None:
        return {"duration_s": stated_s}
    if not end_s > start_s:
        raise _CellError(f"end_s is {row[END]}, start_s is {row.get('start_s') or 0}")
    duration_s = round(end_s - start_s, 9)
    if stated_s is not None and abs(stated_s - duration_s) > DURATION_TOLERANCE_S:
        raise _CellError(f"duration_s is {stated_s:g}, end_s less start_s is {duration_s:g}")
    return {"duration_s": duration_s}


def _seconds(text: str) -> float:
    """Return the seconds of a time such as `mm:ss` or `hh:mm:ss.s`.

    Example:
        >>> _seconds("1:02:03.5"), _seconds("02:30"), _seconds("7.5")
        (3723.5, 150.0, 7.5)
    """
    *leading, last = text.strip().split(":")
    if leading and not CLOCK.fullmatch(text.strip()):
        raise ValueError(text)
    seconds = float(last)
    for power, field_ in enumerate(reversed(leading), start=1):
        seconds += int(field_) * 60**power
    return seconds


def _number(cell: Any, name: str) -> float | int | None:
    try:
        is_time = name.endswith("_s") and isinstance(cell, str)
        number = None if cell is None else _seconds(cell) if is_time else float(cell)
    except (TypeError, ValueError):
        expected = "seconds, mm:ss or hh:mm:ss.s" if name.endswith("_s") else "a number"
        raise _CellError(f"{name} is {cell!r}, expected {expected}") from None
    if number is None:
        return None
    is_whole = name not in NUMERIC or NUMERIC[name].is_integer()
    if is_whole and not name.endswith(("_rate_hz", "_s")) and not math.isfinite(number):
        raise _CellError(f"{name} is {cell!r}, expected a whole number")
    return int(number) if name in NUMERIC and is_whole else number
