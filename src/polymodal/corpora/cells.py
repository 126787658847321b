"""Read the cells of CSV, TSV, JSONL and Parquet files; a bad row does not spoil the others."""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.errors import ManifestError, MissingCorpusError, reason_of
from polymodal.schemas.delimited import sniff_separator
from polymodal.schemas.keys import clean_key

KINDS = (".csv", ".tsv", ".jsonl", ".parquet")
FAULT = "_fault"  # column of a row that cannot be used, with rule and reason
Row = dict[str, Any]


@dataclass(frozen=True)
class Cells:
    """The columns of a table, and its rows, which can be read several times."""

    columns: Sequence[str]
    rows: Callable[[], Iterator[Row]]
    separator: str = ""  # of the cells of a CSV or TSV


def read_cells(path: Path, encoding: str, key: str = "corpus.file") -> Cells:
    """Read a CSV, TSV, JSONL or Parquet file; `key` is the option that names it, for messages.

    The separator is that of the header line. A row that cannot be read has a column `_fault`.

    Raises:
        ManifestError: The file is missing, of an unknown kind or encoding, or damaged.
    """
    suffix = path.suffix.lower()
    if suffix not in KINDS:
        raise ManifestError(
            f"{path} is of an unknown kind",
            expected=" or ".join(KINDS),
            hint="save the table as one of them; from Excel as CSV UTF-8",
        )
    try:
        if suffix == ".parquet":
            frame = pl.read_parquet(path)
            return Cells(frame.columns, lambda: frame.iter_rows(named=True))
        text = path.read_bytes().decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except FileNotFoundError:
        raise MissingCorpusError(
            f"there is no file {path}", hint=f"name it with {key}=FILE"
        ) from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ManifestError(
            f"{path} cannot be read: {reason_of(error)}",
            expected=" or ".join(KINDS),
            hint="write the table again, or name another file",
        ) from None
    except (UnicodeDecodeError, LookupError) as error:
        is_utf16 = path.read_bytes()[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        is_known = isinstance(error, UnicodeDecodeError)
        reason = reason_of(error) if is_known else f"there is no encoding {encoding!r}"
        raise ManifestError(
            f"{path} cannot be read: {reason}",
            hint=f"name its encoding, such as corpus.encoding={'utf-16' if is_utf16 else 'cp949'}",
        ) from None
    return _json_lines(text) if suffix == ".jsonl" else _delimited(text, path)


def _json_lines(text: str) -> Cells:
    def parsed() -> Iterator[Row]:
        return (_json_row(line) for line in text.split("\n") if line.strip())

    columns = list(dict.fromkeys(name for row in parsed() for name in row if name != FAULT))
    return Cells(columns, lambda: (dict.fromkeys(columns) | row for row in parsed()))


def _json_row(line: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        return {FAULT: ("unreadable row", f"it is not JSON: {error}")}
    if not isinstance(row, dict):
        return {FAULT: ("unreadable row", f"it is {str(row)[:40]!r}, expected names and values")}
    return row


def _delimited(text: str, path: Path) -> Cells:
    separator = sniff_separator(text, path.suffix)

    def lines() -> Iterator[list[str]]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        return (line for line in reader if line)

    try:
        first, num_rows = next(lines(), []), sum(1 for _ in lines()) - 1
    except csv.Error as error:
        raise ManifestError(
            f"{path} cannot be read: {error}", hint="close every quotation mark in the file"
        ) from None
    if num_rows < 0:
        raise ManifestError(
            f"{path} is empty",
            expected="a line with the names of the columns",
            hint="write the table again, or name another file",
        )
    header = _distinct_names(first)

    def rows() -> Iterator[Row]:
        body = lines()
        next(body)
        return (_delimited_row(header, line) for line in body)

    return Cells(header, rows, separator)


def _distinct_names(header: Sequence[str]) -> list[str]:
    """Clean the names of columns; a name that is there again gets a number."""
    names: list[str] = []
    for cell in header:
        name, number = clean_key(cell), 0
        while name in names:
            name, number = f"{clean_key(cell)}_duplicated_{number}", number + 1
        names.append(name)
    return names


def _delimited_row(header: Sequence[str], line: Sequence[str]) -> Row:
    cells: list[str | None] = [*line, *[None] * (len(header) - len(line))]
    row: Row = dict(zip(header, cells, strict=False))
    if any(cell for cell in line[len(header) :]):
        reason = f"it has {len(line)} cells, the header has {len(header)}"
        row[FAULT] = ("too many cells", f"{reason}; put cells with a separator in quotation marks")
    return row
