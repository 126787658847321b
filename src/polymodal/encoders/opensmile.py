"""Functionals of openSMILE: one vector of acoustic statistics an utterance.

eGeMAPSv02: Eyben et al., IEEE Transactions on Affective Computing 7(2), 2016. ComParE_2016:
Schuller et al., INTERSPEECH 2016. openSMILE is free for research and private use only.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from polymodal.encoders.extractor import package_version
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.errors import ConfigError, nearest

FEATURE_SIZES = {"eGeMAPSv02": 88, "ComParE_2016": 6373}
SAMPLING_RATE_HZ = 16_000
# Shorter audio has no frame at all, or statistics over none.
MIN_DURATION_S = 1.0


@dataclass(frozen=True)
class FunctionalsExtractor:
    """Functionals of one waveform; features that cannot be computed are NaN.

    Audio shorter than 1 s gets digital silence at its end; samples outside [-1, 1) are clipped,
    as openSMILE would wrap them around.

    Raises:
        ConfigError: `feature_set` is not a set of openSMILE.
        MissingExtraError: openSMILE is not installed.
    """

    feature_set: str = "eGeMAPSv02"
    source = "audio"
    sampling_rate_hz = SAMPLING_RATE_HZ
    frame_rate_hz = None

    def __post_init__(self) -> None:
        if self.feature_set not in FEATURE_SIZES:
            hint = nearest(self.feature_set, FEATURE_SIZES)
            raise ConfigError(f"feature_set is {self.feature_set!r}", hint=hint)
        package_version("opensmile", "opensmile")

    @property
    def feature_size(self) -> int:
        """Width of the vector: 88 or 6373."""
        return FEATURE_SIZES[self.feature_set]

    @property
    def identity(self) -> str:
        """Name, version of openSMILE, and options."""
        version = package_version("opensmile", "opensmile")
        return f"opensmile {version} {self.feature_set} functionals, padded to {MIN_DURATION_S} s"

    def __call__(self, raw: Float32[np.ndarray, " sample"]) -> Float32[np.ndarray, "1 feature"]:
        """Extract one vector `[1, feature]` from a waveform at 16 kHz."""
        missing = max(0, int(MIN_DURATION_S * SAMPLING_RATE_HZ) - len(raw))
        waveform = np.pad(np.clip(raw, -1.0, 32767 / 32768), (0, missing))
        values = _smile(self.feature_set)(waveform, SAMPLING_RATE_HZ)
        return np.asarray(values[0].T, dtype=np.float32)


class FunctionalsEncoder(FrozenEncoder):
    """Functionals of openSMILE, stored and standardised; needs the extra `opensmile`.

    `feature_set` is `eGeMAPSv02` (88 features) or `ComParE_2016` (6373). Options and errors are
    those of `FunctionalsExtractor` and `FrozenEncoder`.
    """

    source = "audio"

    def __init__(
        self,
        feature_set: str = "eGeMAPSv02",
        *,
        normalise: str = "corpus",
        clip: float | None = 10.0,
    ) -> None:
        super().__init__(FunctionalsExtractor(feature_set), normalise=normalise, clip=clip)


@functools.cache
def _smile(feature_set: str) -> Any:
    import opensmile  # here, as it is optional and loads pandas

    return opensmile.Smile(
        feature_set=opensmile.FeatureSet[feature_set],
        feature_level=opensmile.FeatureLevel.Functionals,
    )
