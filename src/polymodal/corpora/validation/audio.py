"""Check the audio files of a manifest, each decoded once.

Files of one utterance and long files with many utterances are both read in blocks, so that memory
does not grow with their length.
"""

import hashlib
import math
import os
import stat
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import soundfile

from polymodal.corpora.validation.issues import DataIssue, UnusableFileError, rule_and_detail
from polymodal.errors import DataError
from polymodal.schemas.audio_formats import conversion, without_decoder_messages
from polymodal.security.files import sha256_of
from polymodal.security.paths import resolve_inside

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
BLOCK = 1 << 17  # samples decoded at a time: 8 s at 16 kHz, which fits a core's cache
FRAME_S = 0.01  # length of the frames in which digital silence is detected
MIN_S = 0.025  # 400 samples at 16 kHz: one frame of most speech encoders
DURATION_TOLERANCE_S = 0.1  # as the reader of training allows
SILENT_FRACTION = 0.5
MIN_DB = -120.0
FULL_SCALE = 32_768
CLIPPED = 0.999
# The largest sample of codecs that end below full scale.
CEILINGS = {"PCM_S8": 127 / 128, "PCM_U8": 127 / 128, "ULAW": 32_124 / 32_768, "ALAW": 63 / 64}
INT16_SUBTYPES = {"PCM_16", *CEILINGS}  # read as int16, where no sample can be NaN
# Magic of a chunked file to the name of its sample chunk and its byte order.
CHUNKS: Mapping[bytes, tuple[bytes, Literal["little", "big"]]] = {
    b"RIFF": (b"data", "little"),
    b"FORM": (b"SSND", "big"),
}
CHUNKED = {"WAV", "WAVEX", "AIFF"}
UNKNOWN_SIZE = 0x7FFF_F000  # written by programs that stream to a pipe, or larger
CANCELLED = (
    "the channels cancel out in their mean, which training reads; data.channels=first takes one"
)
Detail = tuple[str, str]


@dataclass(slots=True)
class _Piece:
    """One utterance in an audio file: its columns, and what was measured so far."""

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
    digest: Any = None  # of the samples; a piece without it is not compared

    @property
    def is_usable(self) -> bool:
        start, duration = self.start_s or 0.0, self.duration_s
        return 0 <= start < math.inf and (duration is None or 0 < duration < math.inf)

    def locate(self, rate_hz: int, num_frames: int) -> None:
        self.first = min(round((self.start_s or 0.0) * rate_hz), num_frames)
        length = num_frames if self.duration_s is None else round(self.duration_s * rate_hz)
        self.stop = min(self.first + length, num_frames)


COLUMNS = tuple(item.name for item in fields(_Piece) if item.default is MISSING)


