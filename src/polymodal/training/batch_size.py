"""Find the largest batch that fits into the memory of a device, before the training."""

import math
from collections.abc import Callable

import torch

FIRST_S, MAX_S = 15.0, 3600.0
MEMORY_FRACTION = 0.85  # of the memory; allocators leave holes, and lengths vary
SHRINK = 0.8


def find_max_batch(peak_bytes: Callable[[float], int], room_bytes: int) -> float:
    """Return how many seconds of padded audio fit into a batch.

    The memory of a second is estimated from two small batches. The budget that follows is tried,
    and reduced until it fits, as the memory of attention grows faster than its length.

    Args:
        peak_bytes: Trains a step with a batch of this many seconds, and returns its peak memory.
        room_bytes: Memory of the device.

    Returns:
        Seconds, with two significant digits, at most an hour.

    Raises:
        torch.OutOfMemoryError: Not even one second fits.

    Example:
        >>> find_max_batch(lambda seconds: int(1e9 + 1e8 * seconds), room_bytes=20_000_000_000)
        160.0
    """
    small_s, small = _smallest(peak_bytes)
    large = _try(peak_bytes, 2 * small_s)
    if large is None:
        return small_s
    slope = max((large - small) / small_s, 1.0)
    budget_s = min(MAX_S, small_s + (MEMORY_FRACTION * room_bytes - small) / slope)
    while budget_s > small_s:
        used = _try(peak_bytes, _rounded(budget_s))
        if used is not None and used <= MEMORY_FRACTION * room_bytes * 1.05:
            return _rounded(budget_s)
        budget_s *= SHRINK
    return small_s


def _smallest(peak_bytes: Callable[[float], int]) -> tuple[float, int]:
    """The first of 15 s, 7.5 s, ... that fits, and its memory."""
    budget_s = FIRST_S
    while budget_s > 1:
        if (used := _try(peak_bytes, budget_s)) is not None:
            return budget_s, used
        budget_s /= 2
    return 1.0, peak_bytes(1.0)


def _try(peak_bytes: Callable[[float], int], budget_s: float) -> int | None:
    try:
        return peak_bytes(budget_s)
    except torch.OutOfMemoryError:
        return None


def _rounded(budget_s: float) -> float:
    """Round down to two significant digits, so that the number is easily set by hand elsewhere."""
    step = 10.0 ** (math.floor(math.log10(budget_s)) - 1)
    return math.floor(budget_s / step) * step
