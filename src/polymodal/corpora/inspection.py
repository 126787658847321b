"""Opens every file behind a manifest once, measures it, and says what would spoil a training run.

Files of one utterance and long files with many utterances are read alike: each file once, in
blocks, so that memory does not grow with its length.
"""

import hashlib
import math
import os
import stat
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import soundfile

from polymodal.contracts.manifest import Manifest
from polymodal.errors import DataError, ManifestError
from polymodal.safety.paths import inside

FAULTS = frozenset(
    {
        "audio changed",
        "audio not finite",
        "empty audio",
        "missing audio",
        "missing signal",
        "path outside the corpus",
        "signal not finite",
        "signal too short",
        "truncated audio",
        "unreadable audio",
        "unreadable signal",
        "unusable times",
    }
)
EXAMPLES = 100
LISTED_SPEAKERS = 100
NONE, OTHERS, ALL = "(none)", "(others)", "all"
BLOCK = 1 << 17  # samples decoded at a time: 8 s at 16 kHz, which the cache of a core holds
VALUES_AT_ONCE = 1 << 20
ROWS_AT_ONCE = 32
FRAME_S = 0.01  # digital silence is looked for in frames of this length
SHORTEST_S = 0.025  # 400 samples at 16 kHz: what one frame of most speech encoders takes
SHORTFALL_S = 0.1  # as the reader of training allows
SILENT_SHARE = 0.5
LOWEST_DB = -120.0
FULL_SCALE = 32_768
CLIPPED = 0.999
# The largest sample of codes that end below full scale.
CEILINGS = {"PCM_S8": 127 / 128, "PCM_U8": 127 / 128, "ULAW": 32_124 / 32_768, "ALAW": 63 / 64}
WHOLE_NUMBERS = {"PCM_16", *CEILINGS}  # read as int16, where no sample can be NaN
CHUNK_SIZES: Mapping[bytes, tuple[bytes, Literal["little", "big"]]] = {
    b"RIFF": (b"data", "little"),
    b"FORM": (b"SSND", "big"),
}
UNKNOWN_SIZE = 0x7FFF_F000  # what programs that write to a pipe put there, or above
CONTINUED = "\u0080-\u00bf\u2018-\u203a\u20ac\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192"
BROKEN_TEXT = (
    "\ufffd"
    f"|[\u00c2\u00c3][{CONTINUED}]|\u00e2\u20ac|\u00ef\u00bb\u00bf"  # UTF-8 read as Latin-1
    f"|(?:[\u00ea-\u00ed][{CONTINUED}\u02c6\u02dc\u2013\u2014\u2122]{{2}}){{2}}"
    "|(?:[\u00b0-\u00c8][\u00a1-\u00fe]){3}"  # EUC-KR read as Latin-1
)
CONTROL = "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]"
MEASURES: Mapping[str, Any] = {
    "seconds": pl.Float64,
    "difference_s": pl.Float64,
    "rms_db": pl.Float64,
    "peak": pl.Float64,
    "clipped_share": pl.Float64,
    "silent_share": pl.Float64,
    "sampling_rate_hz": pl.Int64,
    "channels": pl.Int64,
}
SPLIT_ORDER = ("train", "val", "test")

