"""The base of pretrained encoders, and their frozen prefix, which training can read from a store.

What is frozen, before the first module that is trained, has the same output in every epoch. It is
run without dropout wherever it is computed, so that stored and computed outputs agree.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from polymodal.encoders.base import Encoder, Transform
from polymodal.encoders.embeddings import EmbeddingExtractor
from polymodal.encoders.extractor import package_version
from polymodal.encoders.huggingface.backbone import Backbone
from polymodal.encoders.huggingface.checkpoint import EXTRA, Checkpoint, WeightsInFolder
from polymodal.schemas.batch import PaddedSequence


class PretrainedEncoder(WeightsInFolder, Encoder):
    """A pretrained model whose frozen prefix can be run by itself.

    With `reads_prefix` it encodes the output of the prefix instead of that of its transform. The
    `identity` of `prepare`, its transform, names everything that changes the output of that.
    """

    is_trained_from_scratch = False
    checkpoint: Checkpoint
    backbone: Backbone
    prepare: Any
    layer: str | int

    @property
    def revision(self) -> str:
        """Commit of the hub, or `sha256:` and the digest of the folder."""
        return self.checkpoint.revision

    def transform(self) -> Transform:
        """Return the preparation of one utterance."""
        prepare: Transform = self.prepare
        return prepare

    def write_description(self, folder: Path) -> None:
        """Copy configuration, tokenizer and feature extractor: see `Encoder.write_description`."""
        self.checkpoint.copy_description(folder)

    def learning_rate_scales(self) -> Mapping[nn.Parameter, float]:
        """Return the factors of the learning rates: see `Backbone`."""
        return self.backbone.learning_rate_scales()

    @property
    def prefix_size(self) -> int:
        """Width of the output of the frozen prefix."""
        return self.feature_size

    @property
    def prefix_end(self) -> str:
        """Where the frozen prefix ends, in words."""
        return self.backbone.describe_prefix(self._prefix_depth, self.layer)

    @property
    def prefix_identity(self) -> str:
        """Everything that changes the output of the prefix, except for the precision."""
        model, checkpoint = type(self.backbone.model).__name__, self.checkpoint
        about = f"{model} {checkpoint.commit} {checkpoint.digest} {self._input_identity}"
        return f"{about} prefix: {self.prefix_end}"

    @property
    def _input_identity(self) -> str:
        return str(self.prepare.identity)

    @property
    def _prefix_depth(self) -> int | None:
        return self.backbone.prefix_depth

    @abstractmethod
    def encode_prefix(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return the output of the frozen prefix, `[batch, time, prefix_size]`."""

    def _prefix_extractor(self, precision: str) -> "PrefixExtractor":
        version = package_version("transformers", EXTRA)
        identity = f"transformers {version} {self.prefix_identity} {precision}"
        return PrefixExtractor(FrozenPrefix(self), identity, precision, ends=self.prefix_end)


class FrozenPrefix(Encoder):
    """The frozen prefix of an encoder, as an encoder of its own."""

    def __init__(self, encoder: PretrainedEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.source, self.feature_size = encoder.source, encoder.prefix_size
        self.sampling_rate_hz, self.frame_rate_hz = encoder.sampling_rate_hz, encoder.frame_rate_hz

    def transform(self) -> Transform:
        """Return the transform of the full encoder."""
        return self.encoder.transform()

    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return the output of the frozen prefix, `[batch, time, feature_size]`."""
        return self.encoder.encode_prefix(sequence)


@dataclass(frozen=True, eq=False)
class PrefixExtractor(EmbeddingExtractor):
    """Compute the frozen prefix of an encoder, which ends where `ends` says, in batches."""

    ends: str = ""


def at_least_one_frame(sequence: PaddedSequence) -> tuple[Tensor, Tensor]:
    """Return values and mask with a frame of padding where the batch has no frame.

    Example:
        >>> import torch
        >>> empty = PaddedSequence(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool))
        >>> [tensor.shape for tensor in at_least_one_frame(empty)]
        [torch.Size([2, 1]), torch.Size([2, 1])]
    """
    missing = max(0, 1 - sequence.valid_mask.shape[1])
    further = [0, 0] * (sequence.values.dim() - 2)
    values = functional.pad(sequence.values, (*further, 0, missing))
    return values, functional.pad(sequence.valid_mask, (0, missing))
