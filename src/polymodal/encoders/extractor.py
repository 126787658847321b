"""The interface of extractors, whose output is computed once and stored; without torch.

Legend: time = vectors an utterance has (one for functionals), feature = width.
"""

import importlib.metadata
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from polymodal.errors import MissingExtraError

POOLINGS = ("mean", "none")  # over time: one vector an utterance, or one a frame or token


@runtime_checkable
class Extractor(Protocol):
    """Turn one utterance into vectors; it can be pickled, and depends on nothing but its input."""

    @property
    def source(self) -> str:
        """Its input: `audio`, `text` or `signals`."""

    @property
    def sampling_rate_hz(self) -> int:
        """For audio: the sampling rate of its input, in Hz."""

    @property
    def feature_size(self) -> int:
        """Width of its vectors."""

    @property
    def frame_rate_hz(self) -> float | None:
        """Vectors per second; None for text and for one vector an utterance."""

    @property
    def identity(self) -> str:
        """Everything that changes its output: names, versions, options."""

    def __call__(self, raw: Any) -> Float32[np.ndarray, "time feature"]:
        """Extract the vectors of one utterance, float32 `[time, feature]`.

        A waveform is float32 `[sample]` at `sampling_rate_hz`, a text is `str`, signals are a name
        to the values and their rate in Hz, as `data.signals` reads them.
        """


@runtime_checkable
class BatchedExtractor(Extractor, Protocol):
    """An extractor of several utterances at once, in one process with all of its threads."""

    @property
    def max_batch_amount(self) -> int:
        """Maximum padded amount of a batch: number of samples or characters."""

    def extract_batch(self, raws: Sequence[Any]) -> list[Float32[np.ndarray, "_time feature"]]:
        """Extract the vectors of several utterances: as of each alone, except for rounding."""

    def release(self) -> None:
        """Free the memory of the extraction; the next utterance allocates it again."""


@runtime_checkable
class Prefix(Extractor, Protocol):
    """The extractor of the frozen prefix of an encoder that is trained."""

    @property
    def ends(self) -> str:
        """Where the prefix ends, in words."""


def package_version(package: str, extra: str) -> str:
    """Return the version of an optional package, which an extra of polymodal installs.

    Raises:
        MissingExtraError: It is not installed.

    Example:
        >>> package_version("numpy", "signals").count(".") >= 2
        True
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtraError(package, extra) from None
