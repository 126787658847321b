"""Annotation tables of KEMDy19 and KEMDy20: two header rows, and ten annotators in columns."""

import csv
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from polymodal.corpora.transcripts import decode
from polymodal.errors import ManifestError
from polymodal.schemas.manifest import RejectedRow

# in the order of the corpus's own ties
EMOTIONS = ("happy", "surprise", "angry", "neutral", "disgust", "fear", "sad")
MISSPELLED = {"disqust": "disgust"}
SESSION = re.compile(r"Sess(?:ion)?(\d\d)")
TIE = ";"
PREFIX = len("Sess01")
TOLERANCE_S = 0.02


@dataclass(frozen=True)
class Annotation:
    """The annotations of one segment."""

    segment: str  # its id, such as `Sess01_script01_F001`
    location: str  # file and row, for messages
    duration_s: float | None  # end minus start within the dialogue; None if a time is missing
    emotion: str  # the majority, several with `;` for a tie; empty if missing
    valence: float | None  # mean of 1 to 5
    arousal: float | None
    votes: tuple[str, ...]  # the annotators' emotions

    @property
    def label(self) -> str | None:
        """The emotion; None for a tie or if missing."""
        return None if TIE in self.emotion else self.emotion or None


@dataclass(frozen=True)
class Columns:
    """The columns of a table, and its first row of data; the column of the end follows `start`."""

    first_row: int
    segment: int
    start: int
    emotion: int
    valence: int
    arousal: int
    votes: tuple[int, ...]


def read_annotations(
    path: Path, segment_id: re.Pattern[str], handled: Counter[str], rejected: list[RejectedRow]
) -> list[Annotation]:
    """Read an annotation table, and count fixed oddities in `handled`.

    Raises:
        ManifestError: The file is neither UTF-8 nor cp949, or holds no segment id.
    """
    rows = _cells(path)
    columns = _columns(rows, segment_id, path)
    session = SESSION.search(path.name)
    annotations = []
    for number, row in enumerate(rows[columns.first_row :], start=columns.first_row + 1):
        if not any(row):
            continue
        location = f"{path.name}:{number}"
        segment = _at(row, columns.segment)
        if not segment_id.fullmatch(segment):
            rejected.append(RejectedRow(location, "no segment id", f"{segment!r}"))
            continue
        if session and segment[4:PREFIX] != session.group(1):
            segment = f"Sess{session.group(1)}{segment[PREFIX:]}"
            handled["id with the prefix of another session"] += 1
        annotation = _annotation(row, columns, segment, location, handled)
        unknown = {*annotation.emotion.split(TIE), *annotation.votes} - {*EMOTIONS, ""}
        if unknown:
            rejected.append(RejectedRow(location, "unknown emotion", f"{sorted(unknown)}"))
            continue
        annotations.append(annotation)
    return annotations


def parse_votes(annotation: Annotation) -> list[dict[str, str | int]] | None:
    """Count the annotators by emotion, in the order of `EMOTIONS`; None without any vote.

    Example:
        >>> parse_votes(Annotation("a", "", None, "sad", None, None, ("sad", "fear", "sad")))
        [{'label': 'fear', 'count': 1}, {'label': 'sad', 'count': 2}]
    """
    counts = Counter(annotation.votes)
    return [{"label": e, "count": counts[e]} for e in EMOTIONS if counts[e]] or None


