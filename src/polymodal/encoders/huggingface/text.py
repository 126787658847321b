"""Pretrained text encoders: RoBERTa (KLUE's Korean one included), BERT, ELECTRA, DeBERTa, XLM-R.

Liu et al. 2019 (arXiv 1907.11692), Park et al. 2021 (arXiv 2105.09680), Devlin et al. 2019 (arXiv
1810.04805), Clark et al. 2020 (arXiv 2003.10555), He et al. 2021 (arXiv 2111.09543), Conneau et al.
2020 (arXiv 1911.02116).

Legend: batch = utterances, time = tokens, feature = width.
"""

import collections.abc
import functools
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor, nn
from torch.nn import functional

from polymodal.encoders.base import Transform
from polymodal.encoders.extractor import Prefix, package_version
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.encoders.huggingface.backbone import (
    Backbone,
    Checkpoint,
    Family,
    check_frozen,
    first_line,
    locate,
)
from polymodal.encoders.huggingface.batching import (
    CHARACTERS_A_SECOND,
    extract_batch,
    max_batch_s,
    move_to_device,
    resolve_precision,
)
from polymodal.encoders.huggingface.prefix import (
    STEM,
    PrefixedEncoder,
    folder_weights_mb,
    prefix_extractor,
)
from polymodal.encoders.text_windows import TextWindows
from polymodal.errors import CheckpointError, ConfigError, DataError, nearest
from polymodal.layers.masks import mask_to_lengths, zero_padding
from polymodal.schemas.batch import PaddedSequence

BERT = Family(
    "BertModel",
    blocks="encoder.layer",
    stem=("embeddings",),
    adapted=("query", "value"),
    options={"add_pooling_layer": False},  # nothing reads it, so it would get no gradient
)
FAMILIES: Mapping[str, Family] = {
    "bert": BERT,
    "roberta": replace(BERT, model="RobertaModel"),
    "xlm-roberta": replace(BERT, model="XLMRobertaModel"),
    "electra": replace(BERT, model="ElectraModel", options={}),
    "deberta-v2": replace(
        BERT,
        model="DebertaV2Model",
        adapted=("query_proj", "value_proj"),
        attention="eager",
        plain=False,  # the blocks are given relative positions, too
        options={},
    ),
}
# These number their positions behind that of the padding.
SHIFTED = ("roberta", "xlm-roberta")
LONGER = ("truncate", "windows", "refuse")
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


