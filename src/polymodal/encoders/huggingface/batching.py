"""Runs a pretrained encoder that is not trained on several utterances at once.

On CUDA in bfloat16, elsewhere in float32 with all threads of the process.

Legend: time = frames or tokens, feature = width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch.nn.utils.rnn import pad_sequence

from polymodal.encoders.base import Encoder
from polymodal.errors import ConfigError, nearest
from polymodal.schemas import batch as sequences

PRECISIONS = ("float32", "bfloat16")
# Greatest padded length of a batch, in seconds: larger ones are slower on a CPU, as they leave its
# caches; a GPU wants to be filled.
MOST_ON_CPU_S, MOST_ON_CUDA_S = 12.0, 640.0
# About as many characters as a text model takes in the time of a second of speech.
CHARACTERS_A_SECOND = 100


def resolve_precision(precision: str | None) -> str:
    """Returns the precision that vectors are computed in.

    Args:
        precision: `float32` or `bfloat16`; None is bfloat16 on CUDA, float32 elsewhere.

    Returns:
        The word; it belongs to the identity of what is stored.

    Raises:
        ConfigError: It is unknown.

    Example:
        >>> resolve_precision("float32")
        'float32'
    """
    if precision is None:
        on_cuda = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return "bfloat16" if on_cuda else "float32"
    if precision not in PRECISIONS:
        raise ConfigError(f"precision is {precision!r}", hint=nearest(precision, PRECISIONS))
    return precision


def max_batch_s() -> float:
    """Returns the greatest padded length of a batch on this machine, in seconds of speech."""
    return MOST_ON_CUDA_S if torch.cuda.is_available() else MOST_ON_CPU_S


def move_to_device(encoder: Encoder) -> None:
    """Moves an encoder to the device that it runs on, in evaluation mode.

    Args:
        encoder: The encoder.
    """
    encoder.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def extract_batch(
    encoder: Encoder, raws: Sequence[Any], *, pooling: str, precision: str
) -> list[Float32[np.ndarray, "_time feature"]]:
    """Runs an encoder on several utterances.

    Args:
        encoder: The encoder, in evaluation mode, on its device.
        raws: Each what its transform takes.
        pooling: `none`, or `mean` over time.
        precision: `float32` or `bfloat16`.

    Returns:
        Each float32 `[time, feature]`; one vector of zeros where nothing usable is there.
    """
    transform = encoder.transform()
    prepared = [transform(raw) for raw in raws]
    usable = [torch.from_numpy(one) for one in prepared if one is not None]
    vectors = iter(_vectors(encoder, usable, pooling, precision) if usable else [])
    nothing = np.zeros((1, encoder.feature_size), dtype=np.float32)
    return [nothing if one is None else next(vectors) for one in prepared]


def _vectors(
    encoder: Encoder, arrays: list[torch.Tensor], pooling: str, precision: str
) -> list[Float32[np.ndarray, "_time feature"]]:
    device = next(encoder.parameters()).device
    lengths = torch.tensor([len(one) for one in arrays])
    values = pad_sequence(arrays, batch_first=True).to(device)
    mask = (torch.arange(values.shape[1]) < lengths[:, None]).to(device)
    half = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
    with torch.inference_mode(), half:
        encoded = encoder(sequences.PaddedSequence(values, mask))
    # Copied at once: to take the rows apart on a GPU would wait for it once a row.
    rows = zip(encoded.values.cpu(), encoded.valid_mask.cpu(), strict=True)
    kept = [row[real].float() for row, real in rows]
    if pooling == "mean":
        kept = [one.mean(dim=0, keepdim=True) for one in kept]
    return [one.numpy() for one in kept]
