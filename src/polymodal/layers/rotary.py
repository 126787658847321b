"""Rotary positions, applied to query and key, so that only differences of positions count.

Legend: batch = utterances, head = attention heads, time = frames, size = width of a head.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polymodal.layers.masks import mask_to_lengths

Mask = Bool[Tensor, "batch time"]
Heads = Float[Tensor, "batch head time size"]
Positions = Float[Tensor, "batch time"]


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
