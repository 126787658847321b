"""Encoders of features that are standardised by the training rows of a fold.

Legend: batch = utterances, time = vectors an utterance has, row = vectors of many utterances,
feature = width.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Num
from torch import Tensor

from polymodal.encoders.base import Encoder
from polymodal.errors import ConfigError, DataError, nearest
from polymodal.layers.masks import zero_padding
from polymodal.schemas.batch import PaddedSequence

Features = Mapping[str, Num[np.ndarray, "time feature"]]
# A feature whose deviation is below this fraction of its mean is rounding noise of float32.
MIN_FRACTION = 1e-6
# Size of the features that are reduced together.
BLOCK_BYTES = 16_000_000


class StandardisedEncoder(Encoder):
    """Features that are not trained: mean 0 and deviation 1 over the training rows of a fold.

    Mean and scale are buffers, so that checkpoints have them. Non-finite values count as the mean,
    without standardisation as 0. A constant feature is centred and not scaled.

    Args:
        feature_size: Width of the features.
        normalise: `none` leaves the features unchanged; see the subclasses for the other choices.
        clip: Standardised values are clipped at this many deviations; None leaves them.
        choices: The possible values of `normalise`.

    Raises:
        ConfigError: `normalise` is unknown, or `clip` is not positive.
    """

    mean: Tensor
    scale: Tensor
    num_rows: Tensor

    def __init__(
        self, feature_size: int, *, normalise: str, clip: float | None, choices: Sequence[str]
    ) -> None:
        super().__init__()
        if normalise not in choices:
            raise ConfigError(
                f"normalise is {normalise!r}",
                expected=" or ".join(choices),
                hint=nearest(normalise, choices),
            )
        if clip is not None and clip <= 0:
            raise ConfigError(f"clip is {clip}", expected="a positive number or null")
        self.feature_size, self.normalise, self.clip = feature_size, normalise, clip
        self.register_buffer("mean", torch.zeros(feature_size))
        self.register_buffer("scale", torch.ones(feature_size))
        self.register_buffer("num_rows", torch.zeros((), dtype=torch.int64))
        self.learns_moments = normalise != "none"
        self._is_fitted = normalise == "none"

    def fit(self, features: Features, ids: Sequence[str]) -> None:
        """Learn mean and scale from the training rows, whose features are read block by block.

        Features of a frozen encoder come from `normalise_by_speaker`; ids without features are
        skipped.

        Raises:
            DataError: There is no row, or the width is not `feature_size`.
        """
        moments = moments_of(features, ids)
        width = moments.mean.shape if moments.num_rows else ()
        if width != (self.feature_size,):
            raise DataError(
                f"features of {moments.num_rows} rows and shape {width} for {self.description}",
                expected=f"[row, {self.feature_size}] with at least one row",
                hint="is there a training utterance with this modality?",
            )
        self.mean.copy_(torch.from_numpy(moments.mean))
        self.scale.copy_(torch.from_numpy(moments.scale))
        self.num_rows.fill_(moments.num_rows)

    @property
    def description(self) -> str:
        """What its features are, for messages."""
        return type(self).__name__

    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return the standardised features, `[batch, time, feature]`; zeros under the padding."""
        values = sequence.values
        is_finite = values.isfinite()
        if self.normalise != "none":
            # Read once: reading a buffer on a GPU would make every step wait for it.
            self._is_fitted = self._is_fitted or bool(self.num_rows > 0)
            assert self._is_fitted, "fit the encoder on the training rows, or load a checkpoint"
            values = (values - self.mean) / self.scale
        values = torch.where(is_finite, values, 0.0)
        if self.normalise != "none" and self.clip is not None:
            values = values.clamp(-self.clip, self.clip)
        return PaddedSequence(zero_padding(values, sequence.valid_mask), sequence.valid_mask)


class Moments(NamedTuple):
    """Mean and deviation of the finite values of each feature, and the number of all rows."""

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]  # 1 for a constant feature
    num_rows: int


def moments_of(features: Features, ids: Sequence[str]) -> Moments:
    """Return the moments of some utterances in two passes; those without features are skipped."""
    count, total, squares, num_rows = np.zeros(1), np.zeros(1), np.zeros(1), 0
    for values in _blocks(features, ids):
        num_rows += len(values)
        finite = np.isfinite(values)
        count = count + finite.sum(axis=0)
        total = total + np.where(finite, values, 0.0).sum(axis=0, dtype=np.float64)
    count = np.maximum(count, 1)
    mean = total / count
    for values in _blocks(features, ids):
        centred = np.where(np.isfinite(values), values - mean, 0.0)
        squares = squares + np.square(centred).sum(axis=0)
    deviation = np.sqrt(squares / count)
    smallest = np.maximum(MIN_FRACTION * np.abs(mean), np.finfo(np.float32).tiny)
    return Moments(mean, np.where(deviation > smallest, deviation, 1.0), num_rows)


def _blocks(features: Features, ids: Sequence[str]) -> Iterator[Float[np.ndarray, "row feature"]]:
    """Join clips to blocks of some megabytes: single vectors of a large corpus are slow."""
    block: list[npt.NDArray[Any]] = []
    num_bytes = 0
    for utterance_id in ids:
        if (stored := features.get(utterance_id)) is None:
            continue
        values = stored.astype(np.float32, copy=False)
        block.append(values)
        num_bytes += values.nbytes
        if num_bytes > BLOCK_BYTES:
            yield np.concatenate(block)
            block, num_bytes = [], 0
    if block:
        yield np.concatenate(block)
