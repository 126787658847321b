"""The embeddings of an encoder that is not trained, for several utterances at once.

On CUDA in bfloat16 by default, elsewhere in float32 with all threads of the process.

Legend: time = frames or tokens of an utterance, feature = width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch.nn.utils.rnn import pad_sequence

from polymodal.encoders.base import Encoder
from polymodal.errors import ConfigError, nearest
from polymodal.schemas.batch import PaddedSequence

Vectors = list[Float32[np.ndarray, "_time feature"]]
PRECISIONS = ("float32", "bfloat16")
# Maximum padded length of a batch, in seconds: larger ones are slower on a CPU, as they exceed its
# caches; a GPU is faster when it is filled.
MAX_CPU_BATCH_S, MAX_CUDA_BATCH_S = 12.0, 640.0
# About as many characters as a text model takes in the time of a second of speech.
CHARACTERS_A_SECOND = 100
# Of signals the amount counts utterances.
MAX_SIGNALS = 64


@dataclass(frozen=True, eq=False)
class EmbeddingExtractor:
    """Compute the output of an encoder in evaluation mode, several utterances at a time.

    Example:
        >>> from polymodal.encoders.text import TextEncoder
        >>> extractor = EmbeddingExtractor(TextEncoder(width=8), "text encoder", pooling="mean")
        >>> [vectors.shape for vectors in extractor.extract_batch(["yes", "no"])]
        [(1, 8), (1, 8)]
    """

    encoder: Encoder  # moves to the GPU, where there is one, until `release`
    identity: str  # everything that changes the output: weights, options, versions, precision
    precision: str = "float32"  # or `bfloat16`
    pooling: str = "none"  # one vector a frame or token; `mean`: one an utterance

    @property
    def source(self) -> str:
        """Its input: `audio`, `text` or `signals`."""
        return self.encoder.source

    @property
    def sampling_rate_hz(self) -> int:
        """For audio: the sampling rate of its input, in Hz."""
        return self.encoder.sampling_rate_hz

    @property
    def feature_size(self) -> int:
        """Width of its vectors."""
        return self.encoder.feature_size

    @property
    def frame_rate_hz(self) -> float | None:
        """Vector per second; None for text and for one vector an utterance."""
        return self.encoder.frame_rate_hz if self.pooling == "none" else None

    @property
    def max_batch_amount(self) -> int:
        """Maximum padded amount of a batch: number of samples, characters or utterances."""
        return max_batch_amount(self.source, self.sampling_rate_hz)

    def __call__(self, raw: Any) -> Float32[np.ndarray, "time feature"]:
        """Encode the input of the encoder's transform."""
        return self.extract_batch([raw])[0]

    def extract_batch(self, raws: Sequence[Any]) -> Vectors:
        """Encode several utterances: as each alone, except for rounding."""
        move_to_device(self.encoder)
        return extract_batch(self.encoder, raws, pooling=self.pooling, precision=self.precision)

    def release(self) -> None:
        """Move the encoder back to the memory of the processor."""
        self.encoder.cpu()


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
) -> Vectors:
    """Run an encoder, in evaluation mode on its device, on the inputs of its transform."""
    transform = encoder.transform()
    prepared = [transform(raw) for raw in raws]
    usable = [torch.from_numpy(array) for array in prepared if array is not None]
    vectors = iter(_vectors(encoder, usable, pooling, precision) if usable else [])
    empty = np.zeros((1, encoder.feature_size), dtype=np.float32)
    return [empty if array is None else next(vectors) for array in prepared]


def _vectors(encoder: Encoder, arrays: list[torch.Tensor], pooling: str, precision: str) -> Vectors:
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
