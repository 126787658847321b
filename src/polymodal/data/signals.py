"""Read the physiological signals of an utterance, each with its own rate."""

from collections.abc import Collection, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.errors import DataError, reason_of
from polymodal.schemas.manifest import SignalReference, Utterance
from polymodal.security.paths import resolve_inside

Signals = Mapping[str, tuple[np.ndarray, float | None]]
# It asks the file system for every folder on the way.
_file = lru_cache(maxsize=4096)(resolve_inside)
_mapped = lru_cache(maxsize=64)(partial(np.load, mmap_mode="r", allow_pickle=False))


class SignalReader:
    """Read every signal of an utterance from the `.npy` files below the folder of a corpus.

    `names` are the signals of which an utterance must have one; empty for any.
    """

    def __init__(self, root: Path, names: Collection[str] = ()) -> None:
        self.root, self.names = root, names

    def __call__(self, utterance: Utterance) -> Signals | None:
        """Read one utterance; None if it has none of the signals.

        Returns:
            Name to values (`[sample]` or `[sample, channel]`, float32) and rate in Hz (None for one
            value an event).

        Raises:
            DataError: A file is missing, damaged, holds objects, or ends too early.
        """
        present = {name for name, reference in utterance.signals.items() if reference.length != 0}
        if self.names and present.isdisjoint(self.names):
            return None
        read = {
            name: (self._values(utterance, reference), reference.rate_hz)
            for name, reference in utterance.signals.items()
        }
        return read or None

    def _values(self, utterance: Utterance, reference: SignalReference) -> np.ndarray:
        values = _open(_file(self.root, reference.path), utterance.utterance_id)
        length = len(values) - reference.start if reference.length is None else reference.length
        segment = values[reference.start : reference.start + length]
        if len(segment) < length:
            raise DataError(
                f"signal {reference.name!r} of utterance {utterance.utterance_id!r}: "
                f"{reference.path} ends at sample {len(values)}",
                expected=f"samples {reference.start} to {reference.start + length}",
                hint="write the manifest again from the corpus",
            )
        return np.asarray(segment, dtype=np.float32)


def _open(path: Path, utterance_id: str) -> Any:
    try:
        return _mapped(path)
    except (OSError, ValueError, EOFError) as error:  # EOFError: a file without bytes
        raise DataError(
            f"signal file {path} of utterance {utterance_id!r} cannot be read: {reason_of(error)}",
            expected="a .npy file with numbers",
            hint="fix the file, or remove its signals from the manifest",
        ) from None
