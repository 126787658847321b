"""A text encoder trained from scratch: n-grams of characters or bytes, transformer.

Legend: batch = utterances, time = units of text, feature = width.
"""

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional

from polymodal.encoders.base import Encoder, Transform
from polymodal.errors import ConfigError, nearest
from polymodal.layers.attention import Transformer
from polymodal.layers.convolution import ConvolutionBlock
from polymodal.schemas.batch import PaddedSequence

Units = Int[Tensor, "batch time"]
Unit = Literal["characters", "jamo", "bytes"]
UNITS = ("characters", "jamo", "bytes")
# Odd constants of multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4).
MULTIPLIER, MODULUS = 2654435761, 2**31


class TextEncoder(Encoder):
    """Characters, jamo or bytes to one vector each.

    Every unit is embedded with the n-grams that end at it, hashed into buckets (as in fastText,
    Bojanowski et al. 2017, arXiv 1607.04606): few utterances are enough to learn whole syllables
    and short words. A convolution and a transformer follow.

    `unit` is `characters`, code points after NFC, so that a Korean syllable is one unit; `jamo`,
    code points after NFD, so that syllables share their letters; or `bytes` of UTF-8. The units
    after `max_length` are cut off. `num_buckets` is the number of embeddings for each of the
    `ngram_sizes`; different n-grams may share one. `dropout` is that of all layers.

    Raises:
        ConfigError: The unit is unknown, a number is not positive, or the width is not divisible
            by the heads.

    Example:
        >>> TextEncoder(width=16, num_heads=2).transform()("yes").tolist()
        [122, 102, 116]
    """

    source = "text"

    def __init__(
        self,
        unit: str = "characters",
        width: int = 64,
        num_layers: int = 1,
        num_heads: int = 4,
        dropout: float = 0.1,
        max_length: int = 256,
        num_buckets: int = 4096,
        ngram_sizes: Collection[int] = (1, 2, 3),
    ) -> None:
        super().__init__()
        _check(unit, max_length, num_buckets, ngram_sizes)
        self.unit, self.max_length, self.feature_size = unit, max_length, width
        self.num_buckets, self.ngram_sizes = num_buckets, tuple(ngram_sizes)
        self.embeddings = nn.ModuleList(nn.Embedding(num_buckets, width) for _ in self.ngram_sizes)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.convolution = ConvolutionBlock(width, width, kernel=3, dropout=dropout)
        self.transformer = Transformer(width, num_layers, num_heads, dropout)

    def transform(self) -> Transform:
        """Return the conversion of a text to unit numbers, at most `max_length` of them."""
        return TextUnits(self.unit, self.max_length)

    def encode(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return `[batch, time, width]` for unit numbers `[batch, time]`."""
        # N-grams look back only, so no n-gram of a text reaches the padding behind it.
        total = torch.zeros((), device=sequence.values.device)
        for size, embedding in zip(self.ngram_sizes, self.embeddings, strict=True):
            total = total + embedding(ngram_buckets(sequence.values, size, self.num_buckets))
        embedded = self.dropout(self.norm(total))
        convolved: PaddedSequence = self.convolution(PaddedSequence(embedded, sequence.valid_mask))
        # The convolution gives a batch without units one masked frame.
        padded = functional.pad(embedded, (0, 0, 0, convolved.values.shape[1] - embedded.shape[1]))
        stream = PaddedSequence(convolved.values + padded, convolved.valid_mask)
        encoded: PaddedSequence = self.transformer(stream)
        return encoded


@dataclass(frozen=True)
class TextUnits:
    """Turn a text into unit numbers, 1 and above (0 is the position before the text).

    Example:
        >>> TextUnits("characters", 3)("abcd").tolist()
        [98, 99, 100]
        >>> len(TextUnits("jamo", 9)("한"))
        3
    """

    unit: str  # `characters`, `jamo` or `bytes`
    max_length: int  # maximum number of units, from the start

    def __call__(self, text: Any) -> npt.NDArray[np.int64] | None:
        """Return the numbers `[time]`; None where the text is missing or blank."""
        stripped = (text or "").strip()
        if not stripped:
            return None
        normal = unicodedata.normalize("NFD" if self.unit == "jamo" else "NFC", stripped)
        codes = list(normal.encode()) if self.unit == "bytes" else list(map(ord, normal))
        return np.array(codes[: self.max_length], dtype=np.int64) + 1


def ngram_buckets(units: Units, size: int, num_buckets: int) -> Units:
    """Return the bucket, 0 to `num_buckets - 1`, of the n-gram that ends at each unit.

    Units before the text count as 0. Single units keep their number if it is below `num_buckets`.

    Example:
        >>> ngram_buckets(torch.tensor([[5, 6]]), 1, 100).tolist()
        [[5, 6]]
    """
    if size == 1:
        return units % num_buckets
    before = functional.pad(units, (size - 1, 0))
    hashed = torch.full_like(units, size)
    for offset in range(size):
        hashed = (hashed + before[:, offset : offset + units.shape[1]]) * MULTIPLIER % MODULUS
    # The low digits of a product mix least.
    return (hashed >> 8) % num_buckets


def _check(unit: str, max_length: int, num_buckets: int, ngram_sizes: Collection[int]) -> None:
    if unit not in UNITS:
        expected = f"one of {', '.join(UNITS)}"
        raise ConfigError(f"unit {unit!r} is unknown", expected=expected, hint=nearest(unit, UNITS))
    if min(max_length, num_buckets, *ngram_sizes, len(ngram_sizes)) < 1:
        raise ConfigError(
            f"max_length={max_length}, num_buckets={num_buckets}, ngram_sizes={list(ngram_sizes)}",
            expected="whole numbers above 0, and at least one length of n-gram",
        )