Severity = Literal["fault", "warning"]
Verdict = Literal["usable", "usable with warnings", "not usable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one utterance.

    Args:
        utterance_id: The utterance.
        rule: Short name of what was found, such as `truncated audio`.
        severity: A `fault` ends or falsifies a training run, a `warning` should be looked at.
        detail: What was found, with its figures.
    """

    utterance_id: str
    rule: str
    severity: Severity
    detail: str


@dataclass(frozen=True)
class ClassTable:
    """How many utterances there are of each class, in each split, by each speaker.

    Args:
        counts: Columns `label`, `split`, `speaker` and `utterances`; no row where there is none.
        absent: Class and split for every class that a split lacks.
    """

    counts: pl.DataFrame
    absent: tuple[tuple[str, str], ...] = ()

    @property
    def labels(self) -> list[str]:
        """The classes by name; utterances without one last."""
        return sorted(self.counts["label"].unique(), key=lambda name: (name == NONE, name))

    @property
    def splits(self) -> list[str]:
        """The splits: train, val, test, then others by name."""
        return sorted(self.counts["split"].unique(), key=_split_order)

    def totals(self, *columns: str) -> dict[tuple[str, ...], int]:
        """Adds the counts up.

        Args:
            columns: What to keep apart, such as `label` and `split`.

        Returns:
            Values of these columns to the number of utterances.
        """
        counted = self.counts.group_by(columns).agg(pl.col("utterances").sum())
        return {tuple(row[:-1]): row[-1] for row in counted.sort(columns).iter_rows()}

    def listed(self, limit: int = LISTED_SPEAKERS) -> "ClassTable":
        """Returns a table that stays small: the largest speakers, and all others as one.

        Args:
            limit: How many speakers are named.

        Returns:
            The table; itself where there are no more speakers.
        """
        sizes = self.totals("speaker")
        if len(sizes) <= limit:
            return self
        largest = sorted(sizes, key=lambda one: (-sizes[one], one))[:limit]
        named = [speaker for (speaker,) in largest]
        speaker = pl.when(pl.col("speaker").is_in(named)).then("speaker").otherwise(pl.lit(OTHERS))
        counts = self.counts.with_columns(speaker.alias("speaker"))
        return ClassTable(_counted(counts, pl.col("utterances").sum()), self.absent)

    def to_json(self) -> dict[str, Any]:
        """Returns the counts as plain values, the speakers listed as in `listed`."""
        return {
            "labels": self.labels,
            "splits": self.splits,
            "absent": [{"label": label, "split": split} for label, split in self.absent],
            "totals": [
                {"label": label, "split": split, "utterances": count}
                for (label, split), count in self.totals("label", "split").items()
            ],
            "counts": self.listed().counts.to_dicts(),
        }


@dataclass(frozen=True)
class Inspection:
    """What was found behind a manifest.

    Args:
        findings: Faults first, then by rule and utterance.
        num_utterances: Rows of the manifest.
        seconds: Seconds of audio that were decoded for them.
        wall_s: How long that took.
        measures: One row an utterance, in the manifest's order: `utterance_id` and the columns of
            `MEASURES`; null where nothing could be measured.
    """

    findings: tuple[Finding, ...]
    num_utterances: int
    seconds: float
    wall_s: float
    measures: pl.DataFrame = field(repr=False)

    def by_rule(self) -> dict[str, list[Finding]]:
        """Returns the findings of each rule, faults first."""
        return {rule: list(found) for rule, found in groupby(self.findings, lambda one: one.rule)}

    def num_with(self, severity: Severity) -> int:
        """Returns how many utterances have a finding of this severity.

        Args:
            severity: `fault` or `warning`.

        Returns:
            The number of utterances, each counted once.
        """
        return len({one.utterance_id for one in self.findings if one.severity == severity})

    @property
    def verdict(self) -> Verdict:
        """Whether the corpus can be used; one fault suffices that it cannot."""
        if not self.findings:
            return "usable"
        return "not usable" if self.findings[0].severity == "fault" else "usable with warnings"

    @property
    def summary(self) -> str:
        """The verdict's reason in one sentence."""
        if not self.findings:
            return f"nothing is wrong with any of {self.num_utterances} utterances"
        severity = self.findings[0].severity
        counts = Counter(one.rule for one in self.findings if one.severity == severity)
        rules = ", ".join(f"{rule} {count}" for rule, count in counts.most_common())
        others = self.num_with("warning") if severity == "fault" else 0
        more = f"; {others} have a warning" if others else ""
        return (
            f"{self.num_with(severity)} of {self.num_utterances} utterances have a {severity} "
            f"({rules}){more}"
        )

    def to_json(self, classes: ClassTable | None = None) -> dict[str, Any]:
        """Returns everything as plain values for a JSON file.

        Args:
            classes: What `class_table` returned.

        Returns:
            Verdict, counts and examples by rule, distributions, and the classes if given.
        """
        return {
            "verdict": self.verdict,
            "summary": self.summary,
            "utterances": self.num_utterances,
            "with_fault": self.num_with("fault"),
            "with_warning": self.num_with("warning"),
            "audio_s": round(self.seconds, 3),
            "wall_s": round(self.wall_s, 3),
            "rules": {rule: _rule_json(found) for rule, found in self.by_rule().items()},
            "distributions": {
                name: distribution(self.measures[name])
                for name in ("seconds", "rms_db", "peak", "clipped_share", "silent_share")
            },
            "sampling_rates_hz": _frequencies(self.measures["sampling_rate_hz"]),
            "channels": _frequencies(self.measures["channels"]),
            "classes": None if classes is None else classes.to_json(),
        }


def inspect_manifest(
    manifest: Manifest,
    *,
    num_workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    silence_db: float = -60.0,
    clipping_share: float = 1e-3,
    sampling_rate_hz: int | None = None,
) -> Inspection:
    """Opens every audio and signal file of a manifest and reads every text.

    Args:
        manifest: The corpus.
        num_workers: Threads that decode; one a core where it is not given.
        progress: Called with the utterances done so far and their total.
        silence_db: Utterances quieter than this are called silent, in dBFS (RMS).
        clipping_share: Share of clipped samples from which an utterance is called clipped.
        sampling_rate_hz: The rate that is wanted; the most frequent one where it is not given.

    Returns:
        What was found; the number of workers does not move it.

    Raises:
        DataError: `num_workers` is below 1.
    """
    begun_s = time.perf_counter()
    workers = (os.cpu_count() or 1) if num_workers is None else num_workers
    if workers < 1:
        raise DataError(f"num_workers is {workers}", expected="1 or more")
    values = np.full((len(manifest), len(MEASURES)), np.nan)
    audio = _AudioCheck(manifest.root, values, silence_db, clipping_share)
    signals = _SignalCheck(manifest.signals_root or manifest.root)
    frame = manifest.frame.with_row_index("row")
    jobs: list[_Job] = [(audio, part) for part in _parts(_audio_rows(frame), "audio")]
    jobs += [(signals, part) for part in _parts(_signal_rows(frame), "path")]
    findings = _text_findings(frame)
    findings += _absent(frame, "audio")
    for found in _run(jobs, workers, len(manifest), progress):
        findings += found
    measures = _measures(frame["utterance_id"], values)
    findings += _mixed(measures, "sampling_rate_hz", sampling_rate_hz)
    findings += _mixed(measures, "channels", None)
    findings.sort(key=lambda one: (one.severity, one.rule, one.utterance_id, one.detail))
    return Inspection(
        findings=tuple(findings),
        num_utterances=len(manifest),
        seconds=float(measures["seconds"].sum()),
        wall_s=time.perf_counter() - begun_s,
        measures=measures,
    )


def class_table(manifest: Manifest, split: pl.Series | None = None) -> ClassTable:
    """Counts the utterances by class, split and speaker.

    Args:
        manifest: The corpus.
        split: Name of the split of each row; None where the corpus is not parted.

    Returns:
        The counts, and which class is absent from which split.

    Raises:
        ManifestError: There are more or fewer splits than rows.
    """
    if split is not None and len(split) != len(manifest):
        raise ManifestError(
            f"{len(split)} rows have a split, the manifest has {len(manifest)}",
            expected="one a row, in the manifest's order",
        )
    parts = pl.Series([ALL]).new_from_index(0, len(manifest)) if split is None else split
    frame = manifest.frame.select(
        pl.col("label").replace("", None).fill_null(NONE),
        "speaker",
        parts.cast(pl.String).fill_null(NONE).alias("split"),
    )
    table = ClassTable(_counted(frame, pl.len().cast(pl.Int64)))
    present = table.totals("label", "split")
    absent = tuple(
        (label, name)
        for label in table.labels
        for name in table.splits
        if label != NONE and name != NONE and (label, name) not in present
    )
    return ClassTable(table.counts, absent)


def distribution(values: pl.Series, bins: int = 40) -> dict[str, Any]:
    """Describes one measure of all utterances.

    Args:
        values: The measure; nulls are left out.
        bins: Number of bins of the histogram.

    Returns:
        Count, mean, quantiles, and the histogram's edges and counts.

    Example:
        >>> distribution(pl.Series([1.0, 3.0, None]))["mean"]
        2.0
    """
    numbers = values.drop_nulls().to_numpy()
    if not numbers.size:
        return {"count": 0}
    names = ("min", "p05", "median", "p95", "max")
    quantiles = np.quantile(numbers, (0, 0.05, 0.5, 0.95, 1))
    counts, edges = np.histogram(numbers, bins)
    return {
        "count": int(numbers.size),
        "mean": float(numbers.mean()),
        **dict(zip(names, quantiles.tolist(), strict=True)),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _run(
    jobs: Sequence["_Job"],
    workers: int,
    num_utterances: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[list[Finding]]:
    """Findings of each job; progress is shared out over the files that utterances name."""
    total, done = sum(part.height for _, part in jobs), 0
    pool = ThreadPoolExecutor(workers) if workers > 1 else None
    try:
        results = pool.map(_call, jobs) if pool else map(_call, jobs)
        for (_, part), found in zip(jobs, results, strict=True):
            yield found
            done += part.height
            if progress is not None:
                progress(num_utterances * done // total, num_utterances)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    if progress is not None and not jobs:
        progress(num_utterances, num_utterances)


def _parts(frame: pl.DataFrame, column: str) -> list[pl.DataFrame]:
    """Parts of some rows each that never part the rows of one file."""
    if frame.is_empty():
        return []
    begins = frame[column].ne_missing(frame[column].shift(1)).arg_true().to_numpy()
    _, first = np.unique(begins // ROWS_AT_ONCE, return_index=True)
    cuts = [*begins[first].tolist(), frame.height]
    return [frame.slice(start, stop - start) for start, stop in pairwise(cuts)]


def _audio_rows(frame: pl.DataFrame) -> pl.DataFrame:
    rows = frame.select(
        "audio",
        "row",
        "utterance_id",
        "start_s",
        "duration_s",
        "sampling_rate_hz",
        "channels",
        "audio_bytes",
        "audio_sha256",
    )
    return rows.filter(pl.col("audio").str.len_bytes() > 0).sort("audio", "row")


def _signal_rows(frame: pl.DataFrame) -> pl.DataFrame:
    signals = frame.select("utterance_id", "row", "signals").explode("signals")
    return signals.drop_nulls("signals").unnest("signals").sort("path", "row", "name")


def _measures(ids: pl.Series, values: np.ndarray) -> pl.DataFrame:
    columns = [
        pl.Series(name, values[:, place]).fill_nan(None).cast(dtype)
        for place, (name, dtype) in enumerate(MEASURES.items())
    ]
    return pl.DataFrame([ids, *columns])


def _mixed(measures: pl.DataFrame, column: str, wanted: int | None) -> list[Finding]:
    """Rows whose rate, or number of channels, is not the usual or wanted one."""
    counts = measures[column].drop_nulls().value_counts().sort("count", column, descending=True)
    if not counts.height:
        return []
    usual = wanted or counts[column][0]
    rate = column == "sampling_rate_hz"
    rule = "other sampling rate" if wanted else "mixed sampling rates" if rate else "mixed channels"
    why = "is wanted" if wanted else "is the most frequent"
    unit = " Hz" if rate else " channel(s)"
    chosen = measures.filter(pl.col(column) != usual).select("utterance_id", column)
    return [
        _finding(name, rule, f"{value}{unit}, {usual}{unit} {why}")
        for name, value in chosen.iter_rows()
    ]


def _text_findings(frame: pl.DataFrame) -> list[Finding]:
    found = _absent(frame, "text")
    text = pl.col("text")
    blank = frame.filter(text.is_not_null() & (text.str.strip_chars() == ""))
    found += [_finding(one, "empty text", "the text is blank") for one in blank["utterance_id"]]
    for rule, pattern in (
        ("broken characters", BROKEN_TEXT),
        ("control characters", CONTROL),
    ):
        matches = frame.select("utterance_id", match=text.str.extract(f"({pattern})"))
        found += [
            _finding(name, rule, f"the text holds {match!r}")
            for name, match in matches.drop_nulls().iter_rows()
        ]
    return found


def _absent(frame: pl.DataFrame, column: str) -> list[Finding]:
    """Rows without a text or audio that others have; a corpus without any has no fault."""
    lacking = frame[column].is_null() | (frame[column] == "" if column == "audio" else False)
    if lacking.all():
        return []
    names = frame["utterance_id"].filter(lacking)
    return [_finding(one, f"no {column}", f"other utterances have {column}") for one in names]


@dataclass(slots=True)
class _Piece:
    """One utterance's part of an audio file, and what has been measured of it so far."""

    row: int
    utterance_id: str
    start_s: float | None
    duration_s: float | None
    sampling_rate_hz: int | None
    channels: int | None
    audio_bytes: int | None
    audio_sha256: str | None
    first: int = 0
    stop: int = 0
    count: int = 0
    energy: float = 0.0
    peak: float = 0.0
    clipped: int = 0
    silent: int = 0
    bad_at: int | None = None

    def usable(self) -> bool:
        start, duration = self.start_s or 0.0, self.duration_s
        return 0 <= start < math.inf and (duration is None or 0 < duration < math.inf)

    def place(self, rate_hz: int, num_frames: int) -> None:
        self.first = min(round((self.start_s or 0.0) * rate_hz), num_frames)
        length = num_frames if self.duration_s is None else round(self.duration_s * rate_hz)
        self.stop = min(self.first + length, num_frames)


class _AudioCheck:
    """Checks the audio files of some rows.

    Args:
        root: Folder of the corpus.
        values: Where the measures go, `[row, measure]`; every row is written by one thread.
        silence_db: As in `inspect_manifest`.
        clipping_share: As in `inspect_manifest`.
    """

    def __init__(
        self, root: Path, values: np.ndarray, silence_db: float, clipping_share: float
    ) -> None:
        self.root, self.values = root, values
        self.silence_db, self.clipping_share = silence_db, clipping_share
        self.local = threading.local()

    def __call__(self, part: pl.DataFrame) -> list[Finding]:
        found: list[Finding] = []
        for audio, rows in groupby(part.iter_rows(), lambda row: row[0]):
            pieces = [_Piece(*row[1:]) for row in rows]
            try:
                self._file(audio, pieces, found)
            except Exception as error:  # whatever a file holds, the others are to be seen as well
                found += _all(pieces, "unreadable audio", f"{audio}: {error}")
        return found

    def _file(self, audio: str, pieces: list[_Piece], found: list[Finding]) -> None:
        try:
            path = inside(self.root, audio)
            status = path.stat()
        except DataError as error:
            found += _all(pieces, "path outside the corpus", error.found)
            return
        except (FileNotFoundError, NotADirectoryError):
            found += _all(pieces, "missing audio", f"there is no file {audio}")
            return
        if not stat.S_ISREG(status.st_mode):
            found += _all(pieces, "missing audio", f"{audio} is no file")
            return
        found += _changed(path, status.st_size, pieces)
        if not status.st_size:
            found += _all(pieces, "empty audio", f"{audio} has no byte")
            return
        with soundfile.SoundFile(path) as file:
            lost = _lost_bytes(path, status.st_size) if file.format in _CHUNKED else 0
            self._decoded(file, audio, pieces, lost, found)

    def _decoded(
        self,
        file: Any,
        audio: str,
        pieces: list[_Piece],
        lost_bytes: int,
        found: list[Finding],
    ) -> None:
        rate_hz, num_frames = file.samplerate, file.frames
        if not num_frames:
            found += _all(pieces, "empty audio", f"{audio} has no sample")
            return
        usable = [piece for piece in pieces if piece.usable()]
        for piece in usable:
            piece.place(rate_hz, num_frames)
        end, error = self._measure(file, usable)
        lost = f"{lost_bytes} bytes of {audio} are lost" if lost_bytes else ""
        if end < num_frames and not error:
            lost = f"the header of {audio} has {num_frames} samples, {end} could be decoded"
        for piece in pieces:
            details = list(_header_details(piece, file, alone=len(pieces) == 1))
            if not piece.usable():
                detail = f"from {piece.start_s} s for {piece.duration_s} s"
                details.append(("unusable times", detail))
            elif error and piece.stop > end:
                detail = f"{audio} cannot be decoded beyond {end / rate_hz:.2f} s: {error}"
                details.append(("unreadable audio", detail))
            else:
                self.values[piece.row] = _row_values(piece, file)
                details += _content_details(piece, rate_hz, lost if piece.stop >= end else "")
                details += self._level_details(piece)
            found += [_finding(piece.utterance_id, rule, detail) for rule, detail in details]

    def _measure(self, file: Any, pieces: Sequence[_Piece]) -> tuple[int, str]:
        """Reads a file once; returns where it ended (its length if all is there) and why."""
        waiting = deque(sorted(pieces, key=lambda piece: piece.first))
        active: list[_Piece] = []
        last = max((piece.stop for piece in pieces), default=0)
        block, scratch = self._buffers(file)
        position = 0
        while position < last:
            try:
                if not active and waiting[0].first - position > len(block):
                    position = file.seek(waiting[0].first)
                samples = file.read(out=block[: last - position])
            except (OSError, RuntimeError) as error:
                return position, str(error)
            end = position + len(samples)
            while waiting and waiting[0].first < end:
                active.append(waiting.popleft())
            for piece in active:
                _add(piece, file, samples[max(piece.first - position, 0) :], position, scratch)
            active = [piece for piece in active if piece.stop > end]
            if len(samples) < min(len(block), last - position):
                return end, ""
            position = end
        return file.frames, ""

    def _buffers(self, file: Any) -> tuple[np.ndarray, np.ndarray]:
        """What to decode into and to square in: the same memory for all files of a thread."""
        if not hasattr(self.local, "buffers"):
            self.local.buffers = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
        block, scratch = self.local.buffers
        dtype = np.int16 if file.subtype in WHOLE_NUMBERS else np.float32
        num_frames = max(BLOCK // file.channels, 1)
        shaped = block.view(dtype)[: num_frames * file.channels].reshape(num_frames, file.channels)
        return shaped, scratch

    def _level_details(self, piece: _Piece) -> Iterator[tuple[str, str]]:
        _, _, rms_db, peak, clipped, silent, _, _ = self.values[piece.row].tolist()
        if rms_db < self.silence_db:
            yield "silent audio", f"{rms_db:.1f} dBFS, peak {peak:.5f}"
        elif silent > SILENT_SHARE:
            yield "mostly silent", f"{silent:.0%} of it is digital silence"
        if clipped >= self.clipping_share and clipped > 0:
            yield "clipped audio", f"{clipped:.2%} of the samples are at the limit"


_Job = tuple["_AudioCheck | _SignalCheck", pl.DataFrame]
_CHUNKED = {"WAV", "WAVEX", "AIFF"}


def _call(job: _Job) -> list[Finding]:
    check, part = job
    return check(part)


def _add(piece: _Piece, file: Any, samples: np.ndarray, position: int, scratch: np.ndarray) -> None:
    """Adds a block, which begins where the piece does or goes on, to what was measured."""
    samples = samples[: piece.stop - piece.first - piece.count]
    if not len(samples):
        return
    flat = samples.reshape(-1)
    wave, scale = flat, 1
    if flat.dtype == np.int16:
        wave, scale = scratch[: flat.size], FULL_SCALE
        np.copyto(wave, flat)
    step = max(round(FRAME_S * file.samplerate), 1) * file.channels
    energy, silent = _energy(wave, step)
    if not math.isfinite(energy):
        energy = float(np.square(wave, dtype=np.float64).sum())
        finite = np.isfinite(samples).all(axis=1)
        if not finite.all() and piece.bad_at is None:
            piece.bad_at = piece.count + int(finite.argmin())
    peak = max(-int(flat.min()), int(flat.max())) if scale > 1 else float(np.abs(flat).max())
    limit = math.ceil(CEILINGS.get(file.subtype, CLIPPED) * scale) if scale > 1 else CLIPPED
    if peak >= limit:
        piece.clipped += int(np.count_nonzero(flat >= limit) + np.count_nonzero(flat <= -limit))
    piece.peak = max(piece.peak, peak / scale)
    piece.energy += energy / scale**2
    piece.silent += silent
    piece.count += len(samples)


def _energy(wave: np.ndarray, step: int) -> tuple[float, int]:
    """Sum of the squares, and how many samples lie in frames without any."""
    whole = wave.size - wave.size % step
    frames, rest = wave[:whole].reshape(-1, step), wave[whole:]
    with np.errstate(over="ignore", invalid="ignore"):
        energies = np.vecdot(frames, frames)
        remaining = float(np.dot(rest, rest))
        energy = float(energies.sum(dtype=np.float64)) + remaining
    silent = step * (len(energies) - int(np.count_nonzero(energies)))
    return energy, silent + (rest.size if not remaining else 0)


def _row_values(piece: _Piece, file: Any) -> tuple[float, ...]:
    seconds = piece.count / file.samplerate
    difference_s = math.nan if piece.duration_s is None else seconds - piece.duration_s
    num_samples = piece.count * file.channels
    levels = (math.nan,) * 4
    if num_samples and piece.bad_at is None:
        power = piece.energy / num_samples
        rms_db = max(10 * math.log10(power), LOWEST_DB) if power > 0 else LOWEST_DB
        levels = (rms_db, piece.peak, piece.clipped / num_samples, piece.silent / num_samples)
    return (seconds, difference_s, *levels, file.samplerate, file.channels)


def _header_details(piece: _Piece, file: Any, *, alone: bool) -> Iterator[tuple[str, str]]:
    rate_hz, channels = file.samplerate, file.channels
    if piece.sampling_rate_hz not in (None, rate_hz):
        detail = f"{rate_hz} Hz, the manifest says {piece.sampling_rate_hz} Hz"
        yield "sampling rate not as listed", detail
    if piece.channels not in (None, channels):
        yield "channels not as listed", f"{channels}, the manifest says {piece.channels}"
    if channels > 1:
        yield "several channels", f"{channels} channels, training reads one"
    # A start says that more of the file is left out on purpose.
    if alone and piece.duration_s is not None and not piece.start_s:
        seconds = file.frames / rate_hz
        if seconds > piece.duration_s + SHORTFALL_S:
            detail = f"{seconds:.2f} s, the manifest says {piece.duration_s:.2f} s"
            yield "longer than listed", detail


def _content_details(piece: _Piece, rate_hz: int, lost: str) -> Iterator[tuple[str, str]]:
    seconds = piece.count / rate_hz
    short = piece.duration_s is not None and seconds < piece.duration_s - SHORTFALL_S
    if not piece.count:
        yield "truncated audio", f"it ends before {piece.start_s or 0.0:.2f} s"
    elif short:
        told = f"{seconds:.2f} s are there, the manifest says {piece.duration_s:.2f} s"
        yield "truncated audio", f"{told}; {lost}" if lost else told
    elif lost:
        yield "truncated audio", lost
    elif seconds < SHORTEST_S:
        yield "very short audio", f"{piece.count} samples, {seconds * 1000:.1f} ms"
    if piece.bad_at is not None:
        detail = f"a sample is no number at {piece.bad_at / rate_hz:.3f} s of the utterance"
        yield "audio not finite", detail


def _changed(path: Path, num_bytes: int, pieces: Sequence[_Piece]) -> list[Finding]:
    """Compares size and hash with those in the manifest; hashes only where one is to compare."""
    found, digest = [], None
    for piece in pieces:
        detail = ""
        if piece.audio_bytes not in (None, num_bytes):
            detail = f"{num_bytes} bytes, the manifest says {piece.audio_bytes}"
        elif piece.audio_sha256:
            digest = digest or _digest(path)
            if digest != piece.audio_sha256.lower():
                detail = f"its SHA-256 is {digest[:12]}…, not {piece.audio_sha256[:12]}…"
        if detail:
            told = f"the file changed since the manifest was made: {detail}"
            found.append(_finding(piece.utterance_id, "audio changed", told))
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lost_bytes(path: Path, num_bytes: int) -> int:
    """How many bytes of samples a WAV or AIFF promises and lacks, which libsndfile hides."""
    with path.open("rb") as file:
        wanted, order = CHUNK_SIZES.get(file.read(12)[:4], (b"", "little"))
        while wanted and len(head := file.read(8)) == 8:
            size = int.from_bytes(head[4:], order)
            if head[:4] == wanted:
                missing = file.tell() + size - num_bytes
                return missing if missing > 0 and size < UNKNOWN_SIZE else 0
            file.seek(size + size % 2, os.SEEK_CUR)
    return 0


class _SignalCheck:
    """Checks the signal files of some rows.

    Args:
        root: Folder of the signals.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, part: pl.DataFrame) -> list[Finding]:
        found: list[Finding] = []
        for path, rows in groupby(part.iter_rows(named=True), lambda row: row["path"]):
            listed = list(rows)
            try:
                fault, values = _opened(self.root, path)
                for row in listed:
                    details = [fault] if fault else _signal_details(values, row)
                    found += [_named(row, rule, detail) for rule, detail in details]
            except Exception as error:  # as for audio
                found += [_named(row, "unreadable signal", f"{path}: {error}") for row in listed]
        return found


def _opened(root: Path, relative: str | None) -> tuple[tuple[str, str] | None, Any]:
    """Rule and reason if a signal file cannot be used, and its values, mapped."""
    if not relative:
        return ("missing signal", "no path is given"), None
    try:
        path = inside(root, relative)
    except DataError as error:
        return ("path outside the corpus", error.found), None
    if not path.is_file():
        return ("missing signal", f"there is no file {relative}"), None
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        kind = getattr(values, "dtype", "an archive")
        return ("unreadable signal", f"{relative} holds {kind}, no numbers"), None
    if values.ndim not in (1, 2):
        detail = f"{relative} has the shape {values.shape}, [sample] or [sample, channel] is wanted"
        return ("unreadable signal", detail), None
    return None, values


def _signal_details(values: np.ndarray, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    first, length = row["start"] or 0, row["length"]
    stop = len(values) if length is None else first + length
    if not 0 <= first <= stop <= len(values) or (first == stop and length is None):
        detail = f"{row['path']} has {len(values)} samples, {first} to {stop} are wanted"
        yield "signal too short", detail
        return
    if first == stop:
        yield "empty signal", f"samples {first} to {stop} of {row['path']}"
        return
    low, high = values[first], values[first]
    for begin in range(first, stop, VALUES_AT_ONCE):
        part = values[begin : min(begin + VALUES_AT_ONCE, stop)]
        low, high = np.minimum(low, part.min(axis=0)), np.maximum(high, part.max(axis=0))
        if not np.isfinite(part if part.dtype.kind == "f" else 0).all():
            bad = ~np.isfinite(part).reshape(len(part), -1).all(axis=1)
            yield "signal not finite", f"sample {begin - first + int(bad.argmax())} is no number"
            return
    if stop - first > 1 and np.any(low == high):
        yield "constant signal", f"every one of {stop - first} samples is the same"


def _named(row: Mapping[str, Any], rule: str, detail: str) -> Finding:
    return _finding(row["utterance_id"], rule, f"{row['name']}: {detail}")


def _finding(utterance_id: str, rule: str, detail: str) -> Finding:
    return Finding(utterance_id, rule, "fault" if rule in FAULTS else "warning", detail)


def _all(pieces: Sequence[_Piece], rule: str, detail: str) -> list[Finding]:
    return [_finding(piece.utterance_id, rule, detail) for piece in pieces]


def _rule_json(found: Sequence[Finding]) -> dict[str, Any]:
    return {
        "severity": found[0].severity,
        "count": len(found),
        "examples": [
            {"utterance_id": one.utterance_id, "detail": one.detail} for one in found[:EXAMPLES]
        ],
    }


def _frequencies(values: pl.Series) -> dict[str, int]:
    counts = values.drop_nulls().value_counts().sort(values.name)
    return {str(value): count for value, count in counts.iter_rows()}


def _counted(frame: pl.DataFrame, utterances: pl.Expr) -> pl.DataFrame:
    names = ("label", "split", "speaker")
    return frame.group_by(names).agg(utterances.alias("utterances")).sort(names)


def _split_order(name: str) -> tuple[int, str]:
    place = SPLIT_ORDER.index(name) if name in SPLIT_ORDER else len(SPLIT_ORDER)
    return (place + (name == NONE), name)
