"""Encoders that are not trained: their features are stored, and only standardised here.

Legend: batch = utterances, time = vectors an utterance has, row = vectors of many utterances,
feature = width.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from polymodal.contracts.sequences import Sequence
from polymodal.encoders.base import Encoder, Transform
from polymodal.encoders.extractor import Extractor
from polymodal.errors import ConfigError, DataError, ManifestError, nearest
from polymodal.layers.masks import zero_padding

NORMALISATIONS = ("none", "corpus", "speaker", "speaker_mean")
# A feature whose deviation is below this share of its mean is rounding noise of float32.
SMALLEST_SHARE = 1e-6


class FrozenEncoder(Encoder):
    """Stored features of an extractor, standardised.

    Values that are no numbers (openSMILE gives some for very short or silent audio) count as the
    mean; with `none` as 0. A constant feature is centred and not scaled.

    Args:
        extractor: What makes the features.
        normalise: `none`: as they are. `corpus`: mean 0 and deviation 1 over the training rows.
            `speaker`: first mean 0 and deviation 1 over all clips of each speaker, the test
            speakers' own included (transductive, without labels), then as `corpus`.
            `speaker_mean`: the same, but each speaker is only centred.
        clip: Standardised values are cut off at this many deviations; None leaves them. A feature
            that hardly varies in training is otherwise huge for one test clip.

    Raises:
        ConfigError: `normalise` is unknown, or `clip` is not positive.
    """

    mean: Tensor
    scale: Tensor
    num_rows: Tensor

    def __init__(
        self, extractor: Extractor, *, normalise: str = "corpus", clip: float | None = 10.0
    ) -> None:
        super().__init__()
        if normalise not in NORMALISATIONS:
            raise ConfigError(
                f"normalise is {normalise!r}", remedy=nearest(normalise, NORMALISATIONS)
            )
        if clip is not None and clip <= 0:
            raise ConfigError(f"clip is {clip}", expected="a positive number or null")
        self.extractor = extractor
        self.normalise = normalise
        self.clip = clip
        self.source = extractor.source
        self.feature_size = extractor.feature_size
        self.frame_rate_hz = extractor.frame_rate_hz
        self.sampling_rate_hz = extractor.sampling_rate_hz
        self.register_buffer("mean", torch.zeros(self.feature_size))
        self.register_buffer("scale", torch.ones(self.feature_size))
        self.register_buffer("num_rows", torch.zeros((), dtype=torch.int64))
        self._is_fitted = normalise == "none"

    @property
    def transductive(self) -> bool:
        """Whether test clips are normalised with other test clips; the record names it."""
        return self.normalise in ("speaker", "speaker_mean")

    def fit(self, values: Float[np.ndarray, "row feature"]) -> None:
        """Learns mean and scale; they are buffers, so a checkpoint carries them.

        Args:
            values: Features of the training rows only, `[row, feature]`, after
                `normalise_speakers` where that applies.

        Raises:
            DataError: There is no row, or the width is not `feature_size`.
        """
        if values.ndim != 2 or values.shape[1] != self.feature_size or len(values) == 0:
            raise DataError(
                f"features of shape {values.shape} for {self.extractor.identity}",
                expected=f"[row, {self.feature_size}] with at least one row",
                remedy="is there a training utterance with this modality?",
            )
        mean, scale = _moments(values)
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(scale))
        self.num_rows.fill_(len(values))

    def normalise_speakers(
        self,
        features: Mapping[str, Float[np.ndarray, "time feature"]],
        speakers: Mapping[str, str],
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Takes out each speaker's own mean, and deviation for `speaker`, over all clips given.

        With `none` and `corpus` the features stay as they are. A speaker with a single vector
        becomes all zeros.

        Args:
            features: Utterance id to `[time, feature]`.
            speakers: Utterance id to speaker.

        Returns:
            Utterance id to float32 `[time, feature]`, in the same order.

        Raises:
            ManifestError: An utterance has no speaker.
        """
        if not self.transductive:
            return dict(features)
        clips: dict[str, list[str]] = {}
        for utterance_id in sorted(features):
            clips.setdefault(_speaker(utterance_id, speakers), []).append(utterance_id)
        moments = {
            speaker: _moments(np.concatenate([features[one] for one in ids]))
            for speaker, ids in clips.items()
        }
        normalised = {}
        for utterance_id, values in features.items():
            mean, scale = moments[speakers[utterance_id]]
            divisor = scale if self.normalise == "speaker" else np.ones_like(scale)
            normalised[utterance_id] = ((values - mean) / divisor).astype(np.float32)
        return normalised

    def transform(self) -> Transform:
        """Returns what data workers do to one stored array: nothing.

        Returns:
            The identity on float32 `[time, feature]`.
        """
        return as_stored

    def encode(self, sequence: Sequence) -> Sequence:
        """Returns the standardised features.

        Args:
            sequence: Stored features, `[batch, time, feature]`, and their mask.

        Returns:
            The same shape and the same mask; zeros under the padding.
        """
        values = sequence.values
        if self.normalise != "none":
            self._check_fitted()
            standardised = (values - self.mean) / self.scale
            values = torch.where(values.isfinite(), standardised, 0.0)
            if self.clip is not None:
                values = values.clamp(-self.clip, self.clip)
        else:
            values = torch.where(values.isfinite(), values, 0.0)
        return Sequence(zero_padding(values, sequence.valid_mask), sequence.valid_mask)

    def _check_fitted(self) -> None:
        # Read once: a look at a buffer on a GPU would make every step wait for it.
        if not self._is_fitted:
            self._is_fitted = bool(self.num_rows > 0)
        assert self._is_fitted, "fit the encoder on the training rows, or load a checkpoint"


def as_stored(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns stored features as they are.

    Args:
        values: Float32 `[time, feature]`.

    Returns:
        The same array.
    """
    return values


def _speaker(utterance_id: str, speakers: Mapping[str, str]) -> str:
    speaker = speakers.get(utterance_id)
    if speaker is None:
        raise ManifestError(
            f"utterance {utterance_id!r} has no speaker",
            expected="a speaker for every utterance",
            remedy="fill the column `speaker`, or set normalise to corpus",
        )
    return speaker


def _moments(
    values: Float[np.ndarray, "row feature"],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    finite = np.isfinite(values)
    counts = np.maximum(finite.sum(axis=0), 1)
    mean = np.where(finite, values, 0.0).sum(axis=0, dtype=np.float64) / counts
    centred = np.where(finite, values - mean, 0.0)
    deviation = np.sqrt(np.square(centred).sum(axis=0) / counts)
    smallest = np.maximum(SMALLEST_SHARE * np.abs(mean), np.finfo(np.float32).tiny)
    return mean, np.where(deviation > smallest, deviation, 1.0)
