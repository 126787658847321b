"""The embeddings of an encoder that is not trained, for several utterances at once.

Legend: time = frames or tokens of an utterance, feature = width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from polymodal.encoders.base import Encoder
from polymodal.encoders.huggingface.batching import (
    extract_batch,
    max_batch_amount,
    move_to_device,
)


@dataclass(frozen=True, eq=False)
class EmbeddingExtractor:
    """Compute the output of an encoder in evaluation mode, several utterances at a time.

    Example:
        >>> from polymodal.encoders.text import TextEncoder
        >>> extractor = EmbeddingExtractor(TextEncoder(width=8), "text encoder", pooling="mean")
        >>> [vectors.shape for vectors in extractor.extract_batch(["yes", "no"])]
        [(1, 8), (1, 8)]
    """

    encoder: Encoder  # moves to the GPU, where there is one, until `release`
    identity: str  # everything that changes the output: weights, options, versions, precision
    precision: str = "float32"  # or `bfloat16`
    pooling: str = "none"  # one vector a frame or token; `mean`: one an utterance

    @property
    def source(self) -> str:
        """Its input: `audio`, `text` or `signals`."""
        return self.encoder.source

    @property
    def sampling_rate_hz(self) -> int:
        """For audio: the sampling rate of its input, in Hz."""
        return self.encoder.sampling_rate_hz

    @property
    def feature_size(self) -> int:
        """Width of its vectors."""
        return self.encoder.feature_size

    @property
    def frame_rate_hz(self) -> float | None:
        """Vector per second; None for text and for one vector an utterance."""
        return self.encoder.frame_rate_hz if self.pooling == "none" else None

    @property
    def max_batch_amount(self) -> int:
        """Maximum padded amount of a batch: number of samples, characters or utterances."""
        return max_batch_amount(self.source, self.sampling_rate_hz)

    def __call__(self, raw: Any) -> Float32[np.ndarray, "time feature"]:
        """Encode the input of the encoder's transform."""
        return self.extract_batch([raw])[0]

    def extract_batch(self, raws: Sequence[Any]) -> list[Float32[np.ndarray, "_time feature"]]:
        """Encode several utterances: as each alone, except for rounding."""
        move_to_device(self.encoder)
        return extract_batch(self.encoder, raws, pooling=self.pooling, precision=self.precision)

    def release(self) -> None:
        """Move the encoder back to the memory of the processor."""
        self.encoder.cpu()
