"""Run a frozen encoder on several utterances at once.

On CUDA in bfloat16 by default, elsewhere in float32 with all threads of the process.

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
from polymodal.schemas.batch import PaddedSequence

PRECISIONS = ("float32", "bfloat16")
# Maximum padded length of a batch, in seconds: larger ones are slower on a CPU, as they exceed its
# caches; a GPU is faster when it is filled.
MAX_CPU_BATCH_S, MAX_CUDA_BATCH_S = 12.0, 640.0
# About as many characters as a text model takes in the time of a second of speech.
CHARACTERS_A_SECOND = 100
# Of signals the amount counts utterances.
MAX_SIGNALS = 64


def resolve_precision(precision: str | None) -> str:
    """Return the precision that vectors are computed in; None is bfloat16 on CUDA, else float32.

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


def max_batch_amount(source: str, sampling_rate_hz: int) -> int:
    """Return the maximum padded amount of a batch: samples, characters or utterances.

    Example:
        >>> max_batch_amount("signals", 16_000)
        64
    """
    if source == "signals":
        return MAX_SIGNALS
    max_s = MAX_CUDA_BATCH_S if torch.cuda.is_available() else MAX_CPU_BATCH_S
    return int(max_s * (sampling_rate_hz if source == "audio" else CHARACTERS_A_SECOND))


def move_to_device(encoder: Encoder) -> None:
    """Move an encoder to the GPU where there is one, in evaluation mode."""
    encoder.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def extract_batch(
    encoder: Encoder, raws: Sequence[Any], *, pooling: str, precision: str
) -> list[Float32[np.ndarray, "_time feature"]]:
    """Run an encoder, in evaluation mode on its device, on the inputs of its transform."""
    transform = encoder.transform()
    prepared = [transform(raw) for raw in raws]
    usable = [torch.from_numpy(array) for array in prepared if array is not None]
    vectors = iter(_vectors(encoder, usable, pooling, precision) if usable else [])
    empty = np.zeros((1, encoder.feature_size), dtype=np.float32)
    return [empty if array is None else next(vectors) for array in prepared]


def _vectors(
    encoder: Encoder, arrays: list[torch.Tensor], pooling: str, precision: str
) -> list[Float32[np.ndarray, "_time feature"]]:
    device = next(encoder.parameters()).device
    lengths = torch.tensor([len(array) for array in arrays])
    values = pad_sequence(arrays, batch_first=True).to(device)
    mask = (torch.arange(values.shape[1]) < lengths[:, None]).to(device)
    half = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
    with torch.inference_mode(), half:
        encoded = encoder(PaddedSequence(values, mask))
    # Copied at once: separate rows would wait for the GPU once a row.
    rows = zip(encoded.values.cpu(), encoded.valid_mask.cpu(), strict=True)
    outputs = [row[real].float() for row, real in rows]
    if pooling == "mean":
        outputs = [output.mean(dim=0, keepdim=True) for output in outputs]
    return [output.numpy() for output in outputs]
