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

    Raises:
        ConfigError: `mode` or `pooling` is unknown, or an option has no effect with this mode.

    Example:
        >>> EncoderFromRun("20261130-093000-sample-speech-abcd", layer=6).mode
        'frozen'
    """

    from_run: str  # the run: its id, a prefix of its id, or a path
    # `frozen`: its embeddings are computed once and stored; `trainable`: training starts with its
    # weights.
    mode: str = "frozen"
    modality: str | None = None  # name of the encoder in that run; None for the same as here
    # Layer to read, of a pretrained encoder; None for the one that the run was trained with.
    layer: str | int | None = None
    # Of frozen encoders only:
    pooling: str = "none"  # one vector a frame or token; `mean`: one an utterance
    normalise: str = "corpus"  # see `FrozenEncoder`, as for `clip`
    clip: float | None = 10.0
    precision: str | None = None  # `float32` or `bfloat16`; None: bfloat16 on CUDA, else float32
    # Further options of the encoder's class that differ from the run's, such as `{freeze: 8}`.
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
        given = [name for name, default in defaults.items() if getattr(self, name) != default]
        return f"{given[0]}={getattr(self, given[0])}" if given else ""
