"""What every reader does: check rows one by one, refuse with a reason, drop nothing in silence."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import soundfile

from polymodal.corpora.locating import CorpusFolder, find_folder
from polymodal.errors import DataError, ManifestError, nearest
from polymodal.schemas.manifest import SCHEMA, Manifest, RejectedRow
from polymodal.security.paths import resolve_inside

SHOWN = 5
SHORTFALL_S = 0.1  # what a rounded duration may be too long by
NUMBERS = ("start_s", "duration_s", "valence", "arousal")
ROWS_AT_ONCE = 2048
AT_ONCE = 256  # rows a thread takes: one by one they would wait for each other
NUM_THREADS = 8  # reading headers waits for the disk more than for the processor


@dataclass
class Rules:
    """What a corpus accepts.

    Args:
        classes: The declared classes; None to accept any label.
        label_map: The corpus's word to ours.
        where: Column to the value, or values, to keep.
        max_refused: How many rows may be refused; None for any number.
        declared_votes: Whether every label that got a vote must be a declared class, too.
    """

    classes: Sequence[str] | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, Any] = field(default_factory=dict)
    max_refused: int | None = 0
    declared_votes: bool = False


def require_dir(root: str, corpus: str) -> Path:
    """Return the folder of a corpus of which nothing else is known.

    Args:
        root: The folder; next to a missing one, another spelling of its name is looked for.
        corpus: Name of the corpus, for the message.

    Returns:
        The folder.

    Raises:
        ManifestError: It does not exist, or there are several.
    """
    return find_folder(root, CorpusFolder(corpus, (Path(root).name,), any_layout=True))


def build_manifest(
    rows: Iterable[tuple[int | str, dict[str, Any]]],
    root: Path,
    rules: Rules,
    refused: Sequence[RejectedRow] = (),
    *,
    handled: Mapping[str, int] | None = None,
    signals_root: Path | None = None,
) -> Manifest:
    """Checks rows and makes the manifest of those that can be used, in the order of their ids.

    Neither the order of the rows nor that of the files moves the result: of equal rows one is kept,
    of different rows with the same id none.

    Args:
        rows: Row number (or file name) and columns; `label` in the corpus's own words.
        root: Folder of the corpus.
        rules: What is accepted.
        refused: Rows that the reader has refused already.
        handled: Oddities that the reader has mended, and how often.
        signals_root: Folder of the signals, where it is another one.

    Returns:
        The manifest.

    Raises:
        ManifestError: More rows were refused than allowed, or none is left.
    """
    refusals: list[RejectedRow] = []
    places: list[int | str] = []
    frames: list[pl.DataFrame] = []
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        for chunk in _chunks(one for one in rows if _wanted(one[1], rules.where)):
            parts = [chunk[start : start + AT_ONCE] for start in range(0, len(chunk), AT_ONCE)]
            found = threads.map(lambda part: [_fault(row, rules, root) for _, row in part], parts)
            faults = [fault for part in found for fault in part]
            accepted = []
            for (place, row), fault in zip(chunk, faults, strict=True):
                if fault is None:
                    places.append(place)
                    accepted.append(row)
                else:
                    refusals.append(RejectedRow(place, *fault))
            frames.append(_frame(accepted))
    frame = pl.concat(frames, how="diagonal") if frames else pl.DataFrame()
    frame = _unique(frame, places, refusals)
    refusals = [*refused, *refusals]  # a reader may refuse rows while its generator runs
    _check_refusals(refusals, rules.max_refused)
    if frame.is_empty():
        filters = f" with corpus.where={dict(rules.where)}" if rules.where else ""
        raise ManifestError(
            f"no utterance is left in {root}{filters}, {len(refusals)} rows were refused",
            hint="check corpus.root and corpus.where",
        )
    counts = {rule: count for rule, count in sorted((handled or {}).items()) if count}
    return Manifest(frame, root, tuple(refusals), counts, signals_root)


def _chunks(
    rows: Iterable[tuple[int | str, dict[str, Any]]],
) -> Iterator[list[tuple[int | str, dict[str, Any]]]]:
    """Some rows at a time, so that a large corpus never stands in memory as Python objects."""
    iterator = iter(rows)
    while chunk := list(islice(iterator, ROWS_AT_ONCE)):
        yield chunk


def _unique(
    frame: pl.DataFrame, places: Sequence[int | str], refusals: list[RejectedRow]
) -> pl.DataFrame:
    """Rows in the order of their ids, each id once; the others are refused."""
    if frame.is_empty():
        return frame
    numbered = frame.with_row_index("_row")
    repeated = numbered.filter(pl.col("utterance_id").is_duplicated())
    dropped: list[int] = []
    for (name,), group in repeated.group_by("utterance_id", maintain_order=True):
        first, *others = group.drop("_row").rows()
        rows = group["_row"].to_list()
        equal = all(other == first for other in others)
        shown = " and ".join(f"row {places[row]}" for row in (rows[:1] if equal else rows))
        rule, lost = ("duplicate row", rows[1:]) if equal else ("duplicate id", rows)
        refusals += [RejectedRow(places[row], rule, f"{name!r} stands in {shown}") for row in lost]
        dropped += lost
    kept = numbered.filter(~pl.col("_row").is_in(dropped)) if dropped else numbered
    return kept.drop("_row").sort("utterance_id")


def _header_fault(row: dict[str, Any], root: Path) -> tuple[str, str] | None:
    """Opens the header of an utterance's audio, and fills in what it says.

    Args:
        row: Columns; `duration_s` is set where it is missing.
        root: Folder of the corpus.

    Returns:
        Rule and reason if the audio cannot be used.
    """
    if not row.get("audio"):
        return None
    try:
        path = resolve_inside(root, row["audio"])
    except DataError as error:
        return "path outside the corpus", error.message
    if not path.is_file():
        return "missing audio", f"there is no file {row['audio']}"
    try:
        header = soundfile.info(path)
    except (OSError, RuntimeError) as error:
        return "unreadable audio", f"{row['audio']}: {error}"
    if not header.frames:
        return "empty audio", f"{row['audio']} has no sample"
    row |= {
        "sampling_rate_hz": header.samplerate,
        "channels": header.channels,
        "audio_bytes": path.stat().st_size,
    }
    there_s = header.frames / header.samplerate
    start_s, stated_s = row.get("start_s") or 0.0, row.get("duration_s")
    if start_s >= there_s or start_s + (stated_s or 0.0) > there_s + SHORTFALL_S:
        until_s = start_s + (stated_s or 0.0)
        return "audio too short", f"{row['audio']} has {there_s:.2f} s, the row says {until_s:.2f}"
    if stated_s is None:
        row["duration_s"] = there_s - start_s
    return None


def allowed_values(values: object) -> list[str]:
    """Returns the values that `corpus.where` lets through, as text.

    Args:
        values: One value or several.

    Example:
        >>> allowed_values(1), allowed_values(["a", 2])
        (['1'], ['a', '2'])
    """
    several = values if isinstance(values, list | tuple) else [values]
    return [str(value) for value in several]


def _wanted(row: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    for column, values in where.items():
        if column not in row and column not in SCHEMA:
            raise ManifestError(
                f"corpus.where names the column {column!r}",
                hint=nearest(column, row),
            )
        if str(row.get(column)) not in allowed_values(values):
            return False
    return True


def _fault(row: dict[str, Any], rules: Rules, root: Path) -> tuple[str, str] | None:
    """Rule and reason if a row cannot be used; otherwise its label is put into our words."""
    for column in ("utterance_id", "speaker"):
        if not row.get(column):
            return f"no {column}", f"{column} is empty"
    for column in NUMBERS:
        value = row.get(column)
        negative = value is not None and column.endswith("_s") and value < 0
        if value is not None and (negative or not math.isfinite(value)):
            return "impossible number", f"{column} is {value}"
    label = row.get("label") or None
    row["label"] = label = rules.label_map.get(label, label) if label else None
    if row.get("votes") and rules.label_map:
        row["votes"] = remap_votes(row["votes"], rules.label_map)
    names = [vote["label"] for vote in row.get("votes") or ()] if rules.declared_votes else []
    for name in [label, *names] if label else names:
        if rules.classes and name not in rules.classes:
            return "unknown label", f"{name!r}, {nearest(name, rules.classes)}"
    return _header_fault(row, root)


def remap_votes(
    votes: Sequence[Mapping[str, Any]], label_map: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Puts the labels of votes into our words, and adds up those that become one.

    Args:
        votes: Each with `label` and `count`.
        label_map: The corpus's word to ours.

    Returns:
        The votes, each label once.

    Example:
        >>> remap_votes([{"label": "joy", "count": 2}, {"label": "love", "count": 1}],
        ...              {"love": "joy"})
        [{'label': 'joy', 'count': 3}]
    """
    counts: Counter[str] = Counter()
    for vote in votes:
        counts[label_map.get(vote["label"], vote["label"])] += vote["count"]
    return [{"label": label, "count": count} for label, count in counts.items()]


def _check_refusals(refusals: Sequence[RejectedRow], allowed: int | None) -> None:
    if allowed is None or len(refusals) <= allowed:
        return
    shown = [f"  row {one.row}: {one.rule}: {one.reason}" for one in refusals[:SHOWN]]
    more = [f"  and {len(refusals) - SHOWN} more"] if len(refusals) > SHOWN else []
    raise ManifestError(
        "\n".join([f"{len(refusals)} rows were refused:", *shown, *more]),
        expected=f"at most {allowed} (corpus.max_refused)",
        hint=f"mend the rows, or go on without them with corpus.max_refused={len(refusals)}",
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
            f"column {name!r} holds values of another kind: {str(error).splitlines()[0]}",
            expected=f"{SCHEMA.get(name, pl.String)}",
            hint="mend the column, or map another one to it with corpus.columns",
        ) from None
