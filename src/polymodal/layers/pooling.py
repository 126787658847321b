"""A sequence to one vector, over its real frames only; an absent one gives zeros.

Legend: batch = utterances, time = frames, feature = width.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polymodal.errors import ConfigError, nearest
from polymodal.layers.masks import zero_padding
from polymodal.schemas.batch import PaddedSequence

POOLINGS = ("attention", "mean", "first")


class MeanPooling(nn.Module):
    """The mean of the real frames.

    Example:
        >>> mask = torch.tensor([[True, True, False]])
        >>> MeanPooling()(PaddedSequence(torch.tensor([[[1.0], [3.0], [9.0]]]), mask)).tolist()
        [[2.0]]
    """

    def forward(self, sequence: PaddedSequence) -> Float[Tensor, "batch feature"]:
        """Return one vector an utterance, zeros where no frame is real."""
        values = zero_padding(sequence.values, sequence.valid_mask)
        return values.sum(dim=1) / sequence.num_valid.clamp(min=1)[:, None]


class FirstPooling(nn.Module):
    """The first real frame."""

    def forward(self, sequence: PaddedSequence) -> Float[Tensor, "batch feature"]:
        """Return one vector an utterance, zeros where no frame is real."""
        first = sequence.valid_mask & (sequence.valid_mask.cumsum(dim=1) == 1)
        return zero_padding(sequence.values, first).sum(dim=1)


class AttentionPooling(nn.Module):
    """A mean whose weights are learned: softmax of `v tanh(W x)` over the real frames.

    Bahdanau et al. 2015 (arXiv 1409.0473); for emotion in speech Mirsamadi et al. 2017 (ICASSP).
    """

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(feature_size, feature_size)
        # Without a bias: the softmax would cancel it, and its gradient would always be zero.
        self.score = nn.Linear(feature_size, 1, bias=False)

    def forward(self, sequence: PaddedSequence) -> Float[Tensor, "batch feature"]:
        """Return one vector an utterance, zeros where no frame is real."""
        values = zero_padding(sequence.values, sequence.valid_mask)
        scores = self.score(torch.tanh(self.hidden(values)))[..., 0].float()
        admitted = sequence.valid_mask | ~sequence.present[:, None]
        weights = scores.masked_fill(~admitted, float("-inf")).softmax(dim=1)
        pooled: Tensor = (weights.to(values.dtype)[..., None] * values).sum(dim=1)
        return pooled


def build_pooling(name: str, feature_size: int) -> nn.Module:
    """Return the pooling `attention`, `mean` or `first` for frames of the given width.

    Raises:
        ConfigError: The name is unknown.

    Example:
        >>> build_pooling("mean", 8)
        MeanPooling()
    """
    if name == "attention":
        return AttentionPooling(feature_size)
    if name not in POOLINGS:
        raise ConfigError(
            f"pooling {name!r} is unknown",
            expected=f"one of {', '.join(POOLINGS)}",
            hint=nearest(name, POOLINGS),
        )
    return MeanPooling() if name == "mean" else FirstPooling()
