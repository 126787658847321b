"""Common part of all readers: check every row, and reject unusable ones with a reason."""

import math
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import soundfile

from polymodal.corpora.cells import FAULT, Row
from polymodal.corpora.labels import LabelMap, merge_spellings
from polymodal.corpora.locating import CorpusFolder, find_folder
from polymodal.corpora.overlaps import conflicting_rows
from polymodal.errors import DataError, ManifestError, RejectedRowsError, nearest
from polymodal.schemas.audio_formats import conversion, without_decoder_messages
from polymodal.schemas.keys import CONTENTS, case_variants, clean_key
from polymodal.schemas.manifest import SCHEMA, Manifest, RejectedRow
from polymodal.security.paths import resolve_inside

MAX_SHOWN = 5
DURATION_TOLERANCE_S = 0.1  # tolerance for rounded durations
NUMBERS = ("start_s", "duration_s", "valence", "arousal")
CHUNK_ROWS = 2048
ROWS_PER_TASK = 256  # single rows would wait for each other
# Columns of names of which two that differ by letter case alone are likely to mean the same.
GROUPING = ("speaker", "dialogue", "session", "sentence")
# In this order: `corpus.where` compares the labels of the corpus, not those they are mapped to.
LEFT_OUT = "rows left out by corpus.where, which acts first, on the labels of the corpus"
MAPPED = "labels changed by corpus.label_map, which acts on the rows that corpus.where leaves"
NESTED_TYPES: Mapping[str, Mapping[str, type]] = {
    "votes": {"label": str, "count": int},
    "signals": {"name": str, "path": str},
}
NUM_THREADS = 8  # reading headers waits for the disk more than for the processor

ItemT = TypeVar("ItemT")
Rows = Iterable[tuple[int | str, Row]]  # row number or file name, and columns


@dataclass
class ReaderOptions:
    """Options that most readers share."""

    classes: Sequence[str] | None = None  # the declared classes; None accepts any label
    label_map: Mapping[str, str] | None = None  # label of the corpus to declared class
    where: Mapping[str, Any] | None = None  # column to the value, or values, to keep
    max_refused: int | None = 0  # maximum number of rejected rows; None for any number
    declared_votes: bool = False  # whether every label with a vote must be a declared class, too


def require_dir(root: str, corpus: str) -> Path:
    """Return the folder of a corpus about which nothing else is known.

    Raises:
        ManifestError: It does not exist, or several folders match.
    """
    return find_folder(root, CorpusFolder(corpus, (Path(root).name,), any_layout=True))


def check_columns(
    columns: Mapping[str, str], allowed: Collection[str], available: Sequence[str], path: Path
) -> None:
    """Check `corpus.columns`, our column to that of a file, against both.

    Raises:
        ManifestError: A column is not ours, or the file does not have it.
    """
    for ours, theirs in columns.items():
        if ours not in allowed:
            raise ManifestError(f"corpus.columns.{ours}", hint=nearest(ours, allowed))
        if theirs not in available:
            message = f"{path} has no column {theirs!r}, which corpus.columns.{ours} names"
            raise ManifestError(message, hint=nearest(theirs, available))


def missing_speaker(source: Path) -> ManifestError:
    """Return the error of a file or folder without a column for the speaker."""
    return ManifestError(
        f"{source} has no column for the speaker",
        expected="a column with the speaker, as splits are by speaker",
        hint="name it with corpus.columns.speaker=COLUMN, or give one speaker to all rows "
        "with corpus.speaker=NAME",
    )


def build_manifest(
    rows: Rows,
    root: Path,
    options: ReaderOptions,
    rejected: Sequence[RejectedRow] = (),
    *,
    handled: Mapping[str, int] | None = None,
    signals_root: Path | None = None,
) -> Manifest:
    """Check rows and return the manifest of the usable ones, sorted by id.

    `rows` yields row number (or file name) and columns, with the label of the corpus. `handled`
    counts oddities that the reader has fixed. Names (ids, speakers, labels, and all columns but
    contents) are cleaned first, then `where` selects rows, then labels are mapped. The result does
    not depend on the order of rows and files: of equal rows one is kept, of different rows with the
    same id none.

    Raises:
        ManifestError: More rows were rejected than allowed, or none is left.
    """
    where = options.where or {}
    labels, counts = LabelMap(options.label_map, options.classes), Counter[str]()
    cleaned = ((position, clean_row(row, counts)) for position, row in rows)
    selected = (item for item in cleaned if _is_selected(item[1], where, counts))
    labelled = (_labelled(item, labels, counts) for item in selected)
    frame, positions, rejections = _checked(labelled, options, root)
    frame = _unique(frame, positions, rejections)
    rejections = [*rejected, *rejections]  # a reader may reject rows while its generator runs
    _check_number(rejections, options.max_refused)
    if frame.is_empty():
        raise _nothing_left(root, options, rejections)
    counts += labels.handled + Counter(handled or {})
    if options.classes is None:
        frame, merged = merge_spellings(frame, labels.declared)
        counts += merged
    counts += warn_of_variants(frame)
    counts["rows that overlap one of another label in the same file"] = len(conflicting_rows(frame))
    ordered = {rule: count for rule, count in sorted(counts.items()) if count}
    return Manifest(frame, root, tuple(rejections), ordered, signals_root)


