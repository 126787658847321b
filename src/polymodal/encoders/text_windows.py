"""Texts longer than a model can read: overlapping windows, and one vector a token again.

Legend: batch = texts, time = tokens, window = stretches of all texts, slot = tokens of a window,
feature = width.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polymodal.layers.masks import lengths_to_mask

# Neighbouring windows share this part of a window, so that each token is read with some context.
OVERLAP = 0.25


@dataclass(frozen=True)
class TextWindows:
    """Where the windows of a batch begin, and what they hold.

    Each window begins and ends with the tokens that the text begins and ends with, as the model
    was trained; the last one of a text ends where the text does. A token's vector is taken from
    the window in which it has more context. A text that fits has one window, itself.

    Args:
        begins: First token of the body of each window, `[batch, number of windows]`.
        counts: Tokens of that body; -1 where a text has fewer windows.
        lengths: Number of tokens of each text, those at both ends included.
        size: Tokens of a window, those at both ends included.

    Example:
        >>> windows = TextWindows.of(torch.tensor([8, 3]), size=6)
        >>> tokens = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 9], [0, 1, 9, 0, 0, 0, 0, 0]])
        >>> windows.cut(tokens)[0].tolist()
        [[0, 1, 2, 3, 4, 9], [0, 3, 4, 5, 6, 9], [0, 1, 9, 9, 9, 9]]
        >>> windows.join(windows.cut(tokens)[0][..., None].float(), 8)[0, :, 0].int().tolist()
        [0, 1, 2, 3, 4, 5, 6, 9]
    """

    begins: Int[Tensor, "batch _"]
    counts: Int[Tensor, "batch _"]
    lengths: Int[Tensor, " batch"]
    size: int

    @classmethod
    def of(cls, lengths: Int[Tensor, " batch"], size: int) -> "TextWindows":
        """Lays the windows over the texts of a batch.

        Args:
            lengths: Number of tokens of each text, those at both ends included; 0 for an absent
                one.
            size: Most tokens that the model reads at once, at least 3.

        Returns:
            The windows.
        """
        capacity = size - 2
        step = max(1, round(capacity * (1 - OVERLAP)))
        bodies = (lengths - 2).clamp(min=0)
        most = 1 + max(0, -(-(int(bodies.max()) - capacity) // step))
        first = torch.arange(most, device=lengths.device) * step
        begins = torch.minimum(first, (bodies - capacity).clamp(min=0)[:, None])
        needed = first < (bodies - capacity + step)[:, None]
        needed[:, 0] = True
        counts = (bodies[:, None] - begins).clamp(max=capacity).masked_fill(~needed, -1)
        return cls(begins, counts, lengths, size)

    def cut(
        self, tokens: Int[Tensor, "batch time"]
    ) -> tuple[Int[Tensor, "window slot"], Bool[Tensor, "window slot"]]:
        """Returns the windows of all texts, and which of their tokens are real.

        Args:
            tokens: The texts.

        Returns:
            Tokens and mask, window after window, text after text.
        """
        slots = torch.arange(self.size, device=tokens.device)
        counts = self.counts[..., None]
        ends = (self.lengths - 1).clamp(min=0)[:, None, None]
        places = torch.where(slots <= counts, self.begins[..., None] + slots, ends)
        places = places.masked_fill(slots == 0, 0)
        cut = tokens.gather(1, places.flatten(1)).reshape(places.shape)
        real = lengths_to_mask(self.lengths.clamp(max=self.size), self.size)[:, None]
        mask = (slots <= counts + 1) & (counts >= 0) & (real | (counts > 0))
        kept = self.counts >= 0
        return cut[kept], mask[kept]

    def join(
        self, values: Float[Tensor, "window slot feature"], num_tokens: int
    ) -> Float[Tensor, "batch time feature"]:
        """Returns one vector a token.

        Args:
            values: The encoded windows, as `cut` put them.
            num_tokens: Width of the batch.

        Returns:
            The vectors; without a meaning behind the end of a text.
        """
        kept = self.counts >= 0
        num = torch.arange(num_tokens, device=values.device).expand(len(self.lengths), -1)
        owners = self._owners(num - 1, kept)
        begins = self.begins.gather(1, owners)
        slots = (num - begins).clamp(0, self.size - 1)
        slots = torch.where(num == 0, 0, slots)
        rows = (kept.flatten().cumsum(0) - 1).reshape(kept.shape).gather(1, owners)
        joined: Tensor = values[rows, slots]
        return joined

    def _owners(
        self, bodies: Int[Tensor, "batch time"], kept: Bool[Tensor, "batch _"]
    ) -> Int[Tensor, "batch time"]:
        """The window that each token is taken from: the change is in the middle of an overlap."""
        ends = self.begins[:, :-1] + self.size - 2
        changes = (ends + self.begins[:, 1:] + 1) // 2
        later = kept[:, 1:, None] & (bodies[:, None] >= changes[..., None])
        return later.sum(dim=1)
