"""Overlapping windows for texts that are longer than the input of a model.

Legend: batch = texts, time = tokens, window = windows of all texts, slot = tokens of a window,
feature = width.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polymodal.layers.masks import lengths_to_mask

Tokens = Int[Tensor, "batch time"]
# Fraction of a window that the next one repeats, so that each token has context.
OVERLAP = 0.25


@dataclass(frozen=True)
class TextWindows:
    """Positions and contents of the windows of a batch.

    Each window begins and ends with the special tokens of the text, as the model was trained; the
    last one of a text ends where the text does. A token's vector is taken from the window in which
    it has more context. A text that fits has one window, itself.

    Example:
        >>> windows = TextWindows.of(torch.tensor([8, 3]), size=6)
        >>> tokens = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 9], [0, 1, 9, 0, 0, 0, 0, 0]])
        >>> windows.cut(tokens)[0].tolist()
        [[0, 1, 2, 3, 4, 9], [0, 3, 4, 5, 6, 9], [0, 1, 9, 9, 9, 9]]
        >>> windows.join(windows.cut(tokens)[0][..., None].float(), 8)[0, :, 0].int().tolist()
        [0, 1, 2, 3, 4, 5, 6, 9]
    """

    begins: Int[Tensor, "batch _"]  # first token of the body of each window
    counts: Int[Tensor, "batch _"]  # tokens of that body; -1 where a text has fewer windows
    lengths: Int[Tensor, " batch"]  # number of tokens of each text, those at both ends included
    size: int  # tokens of a window, those at both ends included

    @classmethod
    def of(cls, lengths: Int[Tensor, " batch"], size: int) -> "TextWindows":
        """Place windows of at most `size` tokens, at least 3, over the texts of a batch.

        `lengths` counts the tokens of each text, those at both ends included; 0 for an absent one.
        """
        capacity = size - 2
        step = max(1, round(capacity * (1 - OVERLAP)))
        bodies = (lengths - 2).clamp(min=0)
        max_windows = 1 + max(0, -(-(int(bodies.max()) - capacity) // step))
        first = torch.arange(max_windows, device=lengths.device) * step
        begins = torch.minimum(first, (bodies - capacity).clamp(min=0)[:, None])
        needed = first < (bodies - capacity + step)[:, None]
        needed[:, 0] = True
        counts = (bodies[:, None] - begins).clamp(max=capacity).masked_fill(~needed, -1)
        return cls(begins, counts, lengths, size)

    def cut(self, tokens: Tokens) -> tuple[Int[Tensor, "window slot"], Bool[Tensor, "window slot"]]:
        """Return the windows of all texts, text after text, and which of their tokens are real."""
        slots = torch.arange(self.size, device=tokens.device)
        counts = self.counts[..., None]
        ends = (self.lengths - 1).clamp(min=0)[:, None, None]
        positions = torch.where(slots <= counts, self.begins[..., None] + slots, ends)
        positions = positions.masked_fill(slots == 0, 0)
        cut = tokens.gather(1, positions.flatten(1)).reshape(positions.shape)
        real = lengths_to_mask(self.lengths.clamp(max=self.size), self.size)[:, None]
        mask = (slots <= counts + 1) & (counts >= 0) & (real | (counts > 0))
        is_used = self.counts >= 0
        return cut[is_used], mask[is_used]

    def join(
        self, values: Float[Tensor, "window slot feature"], num_tokens: int
    ) -> Float[Tensor, "batch time feature"]:
        """Return one vector a token from the encoded windows; without meaning behind a text."""
        is_used = self.counts >= 0
        num = torch.arange(num_tokens, device=values.device).expand(len(self.lengths), -1)
        # The window of a token changes in the middle of an overlap.
        changes = (self.begins[:, :-1] + self.size - 1 + self.begins[:, 1:]) // 2
        later = is_used[:, 1:, None] & ((num - 1)[:, None] >= changes[..., None])
        owners = later.sum(dim=1)
        begins = self.begins.gather(1, owners)
        slots = (num - begins).clamp(0, self.size - 1)
        slots = torch.where(num == 0, 0, slots)
        rows = (is_used.flatten().cumsum(0) - 1).reshape(is_used.shape).gather(1, owners)
        joined: Tensor = values[rows, slots]
        return joined
