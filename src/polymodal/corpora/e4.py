"""Recordings of the Empatica E4 wristband, a folder a person, with a table of labelled intervals.

Format of the device: `EDA.csv` and `TEMP.csv` start with the time (seconds since 1970) and the
rate; `IBI.csv` starts with the time, followed by offset and interval of each beat in seconds.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.corpora._base import ReaderOptions, build_manifest
from polymodal.corpora.cells import Row, read_cells
from polymodal.corpora.locating import find_folder_of
from polymodal.errors import ManifestError, nearest
from polymodal.schemas.keys import clean_key
from polymodal.schemas.manifest import Manifest, RejectedRow
from polymodal.security.files import atomic_write

EVENTS = "IBI"
Signals = dict[str, dict[str, Any]]  # of a window, by name
COLUMNS = ("subject", "start", "end", "label")


@dataclass(frozen=True)
class Recording:
    """One file of the device."""

    start_s: float  # in seconds since 1970
    rate_hz: float | None  # samples a second; None for heart beats
    values: np.ndarray  # `[sample]`, or `[beat, 2]`: offset and interval in seconds


@dataclass(frozen=True)
class Window:
    """A window with one label: the person's folder, and its start in seconds since 1970."""

    person: str
    start_s: float
    label: str


def read_e4(
    root: str,
    *,
    prepared: str,
    intervals: str = "intervals.csv",
    signals: Sequence[str] = ("EDA", "TEMP", "IBI"),
    window_s: float = 60.0,
    step_s: float | None = None,
    corpus: str | None = None,
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    max_refused: int | None = 0,
) -> Manifest:
    """Cut raw recordings of the Empatica E4 into windows within labelled intervals.

    Only complete windows are used, so that none has two labels. A window is an utterance without
    audio and text, a person a speaker.

    `root` is the folder with a folder a person and the table of intervals, or its parent. The table
    has the columns `subject` (name of a folder), `start` and `end` in seconds since 1970, and
    `label`. `signals` are the names of the device's files to read, which are written as `.npy` to
    `prepared`. A window has `window_s` seconds and begins `step_s` after the one before, None for
    windows without overlap. `corpus` is the name, by default the folder's. The other options are
    those of `ReaderOptions`.

    Raises:
        ManifestError: A folder, file or column is missing or not valid, a length is not positive,
            or more windows were rejected than allowed.
    """
    folder = find_folder_of(intervals, root, corpus)
    if window_s <= 0 or (step_s is not None and step_s <= 0):
        message = f"corpus.window_s={window_s}, corpus.step_s={step_s}"
        raise ManifestError(message, expected="above 0")
    target, name_of_corpus = Path(prepared).expanduser(), corpus or folder.name
    windows = _windows(folder / intervals, window_s, step_s or window_s)
    labelled = {window.person for window in windows}
    people = {path.name for path in folder.iterdir() if (path / f"{signals[0]}.csv").is_file()}
    handled = Counter({"person without a labelled interval": len(people - labelled)})
    rows: list[tuple[int | str, Row]] = []
    rejected: list[RejectedRow] = []
    for window, cut in _cut_all(folder, windows, signals, window_s, target):
        name = f"{window.person}-{window.start_s:.0f}"
        missing = [signal for signal in signals if signal.lower() not in cut]
        handled.update(f"window without {signal}" for signal in missing)
        if cut:
            ids = {"utterance_id": name, "corpus": name_of_corpus, "speaker": window.person}
            data = {"duration_s": window_s, "signals": [*cut.values()], "label": window.label}
            rows.append((name, ids | data))
        else:
            rejected.append(RejectedRow(name, "window without a signal", f"{window.label}"))
    options = ReaderOptions(classes, label_map, where, max_refused)
    return build_manifest(rows, folder, options, rejected, handled=handled, signals_root=target)


