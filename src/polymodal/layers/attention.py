"""Attention within a modality and between modalities, pre-norm, with masks.

Rotary positions, applied to query and key, make only differences of positions count.

Legend: batch = utterances, head = attention heads, time = frames, feature = width, size = width of
a head, query = frames that attend, key = frames that are attended to.
"""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from polymodal.errors import ConfigError
from polymodal.layers.feedforward import FeedForward
from polymodal.layers.masks import attention_mask, mask_to_lengths, zero_padding
from polymodal.schemas.batch import PaddedSequence

Frames = Float[Tensor, "batch time feature"]
Mask = Bool[Tensor, "batch time"]
Heads = Float[Tensor, "batch head time size"]
Positions = Float[Tensor, "batch time"]


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of several heads (Vaswani et al. 2017, arXiv 1706.03762).

    `width / num_heads` is a whole even number.

    Raises:
        ConfigError: `width` cannot be divided into heads of even width.

    Example:
        >>> attention = MultiHeadAttention(width=8, num_heads=2)
        >>> frames, mask = torch.zeros(1, 5, 8), torch.ones(1, 5, dtype=torch.bool)
        >>> attention(frames[:, :2], frames, mask).shape
        torch.Size([1, 2, 8])
    """

    def __init__(self, width: int, num_heads: int = 4) -> None:
        super().__init__()
        if num_heads < 1 or width % (2 * num_heads):
            raise ConfigError(
                f"width {width} is not divisible by {num_heads} heads",
                expected="width / num_heads whole and even (rotary positions rotate pairs)",
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
        """Return one vector a query; zeros where an utterance has no real key.

        Rotary positions, on the same axis for `query` and `key`, are applied where both are given.
        """
        queries = self._split_heads(self.query(query))
        keys, values = (self._split_heads(half) for half in self.key_value(key).chunk(2, dim=-1))
        if query_positions is not None and key_positions is not None:
            queries = rotate(queries, query_positions, base)
            keys = rotate(keys, key_positions, base)
        attended = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=attention_mask(key_mask)
        )
        output: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return output.masked_fill(~key_mask.any(dim=1)[:, None, None], 0.0)

    def _split_heads(self, vectors: Frames) -> Heads:
        batch, time, width = vectors.shape
        return vectors.reshape(batch, time, self.num_heads, width // self.num_heads).transpose(1, 2)


class SelfAttentionBlock(nn.Module):
    """A pre-norm transformer block: attention, then a feed-forward layer.

    Each sublayer reads the normalised stream, and its output, after dropout, is added to the stream
    itself (Xiong et al. 2020, arXiv 2002.04745). Attention weights are not dropped, as fused
    kernels then do not apply on the CPU. Positions are frame numbers.
    """

    def __init__(
        self, width: int, num_heads: int = 4, dropout: float = 0.1, expansion: int = 2
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, num_heads)
        self.dropout = nn.Dropout(dropout)
        self.feedforward = FeedForward(width, expansion, dropout)

    def forward(self, stream: Frames, valid_mask: Mask) -> Frames:
        """Return the updated stream; finite under the padding too, if the input is."""
        normed = self.attention_norm(stream)
        positions = frame_positions(valid_mask)
        attended = self.attention(normed, normed, valid_mask, positions, positions)
        stream = stream + self.dropout(attended)
        updated: Tensor = stream + self.feedforward(stream)
        return updated


class Transformer(nn.Module):
    """A stack of pre-norm blocks with a norm at the end; without blocks the norm alone."""

    def __init__(
        self, width: int, num_layers: int = 2, num_heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(width, num_heads, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, sequence: PaddedSequence) -> PaddedSequence:
        """Return the sequence after all blocks: `[batch, time, width]`, zeros under the padding."""
        stream = zero_padding(sequence.values, sequence.valid_mask)
        for block in self.blocks:
            stream = block(stream, sequence.valid_mask)
        return PaddedSequence(
            zero_padding(self.norm(stream), sequence.valid_mask), sequence.valid_mask
        )


class CrossAttentionBlock(nn.Module):
    """The stream of one modality attends to each of the other modalities, pre-norm.

    The results are averaged over the modalities of `sources` that are present, so their number does
    not change the scale, and added to the stream itself. Positions are relative to the utterance
    (see `relative_positions`), as the modalities differ in frame rate.
    """

    # The slowest rotation is a fraction of a turn over the whole utterance.
    ROTARY_BASE = 100.0

    def __init__(
        self, sources: Iterable[str], width: int, num_heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        names = sorted(sources)
        self.norm = nn.LayerNorm(width) if names else nn.Identity()
        self.source_norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in names})
        attentions = {name: MultiHeadAttention(width, num_heads) for name in names}
        self.attentions = nn.ModuleDict(attentions)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, stream: Frames, valid_mask: Mask, sources: Mapping[str, PaddedSequence]
    ) -> Frames:
        """Return the stream with the mean of its attention to `sources` added.

        Modalities of `sources` that this block was not built for are ignored.
        """
        normed, positions = self.norm(stream), relative_positions(valid_mask)
        total = torch.zeros_like(stream)
        num_present = valid_mask.new_zeros(len(valid_mask), dtype=torch.long)
        for name, attention in self.attentions.items():
            source = sources[name]
            keys = self.source_norms[name](source.values)
            key_positions = relative_positions(source.valid_mask)
            total = total + attention(
                normed, keys, source.valid_mask, positions, key_positions, self.ROTARY_BASE
            )
            num_present = num_present + source.present
        updated: Tensor = stream + self.dropout(total / num_present.clamp(min=1)[:, None, None])
        return updated


def frame_positions(valid_mask: Mask) -> Positions:
    """Return the number of each frame, 0, 1, 2, ..., for attention within one modality."""
    numbers = torch.arange(valid_mask.shape[1], device=valid_mask.device, dtype=torch.float32)
    return numbers.expand(valid_mask.shape)


def relative_positions(valid_mask: Mask, span: float = 32.0) -> Positions:
    """Return the middle of each frame as a position in its utterance, 0 to `span`.

    Modalities differ in frame rate and text has no clock, but all of them cover the same
    utterance: its beginning and end are the only points they surely have in common.

    Example:
        >>> relative_positions(torch.tensor([[True, True, False]]), span=4.0)[0, :2].tolist()
        [1.0, 3.0]
    """
    lengths = mask_to_lengths(valid_mask).clamp(min=1)
    return (frame_positions(valid_mask) + 0.5) * (span / lengths[:, None])


def rotate(vectors: Heads, positions: Positions, base: float = 10000.0) -> Heads:
    """Rotate pairs of coordinates by angles that grow with the position; `size` is even.

    RoFormer (Su et al. 2021, arXiv 2104.09864): the product of two rotated vectors depends on their
    distance alone. `base` is roughly the ratio of the fastest to the slowest rotation.
    """
    half = vectors.shape[-1] // 2
    steps = torch.arange(half, device=vectors.device, dtype=torch.float32)
    angles = positions[:, None, :, None] * base ** (-steps / half)
    cosine, sine = angles.cos(), angles.sin()
    left, right = vectors[..., :half].float(), vectors[..., half:].float()
    rotated = torch.cat([left * cosine - right * sine, left * sine + right * cosine], dim=-1)
    return rotated.to(vectors.dtype)
