"""KEMDy19 and KEMDy20 (ETRI): Korean dialogues with ten annotators and wrist physiology.

Noh and Jeong, "KEMDy19: Korean emotion multi-modal dataset" and "KEMDy20" (ETRI, 2021). Both need a
licence of ETRI. They are read as published, errors included.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import soundfile

from polymodal.corpora._base import ReaderOptions, build_manifest
from polymodal.corpora.cells import Row
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
# Published as KEMDy19_v1_3, KEMDy20_v1_1 and KEMDy20_v1_2.
KEMDY19 = CorpusFolder("KEMDy19", names=("KEMDy19",), contents=("annotation/*.csv",))
KEMDY20 = CorpusFolder("KEMDy20", names=("KEMDy20",), contents=("annotation/*.csv",))
Brackets = Literal["keep", "content", "drop"]


@dataclass
class _Reading:
    """A corpus while it is read; `files` is suffix to segment to file."""

    corpus: str
    root: Path
    prepared: Path
    segment_id: re.Pattern[str]
    clean: TextPreparation
    handled: Counter[str] = field(default_factory=Counter)
    rejected: list[RejectedRow] = field(default_factory=list)
    files: dict[str, dict[str, Path]] = field(default_factory=lambda: {"wav": {}, "txt": {}})
    signals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def annotations(self) -> Iterator[tuple[Path, list[Annotation]]]:
        """Yield each annotation table with its rows."""
        for table in sorted((self.root / "annotation").glob("*.csv")):
            yield table, read_annotations(table, self.segment_id, self.handled, self.rejected)

    def manifest(self, annotations: Iterable[Annotation], options: ReaderOptions) -> Manifest:
        rows, cut = _usable_rows(self, annotations), self.prepared
        return build_manifest(
            rows, self.root, options, self.rejected, handled=self.handled, signals_root=cut
        )


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
    """Read KEMDy19: 20 sessions, each with two actors, six scripted and four free dialogues.

    The F file and the M file of a session both list every segment: the row in the file of the
    speaker's own letter holds what the speaker felt, the other what the listener felt. A tie has
    votes, but no label.

    `root` is the folder with `annotation`, `wav`, `ECG`, `EDA` and `TEMP`, or its parent, of which
    the newest version is used. Cut signals are written to `prepared`. `perspective` is whose
    emotion is the label. Words in parentheses (cut speech) are kept, their content is, or they are
    dropped, as `brackets` says. `where` also knows `session`, `gender`, `scenario` and `label_raw`
    (`angry;neutral` for a tie). The other options are those of `ReaderOptions`.

    Raises:
        ManifestError: A folder is missing, a table cannot be read, or more rows were rejected than
            allowed.
    """
    reading = _open(KEMDY19, root, prepared, SEGMENT_19, brackets, _is_by_wearer_19)
    annotations = _annotations_19(reading, from_speaker=perspective == "speaker")
    return reading.manifest(annotations, ReaderOptions(classes, label_map, where, max_refused))


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
    """Read KEMDy20: 40 sessions, each of two people who talk after six videos; mostly neutral.

    The options are those of `read_kemdy19`, without `perspective`.

    Raises:
        ManifestError: A folder is missing, a table cannot be read, or more rows were rejected than
            allowed.
    """
    reading = _open(KEMDY20, root, prepared, SEGMENT_20, brackets, _is_by_wearer_20)
    annotations = (annotation for _, rows in reading.annotations() for annotation in rows)
    return reading.manifest(annotations, ReaderOptions(classes, label_map, where, max_refused))


def _annotations_19(reading: _Reading, *, from_speaker: bool) -> Iterator[Annotation]:
    """Yield the rows of the speakers' own files, or those of the listeners'."""
    duration_s = partial(_duration_s, reading)
    for table, annotations in reading.annotations():
        letter = _letter(table)
        for annotation in fix_speaker_letters(annotations, letter, duration_s, reading.handled):
            if (annotation.segment[-4] == letter) is from_speaker:
                yield annotation


def _open(
    corpus_folder: CorpusFolder,
    root: str,
    prepared: str,
    segment_id: re.Pattern[str],
    brackets: Brackets,
    belongs_to: Callable[[Path, str], bool],
) -> _Reading:
    folder, target = find_folder(root, corpus_folder), Path(prepared).expanduser()
    clean = TextPreparation(unicode_form="NFC", markers=MARKERS, brackets=brackets)
    reading = _Reading(corpus_folder.corpus.lower(), folder, target, segment_id, clean)
    paths = (Path(parent, name) for parent, _, names in os.walk(folder / "wav") for name in names)
    for path in sorted(paths):
        kind = path.suffix.lower()[1:]
        if kind in reading.files and segment_id.fullmatch(path.stem):
            reading.files[kind].setdefault(path.stem, path)
    reading.signals = cut_signals(folder, target, segment_id, belongs_to, reading.handled)
    return reading


def _is_by_wearer_19(table: Path, segment: str) -> bool:
    return _letter(table) in (segment[-4], "")


def _is_by_wearer_20(table: Path, segment: str) -> bool:
    return segment.rpartition("_")[0] == table.stem


def _letter(table: Path) -> str:
    match = FILE_19.search(table.stem)
    return match.group(1) if match else ""


def _duration_s(reading: _Reading, segment: str) -> float | None:
    """Return the length of a segment's audio; None without a readable header."""
    try:
        return float(soundfile.info(reading.files["wav"][segment]).duration)
    except (KeyError, OSError, RuntimeError):
        return None


def _usable_rows(reading: _Reading, annotations: Iterable[Annotation]) -> Iterator[tuple[str, Row]]:
    """Yield the rows of segments that have a file, and count oddities."""
    unlisted = set(reading.files["wav"])
    for annotation in annotations:
        segment, location = annotation.segment, annotation.location
        unlisted.discard(segment)
        row = _row(annotation, reading)
        if row["audio"] is None and segment not in reading.files["txt"]:
            reading.rejected.append(RejectedRow(location, "neither wav nor txt", segment))
        else:
            reading.handled.update(_oddities(row))
            yield location, row
    reading.handled["audio without an annotation"] += len(unlisted)


def _row(annotation: Annotation, reading: _Reading) -> Row:
    segment, corpus = annotation.segment, reading.corpus
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
    counts = {vote["label"]: vote["count"] for vote in row["votes"] or ()}
    if TIE in (row["label_raw"] or ""):
        yield "tie"
    elif row["label"] is None:
        yield "no emotion"
    elif counts and max(counts.values()) > counts.get(row["label"], 0):
        yield "label that is not the majority of the votes"
    yield from (f"no {key}" for key in ("text", "signals") if not row[key])
    if row["audio"] is None:
        yield "no wav"
