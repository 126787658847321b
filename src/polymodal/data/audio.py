"""Read the waveform of an utterance, with one channel and one rate."""

from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
from jaxtyping import Float

from polymodal.errors import DataError
from polymodal.schemas.audio_formats import conversion, without_decoder_messages
from polymodal.schemas.manifest import Utterance
from polymodal.security.paths import resolve_inside

MAX_SHORTFALL_S = 0.1


class AudioReader:
    """Read utterances as mono waveforms of one sampling rate.

    Other rates than `sampling_rate_hz` are resampled (soxr, HQ). Of several channels the mean
    (`mix`) or the first (`first`) is taken. `cache_mb` megabytes of decoded audio are cached for
    the next epoch.

    Example:
        >>> AudioReader(Path("."))(Utterance("u", "s", audio=None)) is None
        True
    """

    def __init__(
        self,
        root: Path,
        *,
        sampling_rate_hz: int = 16_000,
        channels: Literal["mix", "first"] = "mix",
        cache_mb: float = 0,
    ) -> None:
        self.root, self.sampling_rate_hz, self.channels = root, sampling_rate_hz, channels
        self.free_bytes = int(cache_mb * 1e6)
        self.cache: dict[str, Float[np.ndarray, " sample"]] = {}

    def __call__(self, utterance: Utterance) -> Float[np.ndarray, " sample"] | None:
        """Read a float32 waveform `[sample]`, or None if the utterance has no audio.

        Raises:
            DataError: The file is missing, unreadable, empty, of another size or shorter than the
                manifest says, or holds non-finite samples.
        """
        if not utterance.audio:
            return None
        if utterance.utterance_id in self.cache:
            return self.cache[utterance.utterance_id]
        waveform = self._decode(utterance, utterance.audio)
        if waveform.nbytes <= self.free_bytes:
            self.cache[utterance.utterance_id] = waveform
            self.free_bytes -= waveform.nbytes
        return waveform

    def _decode(self, utterance: Utterance, audio: str) -> Float[np.ndarray, " sample"]:
        path = resolve_inside(self.root, audio)
        try:
            num_bytes = path.stat().st_size
            if utterance.audio_bytes not in (None, num_bytes):
                problem = f"has {num_bytes} bytes, not the {utterance.audio_bytes} of the manifest"
                raise _unusable(utterance, path, problem)
            with without_decoder_messages(path), soundfile.SoundFile(path) as file:
                rate_hz = file.samplerate
                file.seek(round(utterance.start_s * rate_hz))
                duration_s = utterance.duration_s
                num_samples = -1 if duration_s is None else round(duration_s * rate_hz)
                samples = file.read(num_samples, dtype="float32", always_2d=True)
        except (OSError, RuntimeError) as error:
            command = conversion(path)
            hint = f"convert it: {command}" if command else ""
            raise _unusable(utterance, path, f"cannot be read: {error}", hint) from None
        _check(utterance, path, samples, rate_hz)
        mono = samples[:, 0] if self.channels == "first" else samples.mean(axis=1)
        if rate_hz == self.sampling_rate_hz:
            return np.ascontiguousarray(mono)
        return np.asarray(soxr.resample(mono, rate_hz, self.sampling_rate_hz), dtype=np.float32)


def _check(
    utterance: Utterance, path: Path, samples: Float[np.ndarray, "sample channel"], rate_hz: int
) -> None:
    duration_s = len(samples) / rate_hz
    if not len(samples):
        raise _unusable(utterance, path, "has no sample")
    listed_s = utterance.duration_s
    if listed_s is not None and duration_s < listed_s - MAX_SHORTFALL_S:
        problem = f"ends after {duration_s:.2f} s, not {listed_s:.2f} s as in the manifest"
        raise _unusable(utterance, path, problem)
    finite = np.isfinite(samples)
    if not finite.all():
        position_s = np.flatnonzero(~finite.all(axis=1))[0] / rate_hz
        raise _unusable(utterance, path, f"holds a non-finite sample at {position_s:.3f} s")


def _unusable(utterance: Utterance, path: Path, problem: str, hint: str = "") -> DataError:
    return DataError(
        f"audio of utterance {utterance.utterance_id!r}: {path} {problem}",
        hint=hint or "fix the file, or remove the row from the manifest",
    )
