"""Folders of the Empatica E4 wristband, one a person, and a table of labelled intervals.

Layout of the device: `EDA.csv` and `TEMP.csv` begin with the start (seconds since 1970) and the
rate; `IBI.csv` begins with the start, then says seconds since it and the interval of each beat.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.corpora._base import Rules, build_manifest
from polymodal.corpora.locating import find_folder_of
from polymodal.corpora.table import read_cells
from polymodal.errors import ManifestError, nearest
from polymodal.schemas.manifest import Manifest, RejectedRow
from polymodal.security.files import atomic_write

EVENTS = "IBI"
COLUMNS = ("subject", "start", "end", "label")


@dataclass(frozen=True)
class Recording:
    """What one file of the device holds.

    Args:
        start_s: When it began, in seconds since 1970.
        rate_hz: Samples a second; None for heart beats.
        values: `[sample]`, or `[beat, 2]`: seconds since the start and interval.
    """

    start_s: float
    rate_hz: float | None
    values: np.ndarray


@dataclass(frozen=True)
class Window:
    """A stretch of time with one label.

    Args:
        person: Name of the person's folder.
        start_s: When it begins, in seconds since 1970.
        label: What the interval is labelled.
    """

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
    """Cuts raw recordings of the Empatica E4 into windows within labelled intervals.

    Only whole windows are taken, so that no window has two labels.

    Args:
        root: Folder with one folder a person and the table of intervals, or one with a folder of
            the corpus's name in it.
        prepared: Folder that the signals are written to as `.npy`.
        intervals: The table: `subject` (a folder's name), `start` and `end` in seconds since 1970,
            `label`.
        signals: Names of the device's files to read.
        window_s: Length of a window in seconds.
        step_s: From the start of one window to the next; windows do not overlap where it is None.
        corpus: Name of the corpus; the folder's name by default.
        classes: The declared classes; None to accept any label.
        label_map: The table's word to ours.
        where: Column to the value, or values, to keep.
        max_refused: How many windows may be refused; None for any number.

    Returns:
        The manifest: a window is an utterance without audio and text, a person the speaker.

    Raises:
        ManifestError: A folder, file or column is missing, a file is no recording of the device, a
            length is not positive, or more windows were refused than allowed.
    """
    folder = find_folder_of(intervals, root, corpus)
    if window_s <= 0 or (step_s is not None and step_s <= 0):
        raise ManifestError(
            f"corpus.window_s={window_s}, corpus.step_s={step_s}", expected="above 0"
        )
    handled: Counter[str] = Counter()
    windows = _windows(folder / intervals, window_s, step_s or window_s)
    people = {path.name for path in folder.iterdir() if (path / f"{signals[0]}.csv").is_file()}
    handled["person without a labelled interval"] = len(people - {one.person for one in windows})
    rows: list[tuple[int | str, dict[str, Any]]] = []
    refused: list[RejectedRow] = []
    target = Path(prepared).expanduser()
    for window, cut in _cut_all(folder, windows, signals, window_s, target):
        name = f"{window.person}-{window.start_s:.0f}"
        handled.update(f"window without {one}" for one in signals if one.lower() not in cut)
        if cut:
            rows.append((name, _row(name, window, window_s, cut, corpus or folder.name)))
        else:
            refused.append(RejectedRow(name, "window without a signal", f"{window.label}"))
    rules = Rules(classes, label_map or {}, where or {}, max_refused)
    return build_manifest(rows, folder, rules, refused, handled=handled, signals_root=target)


def read_recording(path: Path) -> Recording | None:
    """Reads one file of the device.

    Args:
        path: Such as `EDA.csv`.

    Returns:
        The recording; None where the file is missing or empty.

    Raises:
        ManifestError: It is no such file.
    """
    lines = path.read_text(encoding="utf-8-sig").split() if path.is_file() else []
    if not lines:
        return None
    try:
        if path.stem == EVENTS:  # its first line is `start, IBI`, in two words
            body = [word.split(",") for word in lines[1:] if word != EVENTS]
            values = np.array(body, dtype=np.float64).reshape(-1, 2)
            return Recording(float(lines[0].rstrip(",").split(",")[0]), None, values)
        return Recording(float(lines[0]), float(lines[1]), np.array(lines[2:], dtype=np.float64))
    except (ValueError, IndexError):
        raise ManifestError(
            f"{path} is no recording of the E4",
            expected="the start in seconds since 1970, the rate, then one number a line; or the "
            "start and IBI, then offset and interval",
            hint="take the file as the device wrote it, or leave its name out of corpus.signals",
        ) from None


def _windows(table: Path, window_s: float, step_s: float) -> list[Window]:
    frame = read_cells(table, "utf-8", "corpus.intervals")
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise ManifestError(
            f"{table} has no column {missing[0]!r}", hint=nearest(missing[0], frame.columns)
        )
    windows = []
    for number, (person, start, end, label) in enumerate(frame.select(COLUMNS).iter_rows(), 1):
        try:
            start_s, end_s = float(start), float(end)
            if not (math.isfinite(start_s) and math.isfinite(end_s)):
                raise ValueError
        except (TypeError, ValueError):
            raise ManifestError(
                f"{table}, row {number}: start is {start!r}, end is {end!r}",
                expected="seconds since 1970",
            ) from None
        if not person or Path(person).name != person or person == "..":
            raise ManifestError(
                f"{table}, row {number}: subject is {person!r}", expected="the name of a folder"
            )
        count = int((end_s - start_s - window_s) // step_s) + 1
        windows += [Window(person, start_s + k * step_s, label) for k in range(max(0, count))]
    return windows


def _cut_all(
    folder: Path, windows: Sequence[Window], signals: Sequence[str], window_s: float, target: Path
) -> Iterator[tuple[Window, dict[str, dict[str, Any]]]]:
    """Each window with its signals, person by person."""
    for person in sorted({window.person for window in windows}):
        own = [window for window in windows if window.person == person]
        yield from zip(own, _cut(folder / person, own, signals, window_s, target), strict=True)


def _cut(
    folder: Path, windows: Sequence[Window], signals: Sequence[str], window_s: float, target: Path
) -> list[dict[str, dict[str, Any]]]:
    """Each window's signals; the samples of all windows lie one behind another in a file."""
    cuts: list[dict[str, dict[str, Any]]] = [{} for _ in windows]
    for signal in signals:
        recording = read_recording(folder / f"{signal}.csv")
        if recording is None:
            continue
        parts = [_part(recording, window.start_s, window_s) for window in windows]
        values = np.concatenate(parts).astype(np.float32)
        # Named by its content: other windows of the same recording are another file.
        path = f"{folder.name}/{signal}-{hashlib.sha256(values.tobytes()).hexdigest()[:12]}.npy"
        (target / folder.name).mkdir(parents=True, exist_ok=True)
        if not (target / path).is_file():
            with atomic_write(target / path) as beside:
                np.save(beside, values)
        start = 0
        for cut, part in zip(cuts, parts, strict=True):
            if len(part):
                span = {"start": start, "length": len(part), "rate_hz": recording.rate_hz}
                cut[signal.lower()] = {"name": signal.lower(), "path": path, **span}
            start += len(part)
    return cuts


def _part(recording: Recording, start_s: float, window_s: float) -> np.ndarray:
    """The values of a window; none where the recording does not cover it whole."""
    after_s = start_s - recording.start_s
    if recording.rate_hz is None:
        offsets = recording.values[:, 0]
        inside = recording.values[(offsets >= after_s) & (offsets < after_s + window_s)]
        return np.asarray(inside - np.array([after_s, 0.0]))
    first, length = round(after_s * recording.rate_hz), round(window_s * recording.rate_hz)
    covered = first >= 0 and first + length <= len(recording.values)
    return recording.values[first : first + length] if covered else recording.values[:0]


def _row(
    name: str, window: Window, window_s: float, cut: Mapping[str, Any], corpus: str
) -> dict[str, Any]:
    return {
        "utterance_id": name,
        "corpus": corpus,
        "speaker": window.person,
        "duration_s": window_s,
        "signals": [*cut.values()],
        "label": window.label,
    }
