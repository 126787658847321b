"""The families of pretrained text models, their settings, and tokenization."""

import functools
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polymodal.encoders.huggingface.checkpoint import Checkpoint, Family, State, first_line
from polymodal.errors import CheckpointError, ConfigError, DataError, nearest

BERT = Family(
    "BertModel",
    blocks="encoder.layer",
    stem=("embeddings",),
    adapted=("query", "value"),
    options={"add_pooling_layer": False},  # unused, so it would get no gradient
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
        plain=False,  # the blocks also get relative positions
        options={},
    ),
}
# Their positions start behind that of the padding.
SHIFTED = ("roberta", "xlm-roberta")
LONGER = ("truncate", "windows", "refuse")
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


@dataclass(frozen=True)
class Tokens:
    """Turn a text into the tokens of a pretrained model, after NFC normalisation."""

    folder: str  # of the tokenizer
    state: State  # of the folder, so that a changed tokenizer is loaded again
    max_length: int  # maximum number of tokens, those at both ends included
    longer: str  # `truncate`, `windows` or `refuse`

    @property
    def identity(self) -> str:
        """All options that change the tokens of a given tokenizer."""
        return f"{self.max_length} tokens, {self.longer}"

    def __call__(self, text: Any) -> npt.NDArray[np.int64] | None:
        """Return the tokens `[time]`; None where the text is missing or blank.

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
    """The settings of a text model, from the files beside its weights."""

    feature_size: int  # width of its output
    num_blocks: int  # number of its transformer blocks
    padding_token: int
    longest: int  # maximum number of tokens of its input
    num_ends: int  # number of tokens that the tokenizer puts around a text

    def tokenization(self, checkpoint: Checkpoint, max_length: int | None, longer: str) -> Tokens:
        """Return the tokenization of texts; `max_length=None` is the model's own limit.

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


@functools.lru_cache(maxsize=4)
def load_tokenizer(folder: str, state: State) -> Any:
    """Load a tokenizer of transformers, once a process and state of its folder.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    from transformers import AutoTokenizer  # here, as it is optional

    try:
        # Without a vocabulary transformers builds an empty tokenizer.
        if not any(path for pattern in VOCABULARIES for path in Path(folder).glob(pattern)):
            raise FileNotFoundError(f"there is none of {', '.join(VOCABULARIES)}")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a dozen different ones, by the kind of tokenizer
        raise CheckpointError(
            f"the tokenizer of {folder} cannot be loaded: {first_line(error)}",
            expected="tokenizer.json and tokenizer_config.json beside the weights",
            hint="store them with tokenizer.save_pretrained, or copy them from the hub",
        ) from error


def read_settings(checkpoint: Checkpoint) -> TextSettings:
    """Read the settings of a text model from the files beside its weights.

    Raises:
        CheckpointError: The tokenizer is missing or does not fit the model.
        ConfigError: Its architecture is unknown.
    """
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
