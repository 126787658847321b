"""Frozen pretrained models as extractors, whose output is stored.

Legend: time = frames or tokens of an utterance, feature = width.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32

from polymodal.encoders.base import Encoder
from polymodal.encoders.embeddings import (
    extract_batch,
    max_batch_amount,
    move_to_device,
    resolve_precision,
)
from polymodal.encoders.extractor import POOLINGS, package_version
from polymodal.encoders.huggingface.backbone import check_layer
from polymodal.encoders.huggingface.checkpoint import EXTRA, Checkpoint, Family, State, locate
from polymodal.errors import ConfigError, nearest


@dataclass(frozen=True)
class PretrainedExtractor(ABC):
    """The vectors of a frozen pretrained model, computed in batches.

    The model is loaded with the first utterance; until then the files beside its weights are read.

    Raises:
        ConfigError: An option is out of its range, or there is no model of this name.
        CheckpointError: The folder cannot be read, or has no safetensors.
        MissingExtraError: transformers is not installed.
    """

    name: str  # a folder, or a name of the hub
    revision: str | None = None  # commit, tag or branch of the hub
    layer: str | int = "last"  # or the number of a block
    pooling: str = "mean"  # one vector an utterance; `none`: one a frame or token
    # `float32` or `bfloat16`; None is bfloat16 on CUDA, float32 elsewhere.
    precision: str | None = field(default=None, kw_only=True)
    source: ClassVar[str]
    families: ClassVar[Mapping[str, Family]]

    def __post_init__(self) -> None:
        resolve_precision(self.precision)
        check_layer(self.layer, self.settings.num_blocks)
        if self.layer == "weighted":
            raise ConfigError(
                "layer=weighted for stored vectors",
                expected="last or a number: the weights of a mean would be learned",
                hint="use the encoder that is trained with freeze=all and layer=weighted",
            )
        if self.pooling not in POOLINGS:
            raise ConfigError(f"pooling is {self.pooling!r}", hint=nearest(self.pooling, POOLINGS))
        self._preparation()

    @property
    def sampling_rate_hz(self) -> int:
        """For audio: the sampling rate of its input, in Hz."""
        return 16_000

    @property
    def frame_rate_hz(self) -> float | None:
        """Vector per second; None for text and for one vector an utterance."""
        return None

    @property
    def feature_size(self) -> int:
        """Width of its vectors."""
        return int(self.settings.feature_size)

    @property
    def identity(self) -> str:
        """Architecture, version of transformers, digest of the files, and options."""
        checkpoint, model = self.checkpoint, self.checkpoint.family(self.families).model
        return (
            f"transformers {package_version('transformers', EXTRA)} {model} "
            f"{checkpoint.commit} {checkpoint.digest} layer {self.layer} pooling {self.pooling} "
            f"{resolve_precision(self.precision)} {self._preparation().identity}"
        )

    @property
    def max_batch_amount(self) -> int:
        """Maximum padded length of a batch on this machine, in samples or characters."""
        return max_batch_amount(self.source, self.sampling_rate_hz)

    def __call__(self, raw: Any) -> Float32[np.ndarray, "time feature"]:
        """Encode one utterance; one vector of zeros where it is empty."""
        return self.extract_batch([raw])[0]

    def extract_batch(self, raws: Sequence[Any]) -> list[Float32[np.ndarray, "_time feature"]]:
        """Encode several utterances: as each alone, except for rounding."""
        return extract_batch(
            _frozen_encoder(self, self.checkpoint.state),
            raws,
            pooling=self.pooling,
            precision=resolve_precision(self.precision),
        )

    def release(self) -> None:
        """Free the memory of the model."""
        _frozen_encoder.cache_clear()

    @functools.cached_property
    def checkpoint(self) -> Checkpoint:
        """The files of the model."""
        return locate(self.name, self.revision)

    @functools.cached_property
    def settings(self) -> Any:
        """What the files beside the weights say about the model."""
        return self._read_settings()

    @abstractmethod
    def _read_settings(self) -> Any: ...

    @abstractmethod
    def _preparation(self) -> Any: ...

    @abstractmethod
    def _build_encoder(self) -> Encoder: ...


@functools.lru_cache(maxsize=4)
def _frozen_encoder(extractor: PretrainedExtractor, state: State) -> Encoder:
    # The state is part of the key of the cache: a changed model is loaded again.
    encoder = extractor._build_encoder()
    move_to_device(encoder)
    return encoder
