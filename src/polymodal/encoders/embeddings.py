"""The embeddings of an encoder whose weights stay as they are, for many utterances at once.

Legend: time = frames or tokens of an utterance, feature = width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from polymodal.encoders.base import Encoder
from polymodal.encoders.huggingface.batching import (
    CHARACTERS_A_SECOND,
    extract_batch,
    max_batch_s,
    move_to_device,
)

# Utterances that an encoder of signals is given at once: their amount counts utterances.
MAX_SIGNALS = 64


@dataclass(frozen=True, eq=False)
class EmbeddingExtractor:
    """Compute the output of an encoder in evaluation mode, several utterances at a time.

    Args:
        encoder: The encoder; it moves to the GPU, where there is one, until `release`.
        identity: Everything that changes the output: weights, options, versions, precision.
        precision: `float32` or `bfloat16`.
        pooling: `none` = one vector a frame or token, `mean` = one an utterance.
    """

    encoder: Encoder
    identity: str
    precision: str = "float32"
    pooling: str = "none"

    @property
    def source(self) -> str:
        """What it reads: `audio`, `text` or `signals`."""
        return self.encoder.source

    @property
    def sampling_rate_hz(self) -> int:
        """For audio: the sampling rate that the encoder wants, in Hz."""
        return self.encoder.sampling_rate_hz

    @property
    def feature_size(self) -> int:
        """Width of its vectors."""
        return self.encoder.feature_size

    @property
    def frame_rate_hz(self) -> float | None:
        """Vectors a second; None for text and for one vector an utterance."""
        return self.encoder.frame_rate_hz if self.pooling == "none" else None

    @property
    def max_batch_amount(self) -> int:
        """Greatest padded amount of a batch: number of samples, characters or utterances."""
        if self.source == "signals":
            return MAX_SIGNALS
        a_second = self.sampling_rate_hz if self.source == "audio" else CHARACTERS_A_SECOND
        return int(max_batch_s() * a_second)

    def __call__(self, raw: Any) -> Float32[np.ndarray, "time feature"]:
        """Encode one utterance.

        Args:
            raw: What the encoder's transform takes.

        Returns:
            Float32 `[time, feature]`.
        """
        return self.extract_batch([raw])[0]

    def extract_batch(self, raws: Sequence[Any]) -> list[Float32[np.ndarray, "_time feature"]]:
        """Encode several utterances.

        Args:
            raws: Each as for one.

        Returns:
            What each gives alone, but for rounding.
        """
        move_to_device(self.encoder)
        return extract_batch(self.encoder, raws, pooling=self.pooling, precision=self.precision)

    def release(self) -> None:
        """Move the encoder back to the memory of the processor."""
        self.encoder.cpu()