def fix_speaker_letters(
    annotations: Sequence[Annotation],
    letter: str,
    duration_s: Callable[[str], float | None],
    handled: Counter[str],
) -> list[Annotation]:
    """Fix ids that carry the partner's letter by mistake (KEMDy19, sessions 3 and 9).

    Such an id is a duplicate in the file of `letter`, and the same number with that letter is
    missing. The row is renamed whose length is that of the missing segment's audio and not that of
    its namesake; if both rows or neither match, both are kept.
    """
    counts = Counter(annotation.segment for annotation in annotations)
    corrected_annotations = list(annotations)
    for name in [name for name, count in counts.items() if count > 1]:
        corrected = re.sub(r"_[FM](\d{3})$", rf"_{letter}\1", name)
        if corrected == name or corrected in counts:
            continue
        wanted_s, other_s = duration_s(corrected), duration_s(name)
        fitting = [
            index
            for index, annotation in enumerate(annotations)
            if annotation.segment == name
            and _lasts(annotation, wanted_s)
            and not _lasts(annotation, other_s)
        ]
        if len(fitting) == 1:
            index = fitting[0]
            corrected_annotations[index] = replace(annotations[index], segment=corrected)
            handled["id with the partner's letter"] += 1
    return corrected_annotations


def _lasts(annotation: Annotation, duration_s: float | None) -> bool:
    if annotation.duration_s is None or duration_s is None:
        return False
    return abs(annotation.duration_s - duration_s) < TOLERANCE_S


def _cells(path: Path) -> list[list[str]]:
    try:
        text, _ = decode(path.read_bytes())
    except UnicodeDecodeError as error:
        message = f"{path} is neither UTF-8 nor cp949: {error}"
        raise ManifestError(message, hint="save it as UTF-8") from None
    return [[cell.strip() for cell in row] for row in csv.reader(text.splitlines())]


def _columns(rows: Sequence[Sequence[str]], segment_id: re.Pattern[str], path: Path) -> Columns:
    """Find the columns by name in either header row, or by position from the segment id."""
    id_cells = [
        (number, column)
        for number, row in enumerate(rows)
        for column, cell in enumerate(row)
        if segment_id.fullmatch(cell)
    ]
    if not id_cells:
        raise ManifestError(
            f"{path} holds no segment id",
            expected=f"ids such as {segment_id.pattern}",
            hint="check that corpus.root is the folder of this corpus",
        )
    first_found, segment = id_cells[0]
    numbered = (number for number, row in enumerate(rows) if _number(_at(row, 0)) is not None)
    first_row = min(first_found, next(numbered, first_found))
    heads = rows[:first_row]
    emotion = _named(heads, "totalevaluation", segment + 1)
    below = heads[-1] if heads else []
    swapped = _key(_at(below, emotion + 1)) == "arousal"
    width = len(rows[first_found])
    return Columns(
        first_row,
        segment,
        start=_named(heads, "wav", 1),
        emotion=emotion,
        valence=emotion + (2 if swapped else 1),
        arousal=emotion + (1 if swapped else 2),
        votes=tuple(range(emotion + 3, width, 3)),
    )


def _named(heads: Sequence[Sequence[str]], name: str, otherwise: int) -> int:
    for row in heads:
        for column, cell in enumerate(row):
            if _key(cell) == name:
                return column
    return otherwise


def _key(cell: str) -> str:
    return re.sub(r"[^a-z0-9]", "", cell.lower())


def _annotation(
    row: Sequence[str], columns: Columns, segment: str, location: str, handled: Counter[str]
) -> Annotation:
    start_s, end_s = _number(_at(row, columns.start)), _number(_at(row, columns.start + 1))
    emotion = TIE.join(_emotion(word, handled) for word in _at(row, columns.emotion).split(TIE))
    votes = (_emotion(_at(row, column), handled) for column in columns.votes)
    return Annotation(
        segment,
        location,
        duration_s=None if start_s is None or end_s is None else end_s - start_s,
        emotion=emotion,
        valence=_number(_at(row, columns.valence)),
        arousal=_number(_at(row, columns.arousal)),
        votes=tuple(vote for vote in votes if vote),
    )


def _emotion(word: str, handled: Counter[str]) -> str:
    word = word.strip().lower()
    if word in MISSPELLED:
        handled[f"{word} for {MISSPELLED[word]}"] += 1
    return sys.intern(MISSPELLED.get(word, word))  # ten a row: share the strings


def _at(row: Sequence[str], column: int) -> str:
    return row[column] if column < len(row) else ""


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
