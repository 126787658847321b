"""What a frozen encoder runs once an utterance, whose output is then stored; needs no torch.

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
    """Turns one utterance into vectors; it can be pickled, and depends on nothing but its input.

    Attributes:
        source: What it reads: `audio`, `text` or `signals`.
        sampling_rate_hz: For audio: the sampling rate it wants, in Hz.
        feature_size: Width of its vectors.
        frame_rate_hz: Vectors a second; None for text and for one vector an utterance.
        identity: Everything that changes its output: names, versions, options.
    """

    @property
    def source(self) -> str:
        """What it reads: `audio`, `text` or `signals`."""

    @property
    def sampling_rate_hz(self) -> int:
        """For audio: the sampling rate it wants, in Hz."""

    @property
    def feature_size(self) -> int:
        """Width of its vectors."""

    @property
    def frame_rate_hz(self) -> float | None:
        """Vectors a second; None for text and for one vector an utterance."""

    @property
    def identity(self) -> str:
        """Everything that changes its output: names, versions, options."""

    def __call__(self, raw: Any) -> Float32[np.ndarray, "time feature"]:
        """Extracts the vectors of one utterance.

        Args:
            raw: Audio: waveform, float32 `[sample]`, at `sampling_rate_hz`. Text: `str`. Signals:
                name to the values and their rate in Hz, as `data.signals` reads them.

        Returns:
            Vectors, float32 `[time, feature]`.
        """


@runtime_checkable
class BatchedExtractor(Extractor, Protocol):
    """An extractor that takes several utterances at once, in one process with all of its threads.

    Attributes:
        most_at_once: Greatest padded amount of a batch: number of samples or characters.
    """

    @property
    def max_batch_amount(self) -> int:
        """Greatest padded amount of a batch: number of samples or characters."""

    def extract_batch(self, raws: Sequence[Any]) -> list[Float32[np.ndarray, "_time feature"]]:
        """Extracts the vectors of several utterances.

        Args:
            raws: Each as the extractor takes one.

        Returns:
            What each gives alone, but for rounding.
        """

    def release(self) -> None:
        """Frees the memory that extraction took; the next utterance takes it again."""


@runtime_checkable
class Prefix(Extractor, Protocol):
    """What computes the frozen beginning of an encoder that is trained.

    Attributes:
        ends: Where the beginning ends, in words.
    """

    @property
    def ends(self) -> str:
        """Where the beginning ends, in words."""


def package_version(package: str, extra: str) -> str:
    """Returns the version of an installed optional package.

    Args:
        package: Its name in the package index.
        extra: The extra of polymodal that brings it.

    Returns:
        The version.

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
