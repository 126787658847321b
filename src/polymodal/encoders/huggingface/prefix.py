"""The frozen beginning of a pretrained model, which training can read instead of computing.

What is frozen, before the first part that is trained, puts out the same in every epoch. It is run
without dropout wherever it is computed, so that what was stored and what is computed agree.

Legend: batch = utterances, time = frames or tokens, feature = width.
"""

from abc import abstractmethod
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from polymodal.encoders.base import Encoder, Transform
from polymodal.encoders.embeddings import EmbeddingExtractor
from polymodal.encoders.extractor import package_version
from polymodal.schemas import batch as sequences

# Where a prefix ends: behind the stem, or, as a number from 0 on, at the input of that block; the
# number of all blocks stands for the output of the model.
STEM = -1


def frozen_depth(
    model: Any, *, blocks: nn.ModuleList, stem: Sequence[str], norm: nn.Module | None
) -> int | None:
    """Returns how far a model is frozen without a gap.

    Args:
        model: The model.
        blocks: Its transformer blocks.
        stem: The parts that its input meets first.
        norm: The normalisation behind the last block, or None.

    Returns:
        None where its stem is trained, `STEM`, or the number of frozen blocks with all before them.
    """
    if any(_is_trained(model.get_submodule(path)) for path in stem):
        return None
    behind = {id(one) for part in (blocks, norm) if part is not None for one in part.parameters()}
    if any(one.requires_grad for one in model.parameters() if id(one) not in behind):
        return STEM
    for depth, block in enumerate(blocks):
        if _is_trained(block):
            return depth
    # A normalisation that is trained behind frozen blocks still needs the last of them.
    return len(blocks) if norm is None or not _is_trained(norm) else len(blocks) - 1


def run_until(
    depth: int, model: Any, *, blocks: nn.ModuleList, stem: str, **inputs: Any
) -> Float[Tensor, "batch time feature"]:
    """Runs a model up to where its prefix ends, and nothing behind it.

    Args:
        depth: Where it ends.
        model: The model.
        blocks: Its transformer blocks.
        stem: The part whose output is `STEM`, channels before frames.
        inputs: What the model's own `forward` takes.

    Returns:
        `[batch, time, feature]`.
    """
    if depth == len(blocks):
        last: Tensor = model(**inputs).last_hidden_state
        return last
    if depth == STEM:
        handle = model.get_submodule(stem).register_forward_hook(_stop_behind)
    else:
        handle = blocks[depth].register_forward_pre_hook(_stop_before)
    try:
        model(**inputs)
    except _ReachedError as reached:
        return reached.states
    finally:
        handle.remove()
    raise AssertionError("a model runs through its stem and its blocks")


@contextmanager
def block_inputs(blocks: Iterable[nn.Module]) -> Generator[list[Tensor]]:
    """Collects what each block is given while a model runs.

    Args:
        blocks: The blocks.

    Yields:
        The list that grows.
    """
    seen: list[Tensor] = []
    handles = [
        block.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for block in blocks
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def run_blocks(
    states: Float[Tensor, "batch time feature"],
    attended: Bool[Tensor, "batch time"],
    *,
    blocks: Iterable[nn.Module],
    norm: nn.Module | None,
    config: Any,
) -> Float[Tensor, "batch time feature"]:
    """Goes on from the input of a block to the output of the model.

    Args:
        states: Input of the first of the blocks.
        attended: Which frames are attended to, at least one in each row.
        blocks: The blocks that are left.
        norm: The normalisation behind the last block, or None.
        config: Configuration of the model.

    Returns:
        `[batch, time, feature]`.
    """
    from transformers.masking_utils import create_bidirectional_mask

    mask = create_bidirectional_mask(config=config, inputs_embeds=states, attention_mask=attended)
    for block in blocks:
        states = block(states, attention_mask=mask)
    return states if norm is None else norm(states)


def folder_weights_mb(cls: type, options: Mapping[str, Any]) -> float | None:
    """Return the size of the weights in the folder that `name` is, in MB; None without a folder."""
    folder = Path(str(options.get("name", ""))).expanduser()
    if not folder.is_dir():
        return None
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6


class PrefixedEncoder(Encoder):
    """An encoder whose frozen beginning can be run by itself.

    With `reads_prefix` it encodes what that put out instead of what its transform makes.
    """

    is_trained_from_scratch = False
    weights_mb = classmethod(folder_weights_mb)

    @property
    @abstractmethod
    def prefix_size(self) -> int:
        """Width of what the frozen beginning puts out."""

    @property
    @abstractmethod
    def prefix_identity(self) -> str:
        """Everything that changes what it puts out, but for the precision."""

    @abstractmethod
    def encode_prefix(self, sequence: sequences.PaddedSequence) -> sequences.PaddedSequence:
        """Runs the frozen beginning.

        Args:
            sequence: What `transform` made, padded, and its mask.

        Returns:
            `[batch, time, prefix_size]` and the mask.
        """


class FrozenPrefix(Encoder):
    """The frozen beginning of an encoder, as an encoder of its own.

    Args:
        whole: The encoder.
    """

    def __init__(self, whole: PrefixedEncoder) -> None:
        super().__init__()
        self.whole = whole
        self.source, self.feature_size = whole.source, whole.prefix_size
        self.sampling_rate_hz, self.frame_rate_hz = whole.sampling_rate_hz, whole.frame_rate_hz

    def transform(self) -> Transform:
        """Returns the transform of the whole encoder."""
        return self.whole.transform()

    def encode(self, sequence: sequences.PaddedSequence) -> sequences.PaddedSequence:
        """Returns what the frozen beginning puts out.

        Args:
            sequence: What `transform` made, padded, and its mask.

        Returns:
            `[batch, time, feature_size]` and the mask.
        """
        return self.whole.encode_prefix(sequence)


@dataclass(frozen=True, eq=False)
class PrefixExtractor(EmbeddingExtractor):
    """Computes what the frozen beginning of an encoder puts out, of several utterances at once.

    Args:
        ends: Where the beginning ends, in words.
    """

    ends: str = ""


def prefix_extractor(encoder: PrefixedEncoder, precision: str, ends: str) -> PrefixExtractor:
    """Returns what computes the frozen beginning of an encoder.

    Args:
        encoder: The encoder; it is moved to the GPU, where there is one, until `release`.
        precision: `float32` or `bfloat16`, as the training computes.
        ends: Where the beginning ends, in words.
    """
    version = package_version("transformers", "pretrained")
    identity = f"transformers {version} {encoder.prefix_identity} {precision}"
    return PrefixExtractor(FrozenPrefix(encoder), identity, precision, ends=ends)


class _ReachedError(Exception):
    """Carries what was to be computed out of a model that has more to do."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


def _stop_behind(module: nn.Module, inputs: Any, output: Tensor) -> None:
    raise _ReachedError(output.transpose(1, 2))


def _stop_before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    raise _ReachedError(inputs[0])


def _is_trained(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters())