def _checked(
    rows: Rows, options: ReaderOptions, root: Path
) -> tuple[pl.DataFrame, list[int | str], list[RejectedRow]]:
    """Return the usable rows with their positions, and the others with the reason."""
    rejections: list[RejectedRow] = []
    positions: list[int | str] = []
    frames: list[pl.DataFrame] = []
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        for chunk in _chunks(rows, CHUNK_ROWS):
            results = threads.map(
                lambda task: [_fault(row, options, root) for _, row in task],
                _chunks(chunk, ROWS_PER_TASK),
            )
            accepted = []
            faults = chain.from_iterable(results)
            for (position, row), fault in zip(chunk, faults, strict=True):
                if fault is None:
                    positions.append(position)
                    accepted.append(row)
                else:
                    rejections.append(RejectedRow(position, *fault))
            frames.append(_frame(accepted))
    frame = pl.concat(frames, how="diagonal") if frames else pl.DataFrame()
    return frame, positions, rejections


def clean_row(row: Row, counts: Counter[str]) -> Row:
    """Clean the names of a row, in place, and count the changed cells of each column."""
    for column, cell in row.items():
        if isinstance(cell, str) and column not in CONTENTS:
            row[column] = name = clean_key(cell)
            if name != cell:
                counts[f"{column}: blanks, invisible characters or Unicode form cleaned"] += 1
    return row


def _labelled(
    item: tuple[int | str, Row], labels: LabelMap, counts: Counter[str]
) -> tuple[int | str, Row]:
    position, row = item
    if fault := _nested_fault(row):
        return position, {FAULT: fault}
    label = row.get("label")
    row["label"] = labels(label) if label else None
    counts[MAPPED] += bool(label and row["label"] != label and labels.is_mapped(label))
    if row.get("votes"):
        row["votes"] = labels.votes(row["votes"])
    return position, row


def warn_of_variants(frame: pl.DataFrame) -> Counter[str]:
    """Warn of names that differ by letter case alone; return them with the number of groups."""
    notes: Counter[str] = Counter()
    for column in GROUPING:
        if column not in frame.columns:
            continue
        for group in case_variants(frame[column].drop_nulls().unique()):
            listed = " and ".join(map(repr, group))
            note = f"{column} {listed} differ by letter case or blanks alone"
            warnings.warn(f"{note}; if they are the same, give them one name", stacklevel=3)
            notes[note] += 1
    return notes


def _chunks(items: Iterable[ItemT], size: int) -> Iterator[list[ItemT]]:
    """Yield chunks, so that a large corpus is never held as Python objects."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _unique(
    frame: pl.DataFrame, positions: Sequence[int | str], rejections: list[RejectedRow]
) -> pl.DataFrame:
    if frame.is_empty():
        return frame
    numbered = frame.with_row_index("_row")
    repeated = numbered.filter(pl.col("utterance_id").is_duplicated())
    dropped: list[int] = []
    for (name,), group in repeated.group_by("utterance_id", maintain_order=True):
        rows, values = group["_row"].to_list(), group.drop("_row").rows()
        equal = all(row == values[0] for row in values)
        rule, lost = ("duplicate row", rows[1:]) if equal else ("duplicate id", rows)
        listed = " and ".join(f"row {positions[row]}" for row in (rows[:1] if equal else rows))
        reason = f"{name!r} is in {listed}"
        rejections += [RejectedRow(positions[row], rule, reason) for row in lost]
        dropped += lost
    unique = numbered.filter(~pl.col("_row").is_in(dropped)) if dropped else numbered
    return unique.drop("_row").sort("utterance_id")


def _header_fault(row: Row, root: Path) -> tuple[str, str] | None:
    """Read the header of an utterance's audio into its row; return rule and reason if unusable."""
    if not row.get("audio"):
        return None
    try:
        path = resolve_inside(root, row["audio"])
    except DataError as error:
        return "path outside the corpus", error.message
    if not path.is_file():
        return "missing audio", f"there is no file {row['audio']}"
    try:
        with without_decoder_messages(path):
            header = soundfile.info(path)
    except (OSError, RuntimeError) as error:
        command = conversion(path)
        hint = f"; convert it: {command}" if command else ""
        return "unreadable audio", f"{row['audio']}: {error}{hint}"
    if not header.frames:
        return "empty audio", f"{row['audio']} has no sample"
    row["sampling_rate_hz"], row["channels"] = header.samplerate, header.channels
    row["audio_bytes"] = path.stat().st_size
    there_s = header.frames / header.samplerate
    start_s, stated_s = row.get("start_s") or 0.0, row.get("duration_s")
    until_s = start_s + (stated_s or 0.0)
    if start_s >= there_s or until_s > there_s + DURATION_TOLERANCE_S:
        return "audio too short", f"{row['audio']} has {there_s:.2f} s, the row says {until_s:.2f}"
    if stated_s is None:
        row["duration_s"] = there_s - start_s
    return None


