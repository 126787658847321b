"""KEMDy19 and KEMDy20 (ETRI): Korean dialogues with ten annotators and wrist physiology.

Noh and Jeong, "KEMDy19: Korean emotion multi-modal dataset" and "KEMDy20" (ETRI, 2021). Both are
licence-gated: ask ETRI for them. Read as they were received, dirt included.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import soundfile

from polymodal.corpora._base import Rules, build_manifest
from polymodal.corpora.kemdy_annotation import (
    TIE,
    Annotation,
    fix_speaker_letters,
    parse_votes,
    read_annotations,
)
from polymodal.corpora.kemdy_signals import cut_signals
from polymodal.corpora.locating import CorpusFolder, find_folder
from polymodal.corpora.transcripts import TextPreparation, decode
from polymodal.schemas.manifest import Manifest, RejectedRow

SEGMENT_19 = re.compile(r"Sess\d\d_(?:script0[1-6]|impro0[1-4])_[FM]\d{3}")
SEGMENT_20 = re.compile(r"Sess\d\d_script0[1-6]_User\d{3}[FM]_\d{3}")
FILE_19 = re.compile(r"Sess(?:ion)?\d\d_?([FM])")
# Marks such as `b/` and `n/` (breath, noise), `*` and `+` (unclear or cut words).
MARKERS = (r"(?<![A-Za-z])[A-Za-z]/", r"[*+]")
# ETRI hands them out as KEMDy19_v1_3, KEMDy20_v1_1 and KEMDy20_v1_2.
KEMDY19 = CorpusFolder("KEMDy19", names=("KEMDy19",), contents=("annotation/*.csv",))
KEMDY20 = CorpusFolder("KEMDy20", names=("KEMDy20",), contents=("annotation/*.csv",))
Brackets = Literal["keep", "content", "drop"]


@dataclass
class _Reading:
    """What is found below the folder of a corpus while it is read."""

    root: Path
    segment_id: re.Pattern[str]
    clean: TextPreparation
    handled: Counter[str] = field(default_factory=Counter)
    refused: list[RejectedRow] = field(default_factory=list)
    files: dict[str, dict[str, Path]] = field(default_factory=dict)
    signals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def read_kemdy19(
    root: str,
    *,
    prepared: str,
    perspective: Literal["speaker", "listener"] = "speaker",
    brackets: Brackets = "content",
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    max_refused: int | None = 0,
) -> Manifest:
    """Reads KEMDy19: 20 sessions, each with two actors, six scripted and four free dialogues.

    The F file and the M file of a session both list every segment: the row in the file of the
    speaker's own letter says what the speaker felt, the other what the listener felt.

    Args:
        root: The folder with `annotation`, `wav`, `ECG`, `EDA` and `TEMP`, or the one above it, in
            which the newest version is taken.
        prepared: Folder that the cut signals are written to.
        perspective: Whose emotion is the label.
        brackets: What becomes of words in parentheses (cut speech): kept with them, without, or
            dropped.
        classes: The declared classes; None to accept all seven emotions.
        label_map: An emotion to another class.
        where: Column to the value, or values, to keep; there are `session`, `gender`, `scenario`
            and `label_raw` (`angry;neutral` for a tie).
        max_refused: How many rows may be refused; None for any number.

    Returns:
        The manifest; a tie has no label but its votes.

    Raises:
        ManifestError: A folder is missing, a table cannot be read, or more rows were refused than
            allowed.
    """
    reading = _open(root, KEMDY19, SEGMENT_19, brackets)
    reading.signals = cut_signals(
        reading.root,
        Path(prepared).expanduser(),
        SEGMENT_19,
        lambda table, segment: _letter(table) in (segment[-4], ""),
        reading.handled,
    )
    rules = Rules(classes, label_map or {}, where or {}, max_refused)
    annotations = _annotations_19(reading, own=perspective == "speaker")
    return _finish(reading, annotations, rules, Path(prepared).expanduser(), "kemdy19")


def read_kemdy20(
    root: str,
    *,
    prepared: str,
    brackets: Brackets = "content",
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    max_refused: int | None = 0,
) -> Manifest:
    """Reads KEMDy20: 40 sessions, each of two people who talk after six videos; mostly neutral.

    Args:
        root: The folder with `annotation`, `wav`, `EDA`, `IBI` and `TEMP`, or the one above it, in
            which the newest version is taken.
        prepared: Folder that the cut signals are written to.
        brackets: What becomes of words in parentheses (cut speech): kept with them, without, or
            dropped.
        classes: The declared classes; None to accept all seven emotions.
        label_map: An emotion to another class.
        where: Column to the value, or values, to keep; there are `session`, `gender`, `scenario`
            and `label_raw` (`angry;neutral` for a tie).
        max_refused: How many rows may be refused; None for any number.

    Returns:
        The manifest; a tie has no label but its votes.

    Raises:
        ManifestError: A folder is missing, a table cannot be read, or more rows were refused than
            allowed.
    """
    reading = _open(root, KEMDY20, SEGMENT_20, brackets)
    reading.signals = cut_signals(
        reading.root,
        Path(prepared).expanduser(),
        SEGMENT_20,
        lambda table, segment: segment.rpartition("_")[0] == table.stem,
        reading.handled,
    )
    rules = Rules(classes, label_map or {}, where or {}, max_refused)
    annotations = (
        one
        for table in _tables(reading)
        for one in read_annotations(table, SEGMENT_20, reading.handled, reading.refused)
    )
    return _finish(reading, annotations, rules, Path(prepared).expanduser(), "kemdy20")


def _annotations_19(reading: _Reading, *, own: bool) -> Iterator[Annotation]:
    """The rows of the speaker's own file, or those of the other's."""
    for table in _tables(reading):
        letter = _letter(table)
        annotations = read_annotations(table, SEGMENT_19, reading.handled, reading.refused)
        duration_s = partial(_duration_s, reading)
        for one in fix_speaker_letters(annotations, letter, duration_s, reading.handled):
            if (one.segment[-4] == letter) is own:
                yield one


def _open(
    root: str, known: CorpusFolder, segment_id: re.Pattern[str], brackets: Brackets
) -> _Reading:
    folder = find_folder(root, known)
    clean = TextPreparation(unicode_form="NFC", markers=MARKERS, brackets=brackets)
    reading = _Reading(folder, segment_id, clean)
    reading.files = {"wav": {}, "txt": {}}
    for path in sorted(_walk(folder / "wav")):
        kind = path.suffix.lower()[1:]
        if kind in reading.files and segment_id.fullmatch(path.stem):
            reading.files[kind].setdefault(path.stem, path)
    return reading


def _walk(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _tables(reading: _Reading) -> list[Path]:
    return sorted((reading.root / "annotation").glob("*.csv"))


def _letter(table: Path) -> str:
    found = FILE_19.search(table.stem)
    return found.group(1) if found else ""


def _duration_s(reading: _Reading, segment: str) -> float | None:
    """Length of a segment's audio; None without a readable header."""
    try:
        return float(soundfile.info(reading.files["wav"][segment]).duration)
    except (KeyError, OSError, RuntimeError):
        return None


