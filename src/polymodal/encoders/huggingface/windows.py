"""Encode long utterances in windows.

Legend: batch = utterances, window = stretches of all utterances, time = frames or samples.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from polymodal.layers.masks import mask_to_lengths, zero_padding
from polymodal.schemas.batch import PaddedSequence


def encode_in_windows(
    run: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    sequence: PaddedSequence,
    window: int | None,
    shortest: int,
) -> PaddedSequence:
    """Encode the windows of long utterances one by one, and join the outputs.

    Example:
        >>> sequence = PaddedSequence(torch.ones(1, 5), torch.ones(1, 5, dtype=torch.bool))
        >>> def run(windows, lengths):
        ...     return windows[:, :1, None], (lengths > 0)[:, None]
        >>> encode_in_windows(run, sequence, window=2, shortest=1).values.shape
        torch.Size([1, 3, 1])
    """
    windows, lengths, num_windows = _cut(sequence, window)
    is_encoded = lengths >= shortest
    is_encoded[::num_windows] = True  # there is always one, even of an absent utterance
    if num_windows == 1:
        values, mask = run(windows, lengths)
    else:
        outputs = run(windows[is_encoded], lengths[is_encoded])
        values, mask = (_join(output, is_encoded, num_windows) for output in outputs)
    return PaddedSequence(zero_padding(values, mask), mask)


def _cut(
    sequence: PaddedSequence, window: int | None
) -> tuple[Float[Tensor, "window time *feature"], Int[Tensor, " window"], int]:
    """Return the windows of all utterances, their lengths, and the number an utterance."""
    lengths, width = mask_to_lengths(sequence.valid_mask), sequence.valid_mask.shape[1]
    further = [1] * (sequence.values.dim() - 2)
    padding = ~sequence.valid_mask.reshape(*sequence.valid_mask.shape, *further)
    values: Tensor = sequence.values.masked_fill(padding, 0.0)
    if window is None or width <= window:
        return values, lengths, 1
    num = -(-width // window)
    padded = functional.pad(values, (*[0, 0] * len(further), 0, num * window - width))
    begins = torch.arange(num, device=lengths.device) * window
    cut = (lengths[:, None] - begins).clamp(0, window)
    return padded.reshape(-1, window, *values.shape[2:]), cut.reshape(-1), num


def _join(values: Tensor, is_encoded: Tensor, num_windows: int) -> Tensor:
    full = values.new_zeros(len(is_encoded), *values.shape[1:])
    full[is_encoded] = values
    return full.reshape(-1, num_windows * values.shape[1], *values.shape[2:])