def allowed_values(values: object) -> list[str]:
    """Return the values that `corpus.where` accepts, as cleaned text.

    Example:
        >>> allowed_values(1), allowed_values(["a", 2])
        (['1'], ['a', '2'])
    """
    several = values if isinstance(values, list | tuple) else [values]
    return [clean_key(str(value)) for value in several]


def _is_selected(row: Mapping[str, Any], where: Mapping[str, Any], counts: Counter[str]) -> bool:
    for column, values in where.items():
        if column not in row and column not in SCHEMA:
            message = f"corpus.where names the column {column!r}"
            raise ManifestError(message, hint=nearest(column, row))
        if clean_key(str(row.get(column))) not in allowed_values(values):
            counts[LEFT_OUT] += 1
            return False
    return True


def _fault(row: Row, options: ReaderOptions, root: Path) -> tuple[str, str] | None:
    """Return rule and reason if a row cannot be used; read the header of its audio."""
    if FAULT in row:
        return tuple(row[FAULT])
    for column in ("utterance_id", "speaker"):
        if not row.get(column):
            return f"no {column}", f"{column} is empty"
    for column in NUMBERS:
        value = row.get(column)
        negative = value is not None and column.endswith("_s") and value < 0
        if value is not None and (negative or not math.isfinite(value)):
            return "impossible number", f"{column} is {value}"
    label = row["label"]
    names = [vote["label"] for vote in row.get("votes") or ()] if options.declared_votes else []
    for name in [label, *names] if label else names:
        if options.classes and name not in options.classes:
            return "unknown label", f"{name!r}, {nearest(name, options.classes)}"
    return _header_fault(row, root)


def _nested_fault(row: Row) -> tuple[str, str] | None:
    for column, types in NESTED_TYPES.items():
        cell = row.get(column)
        if cell is None:
            continue
        items = cell if isinstance(cell, list | tuple) else [cell]
        for item in items:
            if not isinstance(item, Mapping) or not all(
                isinstance(item.get(name), expected) for name, expected in types.items()
            ):
                reason = f"{column!r} holds values of another type: {item!r}"
                return "impossible value", f"{reason}, expected {' and '.join(types)}"
    return None


def relative_to_root(root: Path, path: str, prefix: str = "") -> str:
    """Return a path relative to the root, below the folder `prefix` if it is relative.

    An absolute path that is not below the root is returned as it is, and later rejected.

    Example:
        >>> [relative_to_root(Path("/c"), path, "w") for path in ("a.wav", "/c/b.wav", "/d/e.wav")]
        ['w/a.wav', 'b.wav', '/d/e.wav']
    """
    given = Path(path)
    if not given.is_absolute():
        return (Path(prefix) / given).as_posix() if prefix else path
    for base in (root, root.resolve()):
        if given.is_relative_to(base) and ".." not in given.parts:
            return given.relative_to(base).as_posix()
    return path


def _check_number(rejections: Sequence[RejectedRow], allowed: int | None) -> None:
    if allowed is None or len(rejections) <= allowed:
        return
    raise RejectedRowsError(
        "\n".join([f"{len(rejections)} rows were rejected:", *_reasons(rejections, MAX_SHOWN)]),
        expected=f"at most {allowed} (corpus.max_refused)",
        hint=f"fix the rows, or leave them out with corpus.max_refused={len(rejections)}",
        refused=rejections,
    )


def _reasons(rejections: Sequence[RejectedRow], max_shown: int) -> list[str]:
    """Return lines with the number of rows of each rule, if there are several, and some rows."""
    counts = Counter(rejection.rule for rejection in rejections)
    totals = [f"  {count} x {rule}" for rule, count in counts.most_common()]
    lines = [f"  row {row.row}: {row.rule}: {row.reason}" for row in rejections[:max_shown]]
    if len(rejections) > max_shown:
        lines.append(f"  and {len(rejections) - max_shown} more")
    return [*(totals if len(rejections) > max_shown else []), *lines]


def _nothing_left(
    root: Path, options: ReaderOptions, rejections: Sequence[RejectedRow]
) -> RejectedRowsError:
    where = options.where or {}
    filters = f" with corpus.where={dict(where)}" if where else ""
    message = f"no utterance is left in {root}{filters}, {len(rejections)} rows were rejected"
    hint = "check corpus.root and corpus.where"
    if options.label_map and "label" in where:
        hint += ", which compares labels as they are before corpus.label_map"
    return RejectedRowsError(
        "\n".join([message + (":" if rejections else ""), *_reasons(rejections, 3)]),
        expected="at least one row that can be used",
        hint=hint if not rejections else "fix what the rows have in common",
        refused=rejections,
    )


def _frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pl.DataFrame([_series(name, values) for name, values in columns.items()])


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    try:
        return pl.Series(name, values, dtype=SCHEMA.get(name, pl.String), strict=False)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise ManifestError(
            f"column {name!r} holds values of another type: {str(error).splitlines()[0]}",
            expected=f"{SCHEMA.get(name, pl.String)}",
            hint="fix the column, or map another one to it with corpus.columns",
        ) from None
