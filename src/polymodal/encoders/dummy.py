"""Replace an encoder that is too large to be built for a dry run."""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from polymodal.encoders.base import Encoder, Transform
from polymodal.layers.masks import zero_padding
from polymodal.schemas.batch import PaddedSequence

SAMPLES_A_FRAME = 320  # 50 frames a second at 16 kHz


class DummyEncoder(Encoder):
    """Random features of the shape that a pretrained encoder would return, and a linear layer.

    Example:
        >>> DummyEncoder("text", 8).transform()("four").shape
        (4, 8)
    """

    def __init__(self, source: str, feature_size: int = 64) -> None:
        super().__init__()
        self.source, self.feature_size = source, feature_size
        self.linear = nn.Linear(feature_size, feature_size)

    def transform(self) -> Transform:
        """Return the generator of random features of one utterance."""
        return self._features

    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return the features after the linear layer; zeros under the padding."""
        encoded = self.linear(sequence.values)
        return PaddedSequence(zero_padding(encoded, sequence.valid_mask), sequence.valid_mask)

    def _features(self, raw: Any) -> npt.NDArray[np.float32]:
        frames = max(1, len(raw) // (SAMPLES_A_FRAME if self.source == "audio" else 1))
        drawn = np.random.default_rng(0).normal(size=(frames, self.feature_size))
        return np.asarray(drawn, dtype=np.float32)
