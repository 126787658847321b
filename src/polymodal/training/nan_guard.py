"""Stops a training before an update with a loss or a gradient that is no number."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, NoReturn

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer


class LossTrace(NamedTuple):
    """The loss of a batch, which has not been looked at yet.

    Args:
        loss: A scalar.
        utterance_ids: The batch.
        where: Its epoch and number, in words.
    """

    loss: Tensor
    utterance_ids: Sequence[str]
    where: str


class NonFiniteGuard:
    """Looks at the losses and the gradient of an update at once, when both are there.

    A look makes the processor wait for a GPU, so there is one an update, and none between the
    forward and the backward pass.

    Args:
        named_parameters: Gives the parameters with their names, for what is said of a gradient.
    """

    def __init__(self, named_parameters: Callable[[], Iterable[tuple[str, nn.Parameter]]]) -> None:
        self.named_parameters = named_parameters
        self.noted: list[LossTrace] = []

    def record(self, loss: Tensor, utterance_ids: Sequence[str], where: str) -> None:
        """Keeps the loss of a batch until the update.

        Args:
            loss: A scalar.
            utterance_ids: The batch.
            where: Its epoch and number, in words.
        """
        self.noted.append(LossTrace(loss.detach(), utterance_ids, where))

    def check(self, norm: Tensor | None) -> None:
        """Looks at what goes into an update.

        Args:
            norm: Of the gradient; None where it is not to be looked at.

        Raises:
            FloatingPointError: Something of it is no number, or infinite.
        """
        noted, self.noted = self.noted, []
        parts = [one.loss for one in noted] + ([] if norm is None else [norm])
        # A sum, as infinity and what is no number outlast it: one look instead of several.
        if parts and not math.isfinite(sum(parts[1:], parts[0]).item()):
            self._stop(noted)

    def _stop(self, noted: Sequence[LossTrace]) -> NoReturn:
        broken = next((one for one in noted if not torch.isfinite(one.loss)), None)
        of = broken or noted[-1]
        found = f"the loss is {of.loss.item()}"
        if broken is None:
            names = [name for name, one in self.named_parameters() if _infinite(one)]
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            found = f"the gradient is infinite or no number (of {', '.join(names[:1])}{more})"
            if not names:
                found = "the norm of the gradient is too large a number"
        raise FloatingPointError(
            f"{found} in {of.where}, with the utterances {', '.join(of.utterance_ids[:8])}; "
            "try a smaller optimizer.lr or trainer.gradient_clip_val=1"
        )


def total_norm(trainer: pl.Trainer, optimizer: Optimizer) -> Tensor | None:
    """Computes the norm of the gradient, as clipping does.

    Args:
        trainer: Lightning's trainer.
        optimizer: What is to update.

    Returns:
        A scalar; None where this process has but a share of the gradient, or where infinite ones
        belong to the method and are left out by it (the scaler of float16).
    """
    whole = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
    if not whole or getattr(trainer.precision_plugin, "scaler", None) is not None:
        return None
    gradients = [one.grad for one in parameters_of(optimizer) if one.grad is not None]
    return get_total_norm(gradients)


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """Returns the parameters that an optimiser updates, group by group.

    Args:
        optimizer: The optimiser.
    """
    return [one for group in optimizer.param_groups for one in group["params"]]


def _infinite(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all())