def _finish(
    reading: _Reading, rows: Iterable[Annotation], rules: Rules, signals_root: Path, corpus: str
) -> Manifest:
    return build_manifest(
        _usable(reading, rows, corpus),
        reading.root,
        rules,
        reading.refused,
        handled=reading.handled,
        signals_root=signals_root,
    )


def _usable(
    reading: _Reading, annotations: Iterable[Annotation], corpus: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of segments that have a file, counting what is odd about them."""
    lacking = set(reading.files["wav"])
    for one in annotations:
        lacking.discard(one.segment)
        row = _row(one, reading, corpus)
        if row["audio"] is None and one.segment not in reading.files["txt"]:
            reading.refused.append(RejectedRow(one.place, "neither wav nor txt", one.segment))
        else:
            reading.handled.update(_oddities(row))
            yield one.place, row
    reading.handled["audio without an annotation"] += len(lacking)


def _row(annotation: Annotation, reading: _Reading, corpus: str) -> dict[str, Any]:
    segment = annotation.segment
    session, scenario, last, *_ = segment.split("_")
    person = f"{session}{last[0]}" if corpus == "kemdy19" else last
    raw = _text(segment, reading)
    wav = reading.files["wav"].get(segment)
    return {
        "utterance_id": segment,
        "corpus": corpus,
        "speaker": person,
        "dialogue": f"{session}_{scenario}",
        "audio": wav.relative_to(reading.root).as_posix() if wav else None,
        "text": (reading.clean(raw) or None) if raw else None,
        "text_raw": raw,
        "signals": reading.signals.get(segment),
        "label": annotation.label,
        "votes": parse_votes(annotation),
        "valence": annotation.valence,
        "arousal": annotation.arousal,
        "label_raw": annotation.emotion or None,
        "session": session,
        "gender": "female" if person[-1] == "F" else "male",
        "scenario": scenario,
    }


def _text(segment: str, reading: _Reading) -> str | None:
    path = reading.files["txt"].get(segment)
    if path is None:
        return None
    try:
        text, encoding = decode(path.read_bytes())
    except UnicodeDecodeError:
        reading.handled["text that is neither UTF-8 nor cp949"] += 1
        return None
    reading.handled[f"text in {encoding}"] += 1
    return text.strip("\r\n")


def _oddities(row: Mapping[str, Any]) -> Iterator[str]:
    if TIE in (row["label_raw"] or ""):
        yield "tie"
    elif row["label"] is None:
        yield "no emotion"
    elif row["votes"] and max(row["votes"], key=_count)["count"] > _votes(row, row["label"]):
        yield "label that is not the majority of the votes"
    if row["audio"] is None:
        yield "no wav"
    if row["text"] is None:
        yield "no text"
    if not row["signals"]:
        yield "no signals"


def _count(vote: Mapping[str, Any]) -> int:
    return int(vote["count"])


def _votes(row: Mapping[str, Any], label: str) -> int:
    return next((_count(vote) for vote in row["votes"] if vote["label"] == label), 0)
