"""Features that were computed elsewhere."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from polymodal.encoders.base import Transform
from polymodal.encoders.standardised import StandardisedEncoder
from polymodal.errors import ConfigError, DataError

NORMALISATIONS = ("none", "corpus")


class PrecomputedEncoder(StandardisedEncoder):
    """Features that are part of the corpus, such as those of `corpus=features`; nothing is learned.

    `signal` is their name in the manifest, `feature_size` their width. With `normalise=corpus` each
    feature has mean 0 and deviation 1 over the training rows, clipped at `clip` deviations (None
    leaves them); `none` leaves features unchanged, as do weights that were trained so.

    Raises:
        ConfigError: No signal is named, the width is not positive, `normalise` is unknown, or
            `clip` is not positive.

    Example:
        >>> encoder = PrecomputedEncoder("face", feature_size=3)
        >>> encoder.transform()({"face": (np.zeros((5, 3)), 25.0)}).shape
        (5, 3)
    """

    source = "signals"

    def __init__(
        self,
        signal: str,
        feature_size: int,
        *,
        normalise: str = "corpus",
        clip: float | None = 10.0,
    ) -> None:
        if not signal or feature_size < 1:
            raise ConfigError(
                f"signal={signal!r}, feature_size={feature_size}",
                expected="the name of the features in the manifest, and a width of at least 1",
            )
        super().__init__(feature_size, normalise=normalise, clip=clip, choices=NORMALISATIONS)
        self.signal, self.signals = signal, (signal,)
        self.register_load_state_dict_pre_hook(_as_trained)  # type: ignore[no-untyped-call]

    @property
    def description(self) -> str:
        """The name of its features, for messages."""
        return repr(self.signal)

    def transform(self) -> Transform:
        """Return the selection of the features of one utterance."""
        return SelectedFeatures(self.signal, self.feature_size)


def _as_trained(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Leave features unchanged for weights without mean and scale, which were trained so."""
    assert isinstance(module, PrecomputedEncoder)
    if f"{prefix}mean" not in state:
        module.normalise = "none"
        state |= {f"{prefix}{name}": buffer for name, buffer in module.named_buffers()}


@dataclass(frozen=True)
class SelectedFeatures:
    """Select the features of one utterance from its signals.

    Example:
        >>> SelectedFeatures("pitch", 1)({"pitch": (np.array([2.0, 3.0]), 10.0)}).tolist()
        [[2.0], [3.0]]
    """

    signal: str
    feature_size: int

    def __call__(self, signals: Any) -> npt.NDArray[np.float32] | None:
        """Return the features `[time, feature]` of one utterance; None where it has none.

        The values of a signal are `[time, feature]`, one vector `[feature]`, or `[time]` where the
        width is 1.

        Raises:
            DataError: The width is another one, or a value is not finite.
        """
        if not signals or self.signal not in signals or not len(signals[self.signal][0]):
            return None
        with np.errstate(over="ignore"):  # too large for float32 is infinite, which is rejected
            values = np.asarray(signals[self.signal][0], dtype=np.float32)
        if values.ndim == 1:
            values = values[:, None] if self.feature_size == 1 else values[None]
        if values.ndim != 2 or values.shape[1] != self.feature_size:
            raise DataError(
                f"features {self.signal!r} have the shape {values.shape}",
                expected=f"[time, {self.feature_size}], as in encoder.<...>.feature_size",
                hint="set feature_size of the encoder that reads them to their width, such as "
                f"encoder.features.feature_size={values.shape[-1]}",
            )
        if not np.isfinite(values).all():
            raise DataError(
                f"features {self.signal!r} hold non-finite values",
                hint="compute them again, or remove the utterance from the manifest",
            )
        return values