def audio_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a row an utterance that has audio, sorted by file; `frame` is numbered by `row`."""
    rows = frame.select("audio", *COLUMNS)
    return rows.filter(pl.col("audio").str.len_bytes() > 0).sort("audio", "row")


@dataclass
class AudioCheck:
    """Check the audio files of some rows; threads may share an instance."""

    root: Path
    values: np.ndarray  # `[row, measure]` for the measures; every row is written by one thread
    silence_db: float  # utterances quieter than this are silent, in dBFS (RMS)
    clipping_fraction: float  # fraction of clipped samples from which an utterance is clipped
    digests: list[str | None] = field(default_factory=list)  # of the samples of each row
    local: threading.local = field(default_factory=threading.local)

    def __call__(self, rows: pl.DataFrame) -> Iterator[DataIssue]:
        """Decode and measure every file of some `audio_rows` once, and yield its issues."""
        for audio, of_file in groupby(rows.iter_rows(), lambda row: row[0]):
            pieces = [_Piece(*row[1:]) for row in of_file]
            try:
                yield from self._file(audio, pieces)
            except Exception as error:  # a damaged file must not hide the others
                issue = rule_and_detail(error, "unreadable audio", audio)
                issue = _with_conversion(self.root, audio, issue)
                yield from (DataIssue(piece.utterance_id, *issue) for piece in pieces)

    def _file(self, audio: str, pieces: Sequence[_Piece]) -> Iterator[DataIssue]:
        path, num_bytes = _path_and_size(self.root, audio)
        yield from _changed(path, num_bytes, pieces)
        if not num_bytes:
            raise UnusableFileError("empty audio", f"{audio} has 0 bytes")
        with without_decoder_messages(path), soundfile.SoundFile(path) as file:
            if not file.frames:
                raise UnusableFileError("empty audio", f"{audio} has 0 samples")
            lost = _lost_bytes(path, num_bytes) if file.format in CHUNKED else 0
            issues = [*self._decoded(file, audio, pieces, lost)]
        yield from issues

    def _decoded(
        self, file: Any, audio: str, pieces: Sequence[_Piece], lost_bytes: int
    ) -> Iterator[DataIssue]:
        usable = [piece for piece in pieces if piece.is_usable]
        for piece in usable:
            piece.locate(file.samplerate, file.frames)
        end, error = self._measure(file, usable)
        lost = f"{lost_bytes} bytes of {audio} are lost" if lost_bytes else ""
        if end < file.frames and not error:
            lost = f"the header of {audio} has {file.frames} samples, {end} could be decoded"
        for piece in pieces:
            details = list(_header_details(piece, file, alone=len(pieces) == 1))
            if not piece.is_usable:
                span = f"from {piece.start_s} s for {piece.duration_s} s"
                details.append(("unusable times", span))
            elif error and piece.stop > end:
                reason = f"cannot be decoded beyond {end / file.samplerate:.2f} s: {error}"
                details.append(("unreadable audio", f"{audio} {reason}"))
            else:
                values = self.values[piece.row] = _measured(piece, file)
                details += _content_details(piece, file, lost if piece.stop >= end else "")
                self._keep_digest(piece, file)
                details += self._level_details(*values[2:6], channels=file.channels)
            yield from (DataIssue(piece.utterance_id, *detail) for detail in details)

    def _measure(self, file: Any, pieces: Sequence[_Piece]) -> tuple[int, str]:
        """Read a file once; return where it ended (its length if complete) and why."""
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
                _add(piece, file, samples[max(piece.first - position, 0) :], scratch)
            active = [piece for piece in active if piece.stop > end]
            if len(samples) < min(len(block), last - position):
                return end, ""
            position = end
        return file.frames, ""

    def _buffers(self, file: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return buffers for samples and their squares, reused for all files of a thread."""
        if not hasattr(self.local, "buffers"):
            self.local.buffers = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
        block, scratch = self.local.buffers
        dtype = np.int16 if file.subtype in INT16_SUBTYPES else np.float32
        num_frames = max(BLOCK // file.channels, 1)
        shaped = block.view(dtype)[: num_frames * file.channels].reshape(num_frames, file.channels)
        return shaped, scratch

    def _keep_digest(self, piece: _Piece, file: Any) -> None:
        """Keep the hash of an utterance that is neither silent nor very short."""
        if self.digests and piece.digest and piece.peak and piece.count >= MIN_S * file.samplerate:
            form = f"{file.samplerate} {file.channels} {piece.count}"
            self.digests[piece.row] = f"{form} {piece.digest.hexdigest()}"

    def _level_details(
        self, rms_db: float, peak: float, clipped: float, silent: float, *, channels: int
    ) -> Iterator[Detail]:
        if rms_db < self.silence_db:
            cancels = channels > 1 and peak > 10 ** (self.silence_db / 20 + 1)
            why = f"; {CANCELLED}" if cancels else ""
            yield "silent audio", f"{rms_db:.1f} dBFS, peak {peak:.5f}{why}"
        elif silent > SILENT_FRACTION:
            yield "mostly silent", f"{silent:.0%} of it is digital silence"
        if clipped >= self.clipping_fraction and clipped > 0:
            yield "clipped audio", f"{clipped:.2%} of the samples are at the limit"


def _with_conversion(root: Path, audio: str, issue: Detail) -> Detail:
    rule, detail = issue
    command = conversion(root / audio) if rule == "unreadable audio" else ""
    return (rule, f"{detail}; convert it: {command}") if command else issue


def _path_and_size(root: Path, audio: str) -> tuple[Path, int]:
    try:
        path = resolve_inside(root, audio)
        status = path.stat()
    except DataError as error:
        raise UnusableFileError("path outside the corpus", error.message) from None
    except (FileNotFoundError, NotADirectoryError):
        raise UnusableFileError("missing audio", f"there is no file {audio}") from None
    if not stat.S_ISREG(status.st_mode):
        raise UnusableFileError("missing audio", f"{audio} is not a file")
    return path, status.st_size


def _changed(path: Path, num_bytes: int, pieces: Sequence[_Piece]) -> Iterator[DataIssue]:
    """Compare size and hash with the manifest; hash only if the manifest has one."""
    digest = ""
    for piece in pieces:
        detail = ""
        if piece.audio_bytes not in (None, num_bytes):
            detail = f"{num_bytes} bytes, the manifest says {piece.audio_bytes}"
        elif piece.audio_sha256:
            digest = digest or sha256_of(path)
            if digest != piece.audio_sha256.lower():
                detail = f"its SHA-256 is {digest[:12]}…, not {piece.audio_sha256[:12]}…"
        if detail:
            message = f"the file changed since the manifest was made: {detail}"
            yield DataIssue(piece.utterance_id, "audio changed", message)


def _lost_bytes(path: Path, num_bytes: int) -> int:
    """Return the missing bytes of samples in a WAV or AIFF, which libsndfile ignores."""
    with path.open("rb") as file:
        sample_chunk, order = CHUNKS.get(file.read(12)[:4], (b"", "little"))
        while sample_chunk and len(head := file.read(8)) == 8:
            size = int.from_bytes(head[4:], order)
            if head[:4] == sample_chunk:
                missing = file.tell() + size - num_bytes
                return missing if missing > 0 and size < UNKNOWN_SIZE else 0
            file.seek(size + size % 2, os.SEEK_CUR)
    return 0


def _header_details(piece: _Piece, file: Any, *, alone: bool) -> Iterator[Detail]:
    rate_hz, channels = file.samplerate, file.channels
    if piece.sampling_rate_hz not in (None, rate_hz):
        listed = f"the manifest says {piece.sampling_rate_hz} Hz"
        yield "sampling rate not as listed", f"{rate_hz} Hz, {listed}"
    if piece.channels not in (None, channels):
        yield "channels not as listed", f"{channels}, the manifest says {piece.channels}"
    if channels > 1:
        yield "several channels", f"{channels} channels, training reads one"
    # A start means that the rest of the file is left out on purpose.
    seconds = file.frames / rate_hz
    listed_s = piece.duration_s if alone and not piece.start_s else None
    if listed_s is not None and seconds > listed_s + DURATION_TOLERANCE_S:
        yield "longer than listed", f"{seconds:.2f} s, the manifest says {listed_s:.2f} s"


def _content_details(piece: _Piece, file: Any, lost: str) -> Iterator[Detail]:
    seconds = piece.count / file.samplerate
    if not piece.count:
        yield "truncated audio", f"it ends before {piece.start_s or 0.0:.2f} s"
    elif piece.duration_s is not None and seconds < piece.duration_s - DURATION_TOLERANCE_S:
        message = f"{seconds:.2f} s are there, the manifest says {piece.duration_s:.2f} s"
        yield "truncated audio", f"{message}; {lost}" if lost else message
    elif lost:
        yield "truncated audio", lost
    elif seconds < MIN_S:
        yield "very short audio", f"{piece.count} samples, {seconds * 1000:.1f} ms"
    if piece.bad_at is not None:
        bad_s = piece.bad_at / file.samplerate
        yield "audio not finite", f"a sample is not finite at {bad_s:.3f} s of the utterance"


def _add(piece: _Piece, file: Any, samples: np.ndarray, scratch: np.ndarray) -> None:
    """Add a block, which starts where the piece does or continues, to the measures."""
    samples = samples[: piece.stop - piece.first - piece.count]
    if not len(samples):
        return
    flat = samples.reshape(-1)
    scale = FULL_SCALE if flat.dtype == np.int16 else 1
    piece.digest = piece.digest or hashlib.blake2b(digest_size=16)
    piece.digest.update(np.ascontiguousarray(flat).data)
    wave = _mixed(samples, scratch)
    step = max(round(FRAME_S * file.samplerate), 1)
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


def _mixed(samples: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """Return the mean of the channels in float32, as training reads them by default."""
    if samples.shape[1] == 1 and samples.dtype != np.int16:
        return samples.reshape(-1)
    wave = scratch[: len(samples)]
    if samples.shape[1] == 1:
        np.copyto(wave, samples.reshape(-1))
    else:
        samples.mean(axis=1, dtype=np.float32, out=wave)
    return wave


def _energy(wave: np.ndarray, step: int) -> tuple[float, int]:
    """Return the sum of squares, and the number of samples in silent frames."""
    num_framed = wave.size - wave.size % step
    frames, rest = wave[:num_framed].reshape(-1, step), wave[num_framed:]
    with np.errstate(over="ignore", invalid="ignore"):
        energies = np.vecdot(frames, frames)
        remaining = float(np.dot(rest, rest))
        energy = float(energies.sum(dtype=np.float64)) + remaining
    silent = step * (len(energies) - int(np.count_nonzero(energies)))
    return energy, silent + (rest.size if not remaining else 0)


def _measured(piece: _Piece, file: Any) -> tuple[float, ...]:
    """Return the `MEASURES` of a piece; NaN if missing."""
    seconds = piece.count / file.samplerate
    difference_s = math.nan if piece.duration_s is None else seconds - piece.duration_s
    levels = (math.nan,) * 4
    if piece.count and piece.bad_at is None:
        power = piece.energy / piece.count
        rms_db = max(10 * math.log10(power), MIN_DB) if power > 0 else MIN_DB
        clipped = piece.clipped / (piece.count * file.channels)
        levels = (rms_db, piece.peak, clipped, piece.silent / piece.count)
    return (seconds, difference_s, *levels, file.samplerate, file.channels)
