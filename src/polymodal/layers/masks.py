"""Masks: which frames are real, through lengths, strides and attention.

Legend: batch = utterances, time = frames, feature = width, key = frames that are attended to.
Everywhere True = real.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

Mask = Bool[Tensor, "batch time"]
Frames = Float[Tensor, "batch time feature"]


def lengths_to_mask(lengths: Int[Tensor, " batch"], num_frames: int | None = None) -> Mask:
    """Return the mask of sequences that begin at frame 0, at most `num_frames` wide.

    Example:
        >>> lengths_to_mask(torch.tensor([0, 1, 3])).int().tolist()
        [[0, 0, 0], [1, 0, 0], [1, 1, 1]]
    """
    if num_frames is None:
        num_frames = int(lengths.max()) if len(lengths) else 0
    return torch.arange(num_frames, device=lengths.device)[None] < lengths[:, None]


def mask_to_lengths(valid_mask: Mask) -> Int[Tensor, " batch"]:
    """Return the position after the last real frame of each utterance, int64; 0 without one.

    Example:
        >>> mask_to_lengths(torch.tensor([[False, True, False], [False] * 3])).tolist()
        [2, 0]
    """
    ends = torch.arange(1, valid_mask.shape[1] + 1, device=valid_mask.device)
    start = ends.new_zeros(1)
    return torch.cat([start.expand(len(valid_mask), 1), ends * valid_mask], dim=1).amax(dim=1)


def attention_mask(key_mask: Bool[Tensor, "batch key"]) -> Bool[Tensor, "batch 1 1 key"]:
    """Return which keys take part in `scaled_dot_product_attention`, for all heads and queries.

    A softmax over no key is 0/0: a row without a real key admits every key here, and the caller
    sets the result of that row to zero.

    Example:
        >>> attention_mask(torch.tensor([[True, False], [False, False]])).int().tolist()
        [[[[1, 0]]], [[[1, 1]]]]
    """
    is_empty = ~key_mask.any(dim=1, keepdim=True)
    return (key_mask | is_empty)[:, None, None]


def zero_padding(values: Frames, valid_mask: Mask) -> Frames:
    """Return the values with zeros under the padding, even over NaN; no gradient passes there."""
    return values.masked_fill(~valid_mask[..., None], 0.0)


def strided_mask(
    valid_mask: Mask, kernel: int, stride: int = 1, padding: int = 0
) -> Bool[Tensor, "batch strided_time"]:
    """Return the mask after a convolution whose padding input is zero.

    True are the frames that the convolution of the utterance alone, cut after its last real frame,
    would give, if their window holds a real frame. So the mask of an utterance does not depend on
    the batch. An utterance shorter than a window keeps one frame.

    `kernel` and `stride` are the window and its step in frames; `padding` zeros are added at both
    ends, fewer than `kernel`.

    Example:
        >>> mask = lengths_to_mask(torch.tensor([0, 1, 4, 5]))
        >>> strided_mask(mask, kernel=3, stride=2, padding=1).sum(dim=1).tolist()
        [0, 1, 2, 3]
    """
    assert 0 <= padding < kernel, "a window must be able to reach a real frame"
    lengths = mask_to_lengths(valid_mask)
    missing = max(0, kernel - 2 * padding - valid_mask.shape[1])
    padded = functional.pad(valid_mask.float(), (padding, padding + missing))
    touched = functional.max_pool1d(padded[:, None], kernel, stride)[:, 0] > 0
    alone = (lengths + 2 * padding - kernel).clamp(min=0) // stride + 1
    return touched & lengths_to_mask(alone, touched.shape[1])
