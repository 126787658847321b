"""Encoders that are not trained: stored features, which are only standardised here."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from polymodal.encoders.base import Transform
from polymodal.encoders.extractor import Extractor
from polymodal.encoders.standardised import (
    Features,
    Moments,
    StandardisedEncoder,
    moments_of,
)
from polymodal.errors import ManifestError

NORMALISATIONS = ("none", "corpus", "speaker", "speaker_mean")


class FrozenEncoder(StandardisedEncoder):
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

    is_trained_from_scratch = False

    def __init__(
        self,
        extractor: Extractor,
        *,
        normalise: str = "corpus",
        clip: float | None = 10.0,
        signals: Collection[str] = (),
    ) -> None:
        super().__init__(
            extractor.feature_size, normalise=normalise, clip=clip, choices=NORMALISATIONS
        )
        self.extractor = extractor
        self.source, self.signals = extractor.source, tuple(signals)
        self.frame_rate_hz = extractor.frame_rate_hz
        self.sampling_rate_hz = extractor.sampling_rate_hz

    @property
    def is_transductive(self) -> bool:
        """Whether test clips are normalised with other test clips; this is recorded."""
        return self.normalise in ("speaker", "speaker_mean")

    @property
    def description(self) -> str:
        """Everything that changes its features, for messages."""
        return self.extractor.identity

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
        moments = {speaker: moments_of(features, ids) for speaker, ids in clips.items()}
        if self.normalise == "speaker_mean":
            moments = {
                speaker: of_speaker._replace(scale=np.ones_like(of_speaker.scale))
                for speaker, of_speaker in moments.items()
            }
        names = {utterance_id: speakers[utterance_id] for utterance_id in features}
        return SpeakerNormalised(features, names, moments)

    def transform(self) -> Transform:
        """Return the identity on float32 `[time, feature]`."""
        return as_stored


class SpeakerNormalised(Mapping[str, npt.NDArray[np.float32]]):
    """Features without their speaker's mean and deviation, computed when they are read.

    `moments` are mean and deviation of each feature by speaker.

    Example:
        >>> moments = {"s": Moments(np.array([1.0]), np.array([2.0]), num_rows=1)}
        >>> SpeakerNormalised({"u": np.array([[5.0]])}, {"u": "s"}, moments)["u"].tolist()
        [[2.0]]
    """

    def __init__(
        self, features: Features, speakers: Mapping[str, str], moments: Mapping[str, Moments]
    ) -> None:
        self.features, self.speakers, self.moments = features, speakers, moments

    def __getitem__(self, utterance_id: str) -> npt.NDArray[np.float32]:
        values = self.features[utterance_id]
        moments = self.moments[self.speakers[utterance_id]]
        return ((values - moments.mean) / moments.scale).astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)


def as_stored(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return stored features unchanged."""
    return values
