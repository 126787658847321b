"""Stop a training before an update with a loss or a gradient that is not finite."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, NoReturn

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer


class LossTrace(NamedTuple):
    """The loss of a batch, its utterances, and its epoch and number as text."""

    loss: Float[Tensor, ""]
    utterance_ids: Sequence[str]
    where: str


class NonFiniteGuard:
    """Check the losses and the gradient of an update at once, before the update.

    A check waits for the GPU, so there is one for each update, and none between the forward and the
    backward pass.

    Args:
        named_parameters: Returns the parameters with their names, for error messages.
    """

    def __init__(self, named_parameters: Callable[[], Iterable[tuple[str, nn.Parameter]]]) -> None:
        self.named_parameters = named_parameters
        self.traces: list[LossTrace] = []

    def record(self, loss: Float[Tensor, ""], utterance_ids: Sequence[str], where: str) -> None:
        """Record the loss of a batch until the update; `where` is its epoch and number as text."""
        self.traces.append(LossTrace(loss.detach(), utterance_ids, where))

    def check(self, norm: Float[Tensor, ""] | None) -> None:
        """Check the recorded losses and the norm of the gradient; None skips the latter.

        Raises:
            FloatingPointError: One of them is not finite.
        """
        traces, self.traces = self.traces, []
        values = [trace.loss for trace in traces] + ([] if norm is None else [norm])
        # Infinity and NaN propagate through a sum, which needs one synchronisation only.
        if values and not math.isfinite(sum(values[1:], values[0]).item()):
            self._stop(traces)

    def _stop(self, traces: Sequence[LossTrace]) -> NoReturn:
        broken = next((trace for trace in traces if not torch.isfinite(trace.loss)), None)
        trace = broken or traces[-1]
        message = f"the loss is {trace.loss.item()}"
        if broken is None:
            names = [name for name, value in self.named_parameters() if _is_non_finite(value)]
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            message = f"the gradient is not finite (of {', '.join(names[:1])}{more})"
            if not names:
                message = "the norm of the gradient overflows"
        raise FloatingPointError(
            f"{message} in {trace.where}, with the utterances "
            f"{', '.join(trace.utterance_ids[:8])}; "
            "try a smaller optimizer.lr or trainer.gradient_clip_val=1"
        )


def total_norm(trainer: pl.Trainer, optimizer: Optimizer) -> Float[Tensor, ""] | None:
    """Return the norm of the gradient, as clipping computes it.

    It is None if this process has only a shard of the gradient, or if infinite gradients are
    expected and skipped (the scaler of float16).
    """
    is_complete = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
    if not is_complete or getattr(trainer.precision_plugin, "scaler", None) is not None:
        return None
    return get_total_norm([p.grad for p in parameters_of(optimizer) if p.grad is not None])


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """Return the parameters that an optimiser updates, group by group."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _is_non_finite(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all())
