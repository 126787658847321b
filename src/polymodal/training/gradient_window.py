"""Average a gradient over the targets of an update, whatever batches and ranks they lie in."""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn


class GradientWindow:
    r"""Weigh the losses of the batches of one update by their targets.

    Lightning averages over batches and ranks, so that a row of a small batch counts for more than
    one of a large batch, and a short window at the end of an epoch for less. Here the gradient is

    .. math:: \frac{\sum_b w_b \nabla L_b}{\sum_b w_b}

    where :math:`w_b` is what the mean :math:`L_b` is taken over, so that it equals the gradient of
    all rows as one batch. A loss that is no mean over rows, such as concordance, remains one value
    a batch.
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None

    def scale(
        self,
        loss: Float[Tensor, ""],
        weight: Float[Tensor, ""],
        *,
        is_last: bool,
        num_batches: int,
        mean_over_ranks: Callable[[Tensor], Tensor],
        parameters: Iterable[nn.Parameter],
    ) -> Float[Tensor, ""]:
        """Return the loss to differentiate for a batch; with the last one, gradients are averaged.

        Args:
            loss: Mean loss of the batch, divided by `num_batches`.
            weight: What its mean is taken over, such as the number of targets.
            is_last: Whether the update follows this batch.
            num_batches: Number of batches of a full window.
            mean_over_ranks: Averages a tensor over all ranks.
            parameters: Those whose gradients have accumulated since the last update.

        Example:
            >>> window, p = GradientWindow(), nn.Parameter(torch.zeros(()))
            >>> same = {"num_batches": 2, "mean_over_ranks": lambda total: total}
            >>> for rows, last in (([1.0, 1.0, 1.0], False), ([5.0], True)):
            ...     loss, num = (p * torch.tensor(rows)).mean() / 2, torch.tensor(float(len(rows)))
            ...     window.scale(loss, num, is_last=last, parameters=[p], **same).backward()
            >>> p.grad.item()  # (1 + 1 + 1 + 5) / 4
            2.0
        """
        weighted = loss * (weight * num_batches)
        self.total = weight if self.total is None else self.total + weight
        if not is_last:
            return weighted
        total = mean_over_ranks(self.total.clone()).clamp(min=torch.finfo(weight.dtype).tiny)
        self.total = None
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.div_(total)
        return weighted / total


def target_weight(loss: nn.Module, targets: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    """Return what the mean of a loss over a batch is taken over.

    A loss may say so itself by a method `weight_of(targets)`, as one with class weights does;
    otherwise it is the number of rows with a target: a class index of at least 0, or no NaN.

    Example:
        >>> target_weight(nn.CrossEntropyLoss(), torch.tensor([2, 0, -1])).item()
        2.0
    """
    if callable(weigh := getattr(loss, "weight_of", None)):
        own: Tensor = weigh(targets)
        return own
    if not targets.is_floating_point():
        return (targets >= 0).sum().float()
    return targets.isfinite().flatten(1).any(dim=1).sum().float()
