"""Encoders that are not trained: stored features, which are only standardised here.

Legend: batch = utterances, time = vectors an utterance has, row = vectors of many utterances,
feature = width.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Num
from torch import Tensor

from polymodal.encoders.base import Encoder, Transform
from polymodal.encoders.extractor import Extractor
from polymodal.errors import ConfigError, DataError, ManifestError, nearest
from polymodal.layers.masks import zero_padding
from polymodal.schemas.batch import PaddedSequence

Features = Mapping[str, Num[np.ndarray, "time feature"]]
NORMALISATIONS = ("none", "corpus", "speaker", "speaker_mean")
# A feature whose deviation is below this fraction of its mean is rounding noise of float32.
MIN_FRACTION = 1e-6
# Size of the features that are reduced together.
BLOCK_BYTES = 16_000_000
Moments = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


class FrozenEncoder(Encoder):
    """Stored features of an extractor, standardised.

    Non-finite values (openSMILE returns some for very short or silent audio) count as the mean;
    with `none` as 0. A constant feature is centred and not scaled.

    Args:
        extractor: The extractor of the features.
        normalise: `none`: unchanged. `corpus`: mean 0 and deviation 1 over the training rows.
            `speaker`: first mean 0 and deviation 1 over all clips of each speaker, those of test
            speakers included (transductive, without labels), then as `corpus`. `speaker_mean`:
            the same, but each speaker is only centred.
        clip: Standardised values are clipped at this many deviations; None leaves them. A feature
            that hardly varies in training is otherwise huge for one test clip.
        signals: Names of the signals that the extractor reads; empty for all.

    Raises:
        ConfigError: `normalise` is unknown, or `clip` is not positive.
    """

    mean: Tensor
    scale: Tensor
    num_rows: Tensor

    is_trained_from_scratch = False

    def __init__(
        self,
        extractor: Extractor,
        *,
        normalise: str = "corpus",
        clip: float | None = 10.0,
        signals: Collection[str] = (),
    ) -> None:
        super().__init__()
        if normalise not in NORMALISATIONS:
            raise ConfigError(
                f"normalise is {normalise!r}", hint=nearest(normalise, NORMALISATIONS)
            )
        if clip is not None and clip <= 0:
            raise ConfigError(f"clip is {clip}", expected="a positive number or null")
        self.extractor = extractor
        self.normalise = normalise
        self.clip = clip
        self.source, self.signals = extractor.source, tuple(signals)
        self.feature_size = extractor.feature_size
        self.frame_rate_hz = extractor.frame_rate_hz
        self.sampling_rate_hz = extractor.sampling_rate_hz
        self.register_buffer("mean", torch.zeros(self.feature_size))
        self.register_buffer("scale", torch.ones(self.feature_size))
        self.register_buffer("num_rows", torch.zeros((), dtype=torch.int64))
        self._is_fitted = normalise == "none"

    @property
    def is_transductive(self) -> bool:
        """Whether test clips are normalised with other test clips; this is recorded."""
        return self.normalise in ("speaker", "speaker_mean")

    def fit(self, features: Features, ids: Sequence[str]) -> None:
        """Learn mean and scale from the training rows, whose features are read block by block.

        `features` come from `normalise_by_speaker`; ids without features are skipped.

        Raises:
            DataError: There is no row, or the width is not `feature_size`.
        """
        present = [utterance_id for utterance_id in ids if utterance_id in features]
        width = features[present[0]].shape[1:] if present else ()
        num_rows = sum(len(block) for block in _blocks(features, present))
        if width != (self.feature_size,) or num_rows == 0:
            raise DataError(
                f"features of {num_rows} rows and shape {width} for {self.extractor.identity}",
                expected=f"[row, {self.feature_size}] with at least one row",
                hint="is there a training utterance with this modality?",
            )
        mean, scale = _moments(features, present)
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(scale))
        self.num_rows.fill_(num_rows)

    def normalise_by_speaker(
        self, features: Features, speakers: Mapping[str, str]
    ) -> Mapping[str, npt.NDArray[Any]]:
        """Remove the mean, and for `speaker` the deviation, of each speaker over all given clips.

        With `none` and `corpus` the features stay unchanged. A speaker with a single vector becomes
        all zeros. Features are normalised when they are read. Both mappings are by utterance id.

        Raises:
            ManifestError: An utterance has no speaker.
        """
        if not self.is_transductive:
            return features
        clips: dict[str, list[str]] = {}
        for utterance_id in sorted(features):
            if (speaker := speakers.get(utterance_id)) is None:
                raise ManifestError(
                    f"utterance {utterance_id!r} has no speaker",
                    expected="a speaker for every utterance",
                    hint="fill the column `speaker`, or set normalise to corpus",
                )
            clips.setdefault(speaker, []).append(utterance_id)
        moments = {speaker: _moments(features, ids) for speaker, ids in clips.items()}
        if self.normalise == "speaker_mean":
            moments = {
                speaker: (mean, np.ones_like(scale)) for speaker, (mean, scale) in moments.items()
            }
        names = {utterance_id: speakers[utterance_id] for utterance_id in features}
        return SpeakerNormalised(features, names, moments)

    def transform(self) -> Transform:
        """Return the identity on float32 `[time, feature]`."""
        return as_stored

    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return the standardised features, `[batch, time, feature]`; zeros under the padding."""
        values = sequence.values
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


class SpeakerNormalised(Mapping[str, npt.NDArray[np.float32]]):
    """Features without their speaker's mean and deviation, computed when they are read.

    `moments` are mean and deviation of each feature by speaker.

    Example:
        >>> moments = {"s": (np.array([1.0]), np.array([2.0]))}
        >>> SpeakerNormalised({"u": np.array([[5.0]])}, {"u": "s"}, moments)["u"].tolist()
        [[2.0]]
    """

    def __init__(
        self, features: Features, speakers: Mapping[str, str], moments: Mapping[str, Moments]
    ) -> None:
        self.features, self.speakers, self.moments = features, speakers, moments

    def __getitem__(self, utterance_id: str) -> npt.NDArray[np.float32]:
        values = self.features[utterance_id]
        mean, scale = self.moments[self.speakers[utterance_id]]
        return ((values - mean) / scale).astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)


def as_stored(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return stored features unchanged."""
    return values


def _moments(features: Features, ids: Sequence[str]) -> Moments:
    """Return mean and deviation of the finite values of each feature, in two passes."""
    count, total, squares = np.zeros(1), np.zeros(1), np.zeros(1)
    for values in _blocks(features, ids):
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
    return mean, np.where(deviation > smallest, deviation, 1.0)


def _blocks(features: Features, ids: Sequence[str]) -> Iterator[Float[np.ndarray, "row feature"]]:
    """Join clips to blocks of some megabytes: single vectors of a large corpus are slow."""
    block: list[npt.NDArray[Any]] = []
    num_bytes = 0
    for utterance_id in ids:
        values = features[utterance_id].astype(np.float32, copy=False)
        block.append(values)
        num_bytes += values.nbytes
        if num_bytes > BLOCK_BYTES:
            yield np.concatenate(block)
            block, num_bytes = [], 0
    if block:
        yield np.concatenate(block)
