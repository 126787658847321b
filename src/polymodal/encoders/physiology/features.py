"""Hand-crafted features of physiological signals: one vector of named features an utterance.

Legend: time = vectors an utterance has (one), sample = values of the device, event = heart
beats, feature = width.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from polymodal.encoders.extractor import package_version
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.encoders.physiology.eda import (
    EDA_NAMES,
    TEMPERATURE_NAMES,
    eda_features,
    temperature_features,
)
from polymodal.encoders.physiology.heart import BEAT_NAMES, beat_features, ecg_features
from polymodal.encoders.standardised import Features
from polymodal.errors import ConfigError, DataError, nearest

PACKAGE, EXTRA = "neurokit2", "signals"
# Increased when a formula changes, so that features stored before are not used.
VERSION = 1
NAMES: Mapping[str, tuple[str, ...]] = {
    "eda": EDA_NAMES,
    "ibi": BEAT_NAMES,
    "ecg": BEAT_NAMES,
    "temp": TEMPERATURE_NAMES,
}
SAMPLED = {"eda": eda_features, "ecg": ecg_features, "temp": temperature_features}


@dataclass(frozen=True)
class PhysiologyExtractor:
    """Levels, courses and responses of the signals of one utterance.

    Features that cannot be computed (too short, too few beats, a missing signal) are NaN, and each
    signal has the fraction of the utterance that it covers: 0 where it is absent. Where no signal
    has a value, all are NaN.

    The signals are `eda` (microsiemens), `ibi` (heart beats: offset and interval in seconds),
    `ecg` and `temp` (degrees Celsius).

    Raises:
        ConfigError: No signal is named, one twice, or one is unknown.
        MissingExtraError: neurokit2 is not installed.
    """

    signals: tuple[str, ...] = ("eda", "ibi", "temp")
    source = "signals"
    sampling_rate_hz = 16_000
    frame_rate_hz = None

    def __post_init__(self) -> None:
        if not self.signals or len(set(self.signals)) < len(self.signals):
            raise ConfigError(
                f"signals {list(self.signals)}",
                expected="at least one name, each once",
                hint="for example encoder.physiology.signals=[eda,ibi,temp]",
            )
        if unknown := [name for name in self.signals if name not in NAMES]:
            raise ConfigError(
                f"there are no features of the signal {unknown[0]!r}",
                hint=nearest(unknown[0], NAMES),
            )
        package_version(PACKAGE, EXTRA)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Name of each feature, in the order of the vector, such as `eda_mean_us`."""
        return tuple(f"{signal}_{name}" for signal in self.signals for name in NAMES[signal])

    @property
    def feature_size(self) -> int:
        """Width of the vector."""
        return len(self.feature_names)

    @property
    def identity(self) -> str:
        """Names and versions of the features and of neurokit2."""
        package = f"{PACKAGE} {package_version(PACKAGE, EXTRA)}"
        return f"physiology {VERSION} of {', '.join(self.signals)}, {package}"

    def __call__(
        self, raw: Mapping[str, tuple[npt.NDArray[Any], float | None]]
    ) -> Float32[np.ndarray, "1 feature"]:
        """Compute the features, one vector `[1, feature]`.

        Signals are a name to the values and their rate in Hz: `[sample]`; with None `[event]` or
        `[event, 2]`. Those that are not extracted only tell how long the utterance is.

        Raises:
            DataError: A signal has several channels, has a rate and is events or the reverse, or
                its times are not seconds from the start of the utterance.
        """
        duration_s = max((_duration_s(*signal) for signal in raw.values()), default=0.0)
        values_by_name: dict[str, float] = {}
        usable = False
        for signal in self.signals:
            values, rate_hz = raw.get(signal, (np.zeros(0), None))
            usable |= bool(np.isfinite(values).any())
            features = _features(signal, np.asarray(values, np.float64), rate_hz, duration_s)
            values_by_name |= {f"{signal}_{name}": value for name, value in features.items()}
        vector = [
            values_by_name.get(name, np.nan) if usable else np.nan for name in self.feature_names
        ]
        return np.array([vector], dtype=np.float32)


class PhysiologyEncoder(FrozenEncoder):
    """Hand-crafted features of physiological signals, stored and standardised; extra `signals`.

    An utterance without a value in any of the signals counts as without this modality. For the
    options and errors see `PhysiologyExtractor` and `FrozenEncoder`; `normalise=speaker` is by each
    person's own utterances.
    """

    source = "signals"

    def __init__(
        self,
        signals: Collection[str] = ("eda", "ibi", "temp"),
        *,
        normalise: str = "corpus",
        clip: float | None = 10.0,
    ) -> None:
        extractor = PhysiologyExtractor(tuple(signals))
        super().__init__(extractor, normalise=normalise, clip=clip, signals=signals)

    def normalise_by_speaker(
        self, features: Features, speakers: Mapping[str, str]
    ) -> Mapping[str, npt.NDArray[Any]]:
        """Leave out utterances without any value, and continue as `FrozenEncoder`."""
        usable = {name: values for name, values in features.items() if np.isfinite(values).any()}
        return super().normalise_by_speaker(usable, speakers)


def _features(
    signal: str, values: npt.NDArray[np.float64], rate_hz: float | None, duration_s: float
) -> dict[str, float]:
    if not len(values):
        return {NAMES[signal][0]: 0.0}
    if (rate_hz is None) is (signal in SAMPLED):
        raise DataError(
            f"the rate of signal {signal!r} is {rate_hz}",
            expected="a rate in Hz" if signal in SAMPLED else "null, as heart beats are events",
            hint="fix rate_hz of the signal in the manifest",
        )
    if values.ndim > 1 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim > 1 and (rate_hz is not None or values.shape[1] != 2):
        raise DataError(
            f"signal {signal!r} has the shape {values.shape}",
            expected="one value a sample; of a heart beat the interval, or offset and interval",
            hint="name each channel separately in the manifest",
        )
    if rate_hz is None:
        return beat_features(values, duration_s)
    return SAMPLED[signal](values, rate_hz, duration_s)


def _duration_s(values: npt.NDArray[Any], rate_hz: float | None) -> float:
    if rate_hz is not None:
        return len(values) / rate_hz
    times_s = values[:, 0] if values.ndim == 2 else np.nancumsum(values)
    return float(np.max(times_s, initial=0.0, where=np.isfinite(times_s)))
