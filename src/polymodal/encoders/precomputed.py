"""Features that were computed elsewhere, taken as they are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from polymodal.encoders.base import Encoder, Transform
from polymodal.errors import ConfigError, DataError
from polymodal.schemas.batch import PaddedSequence


class PrecomputedEncoder(Encoder):
    """Features that the corpus brings along, such as those of `corpus=features`; nothing is learnt.

    Args:
        signal: Name of the features in the manifest.
        feature_size: Their width.

    Raises:
        ConfigError: No signal is named, or the width is not positive.

    Example:
        >>> encoder = PrecomputedEncoder("face", feature_size=3)
        >>> encoder.transform()({"face": (np.zeros((5, 3)), 25.0)}).shape
        (5, 3)
    """

    source = "signals"

    def __init__(self, signal: str, feature_size: int) -> None:
        super().__init__()
        if not signal or feature_size < 1:
            raise ConfigError(
                f"signal={signal!r}, feature_size={feature_size}",
                expected="the name of the features in the manifest, and a width of at least 1",
            )
        self.signal, self.feature_size = signal, feature_size

    def transform(self) -> Transform:
        """Returns what picks the features of one utterance."""
        return SelectedFeatures(self.signal, self.feature_size)

    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Returns the features as they came.

        Args:
            sequence: `[batch, time, feature]` and its mask.

        Returns:
            The same values and mask; zeros under the padding.
        """
        padding = ~sequence.valid_mask[..., None]
        return PaddedSequence(sequence.values.masked_fill(padding, 0.0), sequence.valid_mask)


@dataclass(frozen=True)
class SelectedFeatures:
    """Picks the features of one utterance from its signals.

    Args:
        signal: Name of the features.
        feature_size: Their width.
    """

    signal: str
    feature_size: int

    def __call__(self, signals: Any) -> npt.NDArray[np.float32] | None:
        """Returns the features of one utterance.

        Args:
            signals: Name to the values and their rate in Hz: `[time, feature]`, one vector
                `[feature]`, or `[time]` where the width is 1.

        Returns:
            `[time, feature]`; None where the utterance has none.

        Raises:
            DataError: The width is another one, or a value is no number.
        """
        if not signals or self.signal not in signals or not len(signals[self.signal][0]):
            return None
        with np.errstate(over="ignore"):  # too large for float32 is infinite, which is refused
            values = np.asarray(signals[self.signal][0], dtype=np.float32)
        if values.ndim == 1:
            values = values[:, None] if self.feature_size == 1 else values[None]
        if values.ndim != 2 or values.shape[1] != self.feature_size:
            raise DataError(
                f"features {self.signal!r} have the shape {values.shape}",
                expected=f"[time, {self.feature_size}], by encoder.<...>.feature_size",
                hint="set feature_size of the encoder that reads them to their width, such as "
                f"encoder.features.feature_size={values.shape[-1]}",
            )
        if not np.isfinite(values).all():
            raise DataError(
                f"features {self.signal!r} hold values that are no numbers (NaN or infinite)",
                hint="compute them again, or take the utterance out of the manifest",
            )
        return values
