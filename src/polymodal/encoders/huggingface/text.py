"""Pretrained text encoders: RoBERTa (KLUE's Korean one included), BERT, ELECTRA, DeBERTa, XLM-R.

Liu et al. 2019 (arXiv 1907.11692), Park et al. 2021 (arXiv 2105.09680), Devlin et al. 2019 (arXiv
1810.04805), Clark et al. 2020 (arXiv 2003.10555), He et al. 2021 (arXiv 2111.09543), Conneau et al.
2020 (arXiv 1911.02116).

Legend: batch = utterances, time = tokens, feature = width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from polymodal.encoders.extractor import Prefix
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.encoders.huggingface.backbone import Backbone
from polymodal.encoders.huggingface.checkpoint import WeightsInFolder, locate
from polymodal.encoders.huggingface.encoder import PretrainedEncoder, at_least_one_frame
from polymodal.encoders.huggingface.extractor import PretrainedExtractor
from polymodal.encoders.huggingface.prefix import STEM
from polymodal.encoders.huggingface.text_settings import (
    FAMILIES,
    TextSettings,
    Tokens,
    read_settings,
)
from polymodal.encoders.text_windows import TextWindows
from polymodal.layers.masks import mask_to_lengths, zero_padding
from polymodal.schemas.batch import PaddedSequence


class PretrainedTextEncoder(PretrainedEncoder):
    """Tokens of a pretrained model to one vector each, the special ones at both ends included.

    The output of frozen blocks can be stored and read (`prefix`); embeddings alone are computed as
    fast as stored vectors are read.

    Args:
        name: A folder, or a name of the hub such as `klue/roberta-base`. The weights have to be
            safetensors.
        revision: Commit, tag or branch of the hub; the commit is resolved and recorded.
        layer: `last`, the number of a block, or `weighted` (see `Backbone`).
        freeze: `none`; `embeddings`; a number N = the embeddings and the first N blocks; `all`.
        lora: Options of peft's `LoraConfig`: only the adapters are trained then; None for none.
        gradient_checkpointing: Whether to save memory and spend time.
        layer_decay: Learning rates fall by this factor from block to block, from the head down
            (see `Backbone`); None for one rate.
        max_length: Maximum number of tokens of the model's input; None is the model's own limit.
        longer: What to do with a longer text: `truncate` = keep its beginning; `windows` = encode
            overlapping windows one by one and join their vectors (see `TextWindows`); `refuse`.

    Raises:
        ConfigError: An option is out of its range, or there is no model of this name.
        CheckpointError: The folder cannot be read, or has no safetensors or no tokenizer.
        MissingExtraError: transformers, or peft for `lora`, is not installed.
    """

    source = "text"

    def __init__(
        self,
        name: str,
        revision: str | None = None,
        layer: str | int = "last",
        freeze: str | int = "none",
        lora: Mapping[str, Any] | None = None,
        gradient_checkpointing: bool = False,
        max_length: int | None = None,
        longer: str = "truncate",
        layer_decay: float | None = None,
    ) -> None:
        super().__init__()
        self.checkpoint = locate(name, revision)
        settings = read_settings(self.checkpoint)
        self.feature_size, self.padding_token = settings.feature_size, settings.padding_token
        self.prepare = settings.tokenization(self.checkpoint, max_length, longer)
        self.layer = layer
        self.backbone = Backbone(
            self.checkpoint,
            self.checkpoint.family(FAMILIES),
            stem="embeddings",
            layer=layer,
            freeze=freeze,
            lora=lora,
            gradient_checkpointing=gradient_checkpointing,
            layer_decay=layer_decay,
        )

    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return `[batch, time, feature_size]` for tokens `[batch, time]`."""
        if self.reads_prefix:
            return self._forward_from_prefix(sequence)
        tokens, mask = self._padded(sequence)
        size = self.prepare.max_length
        if mask.shape[1] <= size:
            values = self.backbone(**self._inputs(tokens, mask))
        else:
            windows = TextWindows.of(mask_to_lengths(mask), size)
            encoded = self.backbone(**self._inputs(*windows.cut(tokens)))
            values = windows.join(encoded, mask.shape[1])
        return PaddedSequence(zero_padding(values, mask), mask)

    def prefix(self, precision: str) -> Prefix | str | None:
        """Return the extractor of the frozen prefix: see `Encoder.prefix`."""
        depth, num_blocks = self.backbone.prefix_depth, len(self.backbone.blocks)
        if depth is None:
            return None
        if depth == num_blocks:
            return self._prefix_extractor(precision)
        if self.backbone.frozen_depth not in (STEM, 0) and not self.backbone.is_plain:
            return "the blocks of this model need more than the output of those before them"
        if depth in (STEM, 0):
            return "embeddings are looked up as fast as stored vectors are read"
        if self.prepare.longer == "windows":
            return "the windows of a long text overlap (longer=windows)"
        return self._prefix_extractor(precision)

    def encode_prefix(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return the output of the frozen prefix: see `PretrainedEncoder`."""
        depth = self.backbone.prefix_depth
        if depth is None or depth == len(self.backbone.blocks):
            return self.encode(sequence)
        tokens, mask = self._padded(sequence)
        values = self.backbone.forward_prefix(depth, **self._inputs(tokens, mask))
        return PaddedSequence(zero_padding(values, mask), mask)

    def _forward_from_prefix(self, sequence: PaddedSequence) -> PaddedSequence:
        states, mask = at_least_one_frame(sequence)
        values = zero_padding(states, mask)
        depth = self.backbone.prefix_depth
        if depth is not None and depth != len(self.backbone.blocks):
            values = self.backbone.forward_suffix(depth, values, _attended(mask))
        return PaddedSequence(zero_padding(values, mask), mask)

    def _padded(
        self, sequence: PaddedSequence
    ) -> tuple[Int[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
        tokens, mask = at_least_one_frame(sequence)
        return tokens.masked_fill(~mask, self.padding_token), mask

    def _inputs(
        self, tokens: Int[Tensor, "text time"], mask: Bool[Tensor, "text time"]
    ) -> dict[str, Tensor]:
        shown = tokens.masked_fill(~mask, self.padding_token)
        return {"input_ids": shown, "attention_mask": _attended(mask).long()}


@dataclass(frozen=True)
class PretrainedTextExtractor(PretrainedExtractor):
    """The vectors of a frozen pretrained text model: see `PretrainedExtractor`.

    `max_length` and `longer` are as of `PretrainedTextEncoder`.
    """

    max_length: int | None = None
    longer: str = "truncate"
    source = "text"
    families = FAMILIES

    def _read_settings(self) -> TextSettings:
        return read_settings(self.checkpoint)

    def _preparation(self) -> Tokens:
        settings: TextSettings = self.settings
        return settings.tokenization(self.checkpoint, self.max_length, self.longer)

    def _build_encoder(self) -> PretrainedTextEncoder:
        return PretrainedTextEncoder(
            self.name,
            self.revision,
            layer=self.layer,
            freeze="all",
            max_length=self.max_length,
            longer=self.longer,
        )


class PretrainedTextEmbeddings(WeightsInFolder, FrozenEncoder):
    """The vectors of a pretrained text model that is not trained, stored and standardised.

    The options are those of `PretrainedExtractor`, `PretrainedTextEncoder` and `FrozenEncoder`; so
    are the errors.
    """

    source = "text"

    def __init__(
        self,
        name: str,
        revision: str | None = None,
        layer: str | int = "last",
        pooling: str = "mean",
        max_length: int | None = None,
        longer: str = "truncate",
        *,
        precision: str | None = None,
        normalise: str = "corpus",
        clip: float | None = 10.0,
    ) -> None:
        extractor = PretrainedTextExtractor(
            name, revision, layer, pooling, max_length, longer, precision=precision
        )
        super().__init__(extractor, normalise=normalise, clip=clip)


def _attended(mask: Bool[Tensor, "text time"]) -> Bool[Tensor, "text time"]:
    """Let an absent text attend to its first frame of padding, so that no softmax is empty."""
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return mask | (first & ~mask.any(dim=1, keepdim=True))