def read_recording(path: Path) -> Recording | None:
    """Read one file of the device, such as `EDA.csv`; None if it is missing or empty.

    Raises:
        ManifestError: The file is not a recording of the device.
    """
    lines = path.read_text(encoding="utf-8-sig").split() if path.is_file() else []
    if not lines:
        return None
    try:
        if path.stem == EVENTS:  # its first line is `start, IBI`
            body = [word.split(",") for word in lines[1:] if word != EVENTS]
            values = np.array(body, dtype=np.float64).reshape(-1, 2)
            return Recording(float(lines[0].rstrip(",").split(",")[0]), None, values)
        return Recording(float(lines[0]), float(lines[1]), np.array(lines[2:], dtype=np.float64))
    except (ValueError, IndexError):
        raise ManifestError(
            f"{path} is not a recording of the E4",
            expected="the start in seconds since 1970, the rate, then one number a line; or the "
            "start and IBI, then offset and interval",
            hint="take the file as the device wrote it, or leave its name out of corpus.signals",
        ) from None


def _windows(table: Path, window_s: float, step_s: float) -> list[Window]:
    cells = read_cells(table, "utf-8", "corpus.intervals")
    if missing := [name for name in COLUMNS if name not in cells.columns]:
        hint = nearest(missing[0], cells.columns)
        raise ManifestError(f"{table} has no column {missing[0]!r}", hint=hint)
    windows = []
    for number, row in enumerate(cells.rows(), 1):
        person, start, end, label = (str(row.get(name) or "") for name in COLUMNS)
        person = person and clean_key(person)
        try:
            start_s, end_s = float(start), float(end)
            if not (math.isfinite(start_s) and math.isfinite(end_s)):
                raise ValueError
        except (TypeError, ValueError):
            message = f"{table}, row {number}: start is {start!r}, end is {end!r}"
            raise ManifestError(message, expected="seconds since 1970") from None
        if not person or Path(person).name != person or person == "..":
            message = f"{table}, row {number}: subject is {person!r}"
            raise ManifestError(message, expected="the name of a folder")
        count = int((end_s - start_s - window_s) // step_s) + 1
        windows += [Window(person, start_s + k * step_s, label) for k in range(max(0, count))]
    return windows


def _cut_all(
    folder: Path, windows: Sequence[Window], signals: Sequence[str], window_s: float, target: Path
) -> Iterator[tuple[Window, Signals]]:
    for person in sorted({window.person for window in windows}):
        of_person = [window for window in windows if window.person == person]
        cuts = _cut(folder / person, of_person, signals, window_s, target)
        yield from zip(of_person, cuts, strict=True)


def _cut(
    folder: Path, windows: Sequence[Window], signals: Sequence[str], window_s: float, target: Path
) -> list[Signals]:
    """Return each window's signals; the samples of all windows are concatenated in one file."""
    cuts: list[Signals] = [{} for _ in windows]
    for signal in signals:
        recording = read_recording(folder / f"{signal}.csv")
        if recording is None:
            continue
        slices = [_slice(recording, window.start_s, window_s) for window in windows]
        values = np.concatenate(slices).astype(np.float32)
        # Named by its content: other windows of the same recording are another file.
        path = f"{folder.name}/{signal}-{hashlib.sha256(values.tobytes()).hexdigest()[:12]}.npy"
        (target / folder.name).mkdir(parents=True, exist_ok=True)
        if not (target / path).is_file():
            with atomic_write(target / path) as tmp_path:
                np.save(tmp_path, values)
        start, name = 0, signal.lower()
        for cut, length in zip(cuts, map(len, slices), strict=True):
            if length:
                span = {"start": start, "length": length, "rate_hz": recording.rate_hz}
                cut[name] = {"name": name, "path": path, **span}
            start += length
    return cuts


def _slice(recording: Recording, start_s: float, window_s: float) -> np.ndarray:
    """Return the values of a window; none if the recording does not cover it completely."""
    after_s = start_s - recording.start_s
    if recording.rate_hz is None:
        offsets = recording.values[:, 0]
        inside = recording.values[(offsets >= after_s) & (offsets < after_s + window_s)]
        return np.asarray(inside - np.array([after_s, 0.0]))
    first, length = round(after_s * recording.rate_hz), round(window_s * recording.rate_hz)
    covered = first >= 0 and first + length <= len(recording.values)
    return recording.values[first : first + length] if covered else recording.values[:0]
