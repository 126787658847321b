"""Run a pretrained model up to the end of its frozen prefix, and on from there.

Legend: batch = utterances, time = frames or tokens, feature = width.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

States = Float[Tensor, "batch time feature"]
Attended = Bool[Tensor, "batch time"]
# A prefix ends behind the stem, or, as a number from 0 on, at the input of that block; the number
# of all blocks is the output of the model.
STEM = -1


def frozen_depth(
    model: Any, *, blocks: nn.ModuleList, stem: Sequence[str], norm: nn.Module | None
) -> int | None:
    """Return where the frozen prefix of a model ends."""
    if any(_is_trained(model.get_submodule(path)) for path in stem):
        return None
    behind = [*blocks.parameters(), *(() if norm is None else norm.parameters())]
    ids = {id(parameter) for parameter in behind}
    if any(parameter.requires_grad for parameter in model.parameters() if id(parameter) not in ids):
        return STEM
    for depth, block in enumerate(blocks):
        if _is_trained(block):
            return depth
    # A normalisation that is trained behind frozen blocks still needs the last of them.
    return len(blocks) if norm is None or not _is_trained(norm) else len(blocks) - 1


def run_until(depth: int, model: Any, *, blocks: nn.ModuleList, stem: str, **inputs: Any) -> States:
    """Run a model up to the end of its prefix, and nothing behind it."""
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
    """Collect the input of each block while a model runs."""
    seen: list[Tensor] = []
    handles = [
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for block in blocks
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def run_blocks(
    states: States,
    attended: Attended,
    *,
    blocks: Iterable[nn.Module],
    norm: nn.Module | None,
    config: Any,
) -> States:
    """Run the remaining blocks of a model on the input of the first of them."""
    from transformers.masking_utils import create_bidirectional_mask

    mask = create_bidirectional_mask(config=config, inputs_embeds=states, attention_mask=attended)
    for block in blocks:
        states = block(states, attention_mask=mask)
    return states if norm is None else norm(states)


class _ReachedError(Exception):
    """Carry the requested states out of a model that would compute more."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


def _stop_behind(module: nn.Module, inputs: Any, output: Tensor) -> None:
    raise _ReachedError(output.transpose(1, 2))


def _stop_before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    raise _ReachedError(inputs[0])


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
