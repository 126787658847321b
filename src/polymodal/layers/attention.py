"""Attention within a modality and between modalities, pre-norm, with masks.

Legend: batch = utterances, time = frames, feature = width, query/key = frames that ask/are asked.
"""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from polymodal.errors import ConfigError
from polymodal.layers.feedforward import FeedForward
from polymodal.layers.masks import attention_mask, zero_padding
from polymodal.layers.rotary import frame_positions, relative_positions, rotate
from polymodal.schemas.batch import PaddedSequence


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of several heads (Vaswani et al. 2017, arXiv 1706.03762).

    Args:
        width: Width of the vectors.
        num_heads: Number of heads; `width / num_heads` is a whole even number.

    Raises:
        ConfigError: `width` cannot be parted into heads of even width.
    """

    def __init__(self, width: int, num_heads: int = 4) -> None:
        super().__init__()
        if num_heads < 1 or width % (2 * num_heads):
            raise ConfigError(
                f"width {width} cannot be parted into {num_heads} heads",
                expected="width / num_heads whole and even (positions turn pairs of coordinates)",
                hint=f"set width to a multiple of {2 * max(num_heads, 1)}",
            )
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(
        self,
        query: Float[Tensor, "batch query feature"],
        key: Float[Tensor, "batch key feature"],
        key_mask: Bool[Tensor, "batch key"],
        query_positions: Float[Tensor, "batch query"] | None = None,
        key_positions: Float[Tensor, "batch key"] | None = None,
        base: float = 10000.0,
    ) -> Float[Tensor, "batch query feature"]:
        """Returns what the queries read from the keys.

        Args:
            query: The frames that ask.
            key: The frames that are asked, for keys and values.
            key_mask: True = a real frame of `key`.
            query_positions: Rotary positions of `query`; None for none.
            key_positions: Rotary positions of `key`, on the same axis; None for none.
            base: Base of the rotary positions.

        Returns:
            One vector a query; zeros where an utterance has no real key.
        """
        queries = self._part(self.query(query))
        keys, values = (self._part(half) for half in self.key_value(key).chunk(2, dim=-1))
        if query_positions is not None and key_positions is not None:
            queries = rotate(queries, query_positions, base)
            keys = rotate(keys, key_positions, base)
        read = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=attention_mask(key_mask)
        )
        output: Tensor = self.output(read.transpose(1, 2).flatten(2))
        return output.masked_fill(~key_mask.any(dim=1)[:, None, None], 0.0)

    def _part(
        self, vectors: Float[Tensor, "batch time feature"]
    ) -> Float[Tensor, "batch head time size"]:
        batch, time, width = vectors.shape
        return vectors.reshape(batch, time, self.num_heads, width // self.num_heads).transpose(1, 2)


class SelfAttentionBlock(nn.Module):
    """A pre-norm transformer block: attention, then a feed-forward layer.

    The norm stands before each part and the part's output is added to the stream itself, never to
    the normalised one (Xiong et al. 2020, arXiv 2002.04745). Positions are numbers of frames.

    Args:
        width: Width of the stream.
        num_heads: Number of heads.
        dropout: Dropout of what both parts add to the stream, and of the feed-forward layer;
            attention weights are not dropped, as fused kernels then do not apply on the CPU.
        expansion: Width of the feed-forward layer in multiples of `width`.
    """

    def __init__(
        self, width: int, num_heads: int = 4, dropout: float = 0.1, expansion: int = 2
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, num_heads)
        self.dropout = nn.Dropout(dropout)
        self.feedforward = FeedForward(width, expansion, dropout)

    def forward(
        self,
        stream: Float[Tensor, "batch time feature"],
        valid_mask: Bool[Tensor, "batch time"],
    ) -> Float[Tensor, "batch time feature"]:
        """Returns the updated stream.

        Args:
            stream: The frames, finite under the padding too.
            valid_mask: True = real.

        Returns:
            The same shape; finite under the padding, to be masked by the caller.
        """
        normed = self.attention_norm(stream)
        positions = frame_positions(valid_mask)
        read = self.attention(normed, normed, valid_mask, positions, positions)
        stream = stream + self.dropout(read)
        updated: Tensor = stream + self.feedforward(stream)
        return updated


class Transformer(nn.Module):
    """A stack of pre-norm blocks with a norm at the end.

    Args:
        width: Width of the stream.
        num_layers: Number of blocks; 0 leaves the norm alone.
        num_heads: Number of heads.
        dropout: Dropout within the blocks.
    """

    def __init__(
        self, width: int, num_layers: int = 2, num_heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(width, num_heads, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, sequence: PaddedSequence) -> PaddedSequence:
        """Returns the sequence after all blocks.

        Args:
            sequence: `[batch, time, width]` and its mask.

        Returns:
            The same shape and mask, zeros under the padding.
        """
        stream = zero_padding(sequence.values, sequence.valid_mask)
        for block in self.blocks:
            stream = block(stream, sequence.valid_mask)
        return PaddedSequence(
            zero_padding(self.norm(stream), sequence.valid_mask), sequence.valid_mask
        )


class CrossAttentionBlock(nn.Module):
    """One modality's stream reads from each of the other modalities, pre-norm.

    What it reads is averaged over the modalities that are present, so their number does not
    change the scale, and added to the stream itself. Positions are relative to the utterance
    (see `relative_positions`), as the modalities differ in frame rate.

    Args:
        sources: Names of the other modalities; may be none.
        width: Width of the stream and of the sources.
        num_heads: Number of heads.
        dropout: Dropout of what was read.
    """

    # Slowest turning: a fraction of a turn over the whole utterance.
    ROTARY_BASE = 100.0

    def __init__(
        self, sources: Iterable[str], width: int, num_heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        names = sorted(sources)
        self.norm = nn.LayerNorm(width) if names else nn.Identity()
        self.source_norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in names})
        self.attentions = nn.ModuleDict(
            {name: MultiHeadAttention(width, num_heads) for name in names}
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        stream: Float[Tensor, "batch time feature"],
        valid_mask: Bool[Tensor, "batch time"],
        sources: Mapping[str, PaddedSequence],
    ) -> Float[Tensor, "batch time feature"]:
        """Returns the stream with what it read added.

        Args:
            stream: The modality that asks.
            valid_mask: True = a real frame of the stream.
            sources: The modalities that are asked; others than this block's are left alone.

        Returns:
            The same shape.
        """
        normed, positions = self.norm(stream), relative_positions(valid_mask)
        read = torch.zeros_like(stream)
        num_present = valid_mask.new_zeros(len(valid_mask), dtype=torch.long)
        for name, attention in self.attentions.items():
            source = sources[name]
            keys = self.source_norms[name](source.values)
            key_positions = relative_positions(source.valid_mask)
            read = read + attention(
                normed, keys, source.valid_mask, positions, key_positions, self.ROTARY_BASE
            )
            num_present = num_present + source.present
        updated: Tensor = stream + self.dropout(read / num_present.clamp(min=1)[:, None, None])
        return updated