class PretrainedTextEncoder(PrefixedEncoder):
    """Tokens of a pretrained model to one vector each, those at both ends included.

    Where blocks are frozen, what they put out can be stored and read (`prefix`); embeddings alone
    are looked up as fast as stored vectors are read.

    Args:
        name: A folder, or a name of the hub such as `klue/roberta-base`. The weights have to be
            safetensors.
        revision: Commit, tag or branch of the hub; the commit is resolved and kept.
        layer: `last`, the number of a block, or `weighted` (see `Backbone`).
        freeze: `none`; `embeddings`; a number N = the embeddings and the first N blocks; `all`.
        lora: Options of peft's `LoraConfig`: only the adapters are trained then; None for none.
        gradient_checkpointing: Whether to save memory and spend time.
        layer_decay: Learning rates fall by this factor from block to block, from the head down
            (see `Backbone`); None for one rate.
        max_length: Number of tokens that are read; None is the most that the model can.
        longer: What happens to a longer text: `truncate` = its beginning is kept; `windows` =
            overlapping stretches are encoded one by one, and their vectors joined (see
            `TextWindows`); `refuse`.

    Attributes:
        revision: Commit of the hub, or the digest of the folder.

    Raises:
        ConfigError: An option is out of its range, or nothing can be found under this name.
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
        settings = _settings(self.checkpoint)
        self.feature_size, self.padding_token = settings.feature_size, settings.padding_token
        self.tokenize = settings.tokenization(self.checkpoint, max_length, longer)
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

    @property
    def revision(self) -> str:
        """Commit of the hub, or `sha256:` and the digest of the folder."""
        return self.checkpoint.revision

    def transform(self) -> Transform:
        """Returns what turns a text into tokens; a worker loads the tokenizer when it needs it."""
        return self.tokenize

    def write_description(self, folder: Path) -> None:
        """Copy configuration, tokenizer and feature extractor: see `Encoder.write_description`."""
        self.checkpoint.copy_description(folder)

    def learning_rate_scales(self) -> Mapping[nn.Parameter, float]:
        """Returns what the learning rate of a parameter is multiplied by: see `Backbone`."""
        return self.backbone.learning_rate_scales()

    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Returns the encoded text.

        Args:
            sequence: Tokens `[batch, time]`, int64, and their mask.

        Returns:
            `[batch, time, feature_size]` and the mask; zeros under the padding.
        """
        if self.reads_prefix:
            return self._forward_from_prefix(sequence)
        tokens, mask = self._padded(sequence)
        size = self.tokenize.max_length
        if mask.shape[1] <= size:
            values = self._encode(tokens, mask)
        else:
            windows = TextWindows.of(mask_to_lengths(mask), size)
            values = windows.join(self._encode(*windows.cut(tokens)), mask.shape[1])
        return PaddedSequence(zero_padding(values, mask), mask)

    def prefix(self, precision: str) -> Prefix | str | None:
        """Returns what computes the frozen beginning: see `Encoder.prefix`."""
        depth, num_blocks = self.backbone.prefix_depth, len(self.backbone.blocks)
        if depth is None:
            return None
        if depth == num_blocks:
            return prefix_extractor(self, precision, self._prefix_ends)
        if self.backbone.frozen_depth not in (STEM, 0) and not self.backbone.is_plain:
            return "the blocks of this model need more than the output of those before them"
        if depth in (STEM, 0):
            return "embeddings are looked up as fast as stored vectors are read"
        if self.tokenize.longer == "windows":
            return "the windows of a long text overlap (longer=windows)"
        return prefix_extractor(self, precision, self._prefix_ends)

    @property
    def prefix_size(self) -> int:
        """Width of what the frozen beginning puts out."""
        return self.feature_size

    @property
    def prefix_identity(self) -> str:
        """The model, its files, what is done to texts, and where the beginning ends."""
        model, checkpoint = type(self.backbone.model).__name__, self.checkpoint
        tokens = f"{self.tokenize.max_length} tokens, {self.tokenize.longer}"
        about = f"{model} {checkpoint.commit} {checkpoint.digest} {tokens}"
        return f"{about} prefix: {self._prefix_ends}"

    def encode_prefix(self, sequence: PaddedSequence) -> PaddedSequence:
        """Runs the frozen beginning: see `PrefixedEncoder`."""
        depth = self.backbone.prefix_depth
        if depth is None or depth == len(self.backbone.blocks):
            return self.encode(sequence)
        tokens, mask = self._padded(sequence)
        values = self.backbone.forward_prefix(depth, **self._inputs(tokens, mask))
        return PaddedSequence(zero_padding(values, mask), mask)

    @property
    def _prefix_ends(self) -> str:
        return self.backbone.prefix_words(self.backbone.prefix_depth, self.layer)

    def _forward_from_prefix(self, sequence: PaddedSequence) -> PaddedSequence:
        """Encodes what the frozen beginning has put out."""
        missing = max(0, 1 - sequence.valid_mask.shape[1])
        mask = functional.pad(sequence.valid_mask, (0, missing))
        values = zero_padding(functional.pad(sequence.values, (0, 0, 0, missing)), mask)
        depth = self.backbone.prefix_depth
        if depth is not None and depth != len(self.backbone.blocks):
            values = self.backbone.forward_suffix(depth, values, _attended(mask))
        return PaddedSequence(zero_padding(values, mask), mask)

    def _padded(
        self, sequence: PaddedSequence
    ) -> tuple[Int[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
        missing = max(0, 1 - sequence.valid_mask.shape[1])
        mask = functional.pad(sequence.valid_mask, (0, missing))
        tokens: Tensor = functional.pad(sequence.values, (0, missing))
        return tokens.masked_fill(~mask, self.padding_token), mask

    def _encode(
        self, tokens: Int[Tensor, "text time"], mask: Bool[Tensor, "text time"]
    ) -> Float[Tensor, "text time feature"]:
        values: Tensor = self.backbone(**self._inputs(tokens, mask))
        return values

    def _inputs(
        self, tokens: Int[Tensor, "text time"], mask: Bool[Tensor, "text time"]
    ) -> dict[str, Tensor]:
        shown = tokens.masked_fill(~mask, self.padding_token)
        return {"input_ids": shown, "attention_mask": _attended(mask).long()}


@dataclass(frozen=True)
class Tokens:
    """Turns a text into the tokens of a pretrained model, composed letters (NFC) first.

    Args:
        folder: Where the tokenizer is.
        state: The state of the folder, so that a tokenizer that was written anew is loaded anew.
        max_length: Number of tokens that are kept, those at both ends included.
        longer: `truncate`, `windows` or `refuse`.
    """

    folder: str
    state: tuple[tuple[str, int, int], ...]
    max_length: int
    longer: str

    def __call__(self, text: Any) -> npt.NDArray[np.int64] | None:
        """Returns the tokens.

        Args:
            text: The text of one utterance.

        Returns:
            `[time]`; None where the text is missing or blank.

        Raises:
            DataError: It is too long, and `longer` is `refuse`.
        """
        stripped = unicodedata.normalize("NFC", text or "").strip()
        if not stripped:
            return None
        cut = {"truncation": True, "max_length": self.max_length}
        options = cut if self.longer == "truncate" else {}
        tokenizer = load_tokenizer(self.folder, self.state)
        tokens = tokenizer(stripped, verbose=False, **options)["input_ids"]
        if self.longer == "refuse" and len(tokens) > self.max_length:
            raise DataError(
                f"a text of {len(tokens)} tokens, {stripped[:40]!r}...",
                expected=f"at most {self.max_length} (the encoder's max_length)",
                hint="set longer to windows or truncate, or cut the text",
            )
        return np.array(tokens, dtype=np.int64)


@dataclass(frozen=True)
class TextSettings:
    """What the files beside the weights say about a text model.

    Args:
        feature_size: Width of its output.
        num_blocks: Number of its transformer blocks.
        padding_token: Number of the token that stands under the padding.
        longest: Most tokens that it can read.
        num_ends: Tokens that the tokenizer puts around a text.
    """

    feature_size: int
    num_blocks: int
    padding_token: int
    longest: int
    num_ends: int

    def tokenization(self, checkpoint: Checkpoint, max_length: int | None, longer: str) -> Tokens:
        """Returns what is done to each text.

        Args:
            checkpoint: Where the tokenizer is.
            max_length: Number of tokens that are read; None is the most that the model can.
            longer: `truncate`, `windows` or `refuse`.

        Returns:
            The transform.

        Raises:
            ConfigError: `longer` is unknown, or the length is out of its range.
        """
        if longer not in LONGER:
            raise ConfigError(f"longer is {longer!r}", hint=nearest(longer, LONGER))
        if longer == "windows" and self.num_ends != 2:
            raise ConfigError(
                f"longer=windows, and the tokenizer puts {self.num_ends} tokens around a text",
                expected="one before and one behind, which every window gets",
                hint="set longer to truncate",
            )
        length = self.longest if max_length is None else max_length
        if not 3 <= length <= self.longest:
            raise ConfigError(
                f"max_length={length}", expected=f"null, or a number from 3 to {self.longest}"
            )
        return Tokens(str(checkpoint.folder), checkpoint.state, length, longer)


@dataclass(frozen=True)
class PretrainedTextExtractor:
    """The vectors of a pretrained text model, of several texts at once.

    Args:
        name: A folder, or a name of the hub.
        revision: Commit, tag or branch of the hub.
        layer: `last`, or the number of a block.
        pooling: `mean` = one vector a text, `none` = one a token.
        max_length: See `PretrainedTextEncoder`.
        longer: See `PretrainedTextEncoder`.
        precision: `float32` or `bfloat16`; None is bfloat16 on CUDA, float32 elsewhere.

    Raises:
        ConfigError: An option is out of its range, or nothing can be found under this name.
        CheckpointError: The folder cannot be read, or has no safetensors or no tokenizer.
        MissingExtraError: transformers is not installed.
    """

    name: str
    revision: str | None = None
    layer: str | int = "last"
    pooling: str = "mean"
    max_length: int | None = None
    longer: str = "truncate"
    precision: str | None = None
    source = "text"
    sampling_rate_hz = 16_000
    frame_rate_hz = None

    def __post_init__(self) -> None:
        resolve_precision(self.precision)
        check_frozen(self.layer, self.pooling, self._settings.num_blocks)
        self._tokenization()

    @property
    def feature_size(self) -> int:
        """Width of its vectors."""
        return self._settings.feature_size

    @property
    def identity(self) -> str:
        """Architecture, version of transformers, digest of the files, and options."""
        model, tokens = self._checkpoint.family(FAMILIES).model, self._tokenization()
        return (
            f"transformers {package_version('transformers', 'pretrained')} {model} "
            f"{self._checkpoint.commit} {self._checkpoint.digest} layer {self.layer} "
            f"pooling {self.pooling} {resolve_precision(self.precision)} "
            f"{tokens.max_length} tokens, {tokens.longer}"
        )

    @property
    def max_batch_amount(self) -> int:
        """Greatest padded length of a batch on this machine, in characters."""
        return int(max_batch_s() * CHARACTERS_A_SECOND)

    def __call__(self, raw: str) -> Float32[np.ndarray, "time feature"]:
        """Encodes one text.

        Args:
            raw: The text.

        Returns:
            Float32 `[time, feature]`; one vector of zeros where it is blank.
        """
        return self.extract_batch([raw])[0]

    def extract_batch(
        self, raws: collections.abc.Sequence[str]
    ) -> list[Float32[np.ndarray, "_time feature"]]:
        """Encodes several texts.

        Args:
            raws: Each as for one.

        Returns:
            What each gives alone, but for rounding.
        """
        return extract_batch(
            _frozen_encoder(self, self._checkpoint.state),
            raws,
            pooling=self.pooling,
            precision=resolve_precision(self.precision),
        )

    def release(self) -> None:
        """Frees the memory of the model."""
        _frozen_encoder.cache_clear()

    @functools.cached_property
    def _checkpoint(self) -> Checkpoint:
        return locate(self.name, self.revision)

    @functools.cached_property
    def _settings(self) -> TextSettings:
        return _settings(self._checkpoint)

    def _tokenization(self) -> Tokens:
        return self._settings.tokenization(self._checkpoint, self.max_length, self.longer)


class PretrainedTextEmbeddings(FrozenEncoder):
    """The vectors of a pretrained text model that is not trained, stored and standardised.

    Args:
        name: A folder, or a name of the hub.
        revision: Commit, tag or branch of the hub.
        layer: `last`, or the number of a block.
        pooling: `mean` = one vector a text, `none` = one a token.
        max_length: See `PretrainedTextEncoder`.
        longer: See `PretrainedTextEncoder`.
        precision: See `PretrainedTextExtractor`.
        normalise: See `FrozenEncoder`.
        clip: See `FrozenEncoder`.

    Raises:
        ConfigError: An option is out of its range, or nothing can be found under this name.
        CheckpointError: The folder cannot be read, or has no safetensors or no tokenizer.
        MissingExtraError: transformers is not installed.
    """

    source = "text"
    weights_mb = classmethod(folder_weights_mb)

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
            name, revision, layer, pooling, max_length, longer, precision
        )
        super().__init__(extractor, normalise=normalise, clip=clip)


def _attended(mask: Bool[Tensor, "text time"]) -> Bool[Tensor, "text time"]:
    """An absent text shows its first frame of padding, so that attention has something to see."""
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return mask | (first & ~mask.any(dim=1, keepdim=True))


@functools.lru_cache(maxsize=4)
def load_tokenizer(folder: str, state: tuple[tuple[str, int, int], ...]) -> Any:
    """Loads a tokenizer, once a process.

    Args:
        folder: Where it is.
        state: The state of the folder; in another state it is loaded anew.

    Returns:
        The tokenizer of transformers.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    from transformers import AutoTokenizer  # here, as it is optional

    try:
        # Without a vocabulary transformers makes an empty tokenizer that knows no word.
        if not any(one for pattern in VOCABULARIES for one in Path(folder).glob(pattern)):
            raise FileNotFoundError(f"there is none of {', '.join(VOCABULARIES)}")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a dozen different ones, by the kind of tokenizer
        raise CheckpointError(
            f"the tokenizer of {folder} cannot be loaded: {first_line(error)}",
            expected="tokenizer.json and tokenizer_config.json beside the weights",
            hint="store them with tokenizer.save_pretrained, or copy them from the hub",
        ) from error


def _settings(checkpoint: Checkpoint) -> TextSettings:
    from transformers import AutoConfig

    checkpoint.family(FAMILIES)
    config = AutoConfig.from_pretrained(
        checkpoint.folder, local_files_only=True, trust_remote_code=False
    )
    tokenizer = load_tokenizer(str(checkpoint.folder), checkpoint.state)
    if len(tokenizer) > config.vocab_size:
        raise CheckpointError(
            f"the tokenizer of {checkpoint.folder} has {len(tokenizer)} tokens",
            expected=f"at most the {config.vocab_size} that the model has vectors for",
            hint="use the tokenizer that the model was trained with",
        )
    padding = config.pad_token_id
    if padding is None:
        raise CheckpointError(
            f"config.json of {checkpoint.folder} names no pad_token_id",
            expected="the token that stands under the padding",
            hint="add it, as the model was trained",
        )
    shift = padding + 1 if checkpoint.model_type in SHIFTED else 0
    longest = min(config.max_position_embeddings - shift, tokenizer.model_max_length)
    size, num_blocks = config.hidden_size, config.num_hidden_layers
    ends = tokenizer.num_special_tokens_to_add(pair=False)
    return TextSettings(size, num_blocks, padding, int(longest), ends)


@functools.lru_cache(maxsize=2)
def _frozen_encoder(
    extractor: PretrainedTextExtractor, state: tuple[tuple[str, int, int], ...]
) -> PretrainedTextEncoder:
    # The state is there for the cache: a model that was written anew is loaded anew.
    encoder = PretrainedTextEncoder(
        extractor.name,
        extractor.revision,
        layer=extractor.layer,
        freeze="all",
        max_length=extractor.max_length,
        longer=extractor.longer,
    )
    move_to_device(encoder)
    return encoder
