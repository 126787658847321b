"""Describe an encoder that another run has trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from polymodal.encoders.extractor import POOLINGS
from polymodal.errors import ConfigError, nearest

MODES = ("frozen", "trainable")


@dataclass(frozen=True)
class EncoderFromRun:
    """Take an encoder from a finished run: class, options, tokenizer and weights, fold by fold.

    Args:
        from_run: The run: its id, a prefix of its id, or a path.
        mode: `frozen` = its embeddings are computed once and stored; `trainable` = training starts
            with its weights.
        modality: Name of the encoder in that run; None for the same name as here.
        layer: Layer to read, of a pretrained encoder; None for the one that the run was trained
            with.
        pooling: `none` = one vector a frame or token, `mean` = one an utterance; frozen only.
        normalise: See `FrozenEncoder`; frozen only.
        clip: See `FrozenEncoder`; frozen only.
        precision: `float32` or `bfloat16`; None is bfloat16 on CUDA, float32 elsewhere; frozen
            only.
        options: Further options of the encoder's class that differ from the run's, such as
            `{freeze: 8}`.

    Raises:
        ConfigError: `mode` or `pooling` is unknown, or an option has no effect with this mode.

    Example:
        >>> EncoderFromRun("20261130-093000-sample-speech-abcd", layer=6).mode
        'frozen'
    """

    from_run: str
    mode: str = "frozen"
    modality: str | None = None
    layer: str | int | None = None
    pooling: str = "none"
    normalise: str = "corpus"
    clip: float | None = 10.0
    precision: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(
                f"mode={self.mode!r} of an encoder from a run",
                expected=" or ".join(MODES),
                hint=nearest(self.mode, MODES),
            )
        if self.pooling not in POOLINGS:
            raise ConfigError(f"pooling is {self.pooling!r}", hint=nearest(self.pooling, POOLINGS))
        if not self.is_frozen and (unused := self._for_frozen_only()):
            raise ConfigError(
                f"{unused} has no effect with mode=trainable",
                hint="leave it out, or set mode to frozen",
            )

    @property
    def is_frozen(self) -> bool:
        """Whether the encoder is not trained any further."""
        return self.mode == "frozen"

    def _for_frozen_only(self) -> str:
        """Return the first non-default option that only a frozen encoder reads."""
        defaults = {"pooling": "none", "normalise": "corpus", "clip": 10.0, "precision": None}
        given = {name: getattr(self, name) for name in defaults}
        return next(
            (f"{name}={value}" for name, value in given.items() if value != defaults[name]), ""
        )
