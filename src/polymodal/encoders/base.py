"""The interface of encoders: one modality in, a sequence of vectors out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
from torch import nn

from polymodal.encoders.extractor import Prefix
from polymodal.schemas.batch import PaddedSequence

Transform = Callable[[Any], npt.NDArray[Any] | None]


class Encoder(nn.Module, ABC):
    """One modality to a sequence of vectors.

    A row without a True in the mask (an absent modality) has none in the output either, and its
    values are finite. Values under the padding never change the output.

    Example:
        >>> import torch
        >>> from polymodal.encoders.text import TextEncoder
        >>> encoder = TextEncoder(width=16, num_heads=2)
        >>> indices = torch.from_numpy(encoder.transform()("안녕"))[None]
        >>> output = encoder(PaddedSequence(indices, torch.ones_like(indices, dtype=torch.bool)))
        >>> output.values.shape[-1] == encoder.feature_size
        True
    """

    source: str  # its input: `audio`, `text` or `signals`
    # Names of the signals that it reads, of those that an utterance can have; empty for all.
    signals: tuple[str, ...] = ()
    feature_size: int  # width of the output
    frame_rate_hz: float | None = None  # of the output; None for text and for single vectors
    sampling_rate_hz: int = 16000  # of the input, for audio
    # Whether training changes the waveform at random, so that nothing computed from it is stored.
    augments_waveform: bool = False
    reads_prefix: bool = False  # whether `encode` reads the output of `prefix`, not of `transform`
    learns_moments: bool = False  # whether `fit` learns mean and deviation of what it reads
    is_trained_from_scratch: bool = True  # whether no weights or features have to be read first

    @classmethod
    def weights_mb(cls, options: Mapping[str, Any]) -> float | None:
        """Return the size in MB of the weights that an encoder with these options reads.

        0 for one that is trained from scratch; None where they are not on this machine.
        """
        return 0.0

    @abstractmethod
    def transform(self) -> Transform:
        """Return what the data workers do to one utterance; it can be pickled.

        Returns:
            A callable. Audio: waveform, float32 `[sample]`, at `sampling_rate_hz`, to an array.
            Text: `str` to int64 `[time]`. Signals: a mapping of a name to the values, `[sample]`
            (or `[event]`, or `[event, 2]` of offset and interval in seconds) and their rate in Hz
            (None for events), to float32 `[time, channel]`. None without usable content: the
            modality then counts as absent.
        """

    @abstractmethod
    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Encode the padded output of `transform` to `[batch, time', feature_size]`."""

    def fit(self, features: Mapping[str, npt.NDArray[Any]], ids: Sequence[str]) -> None:
        """Learn mean and deviation of the output of `transform` from the training rows of a fold.

        `features` are by utterance id, of which `ids` are the training rows; those that lack the
        modality are not there. Called before the training where `learns_moments` is true.
        """

    def prefix(self, precision: str) -> Prefix | str | None:
        """Return the extractor of the frozen prefix, which has the same output in every epoch.

        `precision` is that of the training, `float32` or `bfloat16`. Where the output cannot be
        stored the reason is returned, in words; None where nothing is frozen.
        """
        return None

    def write_description(self, folder: Path) -> None:
        """Write the files that the encoder needs besides its weights, such as its tokenizer.

        Raises:
            OSError: A file cannot be written.
        """

    def learning_rate_scales(self) -> Mapping[nn.Parameter, float]:
        """Return the factors of the learning rates of parameters; 1 for those that are missing."""
        return {}

    def forward(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return the encoded batch, as `encode` does."""
        return self.encode(sequence)
