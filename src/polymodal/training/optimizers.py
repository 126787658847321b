"""Which parameters are optimised, and how the learning rate changes over the steps."""

import inspect
import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from polymodal.encoders.base import Encoder
from polymodal.errors import ConfigError


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Parts the trainable parameters by weight decay and by what scales their learning rate.

    Vectors (biases, scales of normalisations, learned absent embeddings) are not decayed. Where an
    encoder scales learning rates, its groups hold the factor as `lr_scale`, and come after those
    of the whole rate, from the highest to the lowest; `scale_learning_rates` applies it.

    Args:
        module: The module to train.

    Returns:
        Parameter groups for a PyTorch optimiser; empty ones are left out.

    Example:
        >>> groups = parameter_groups(nn.Linear(2, 3))
        >>> [len(group["params"]) for group in groups]
        [1, 1]
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    scales: dict[nn.Parameter, float] = {}
    for encoder in module.modules():
        if isinstance(encoder, Encoder):
            scales |= encoder.learning_rate_scales()
    groups: list[dict[str, Any]] = []
    for scale in sorted({scales.get(one, 1.0) for one in trainable}, reverse=True):
        scaled = [one for one in trainable if scales.get(one, 1.0) == scale]
        shared: dict[str, Any] = {} if scale == 1.0 else {"lr_scale": scale}
        matrices = [parameter for parameter in scaled if parameter.ndim > 1]
        vectors = [parameter for parameter in scaled if parameter.ndim <= 1]
        groups += [
            {"params": matrices, **shared},
            {"params": vectors, **shared, "weight_decay": 0.0},
        ]
    return [group for group in groups if group["params"]]


def scale_learning_rates(optimizer: Optimizer) -> None:
    """Multiplies the learning rate of each group by its `lr_scale`, once, before any schedule.

    Schedules multiply what they find, so that they act on all groups alike; a resumed run loads
    the scaled rates.

    Args:
        optimizer: A new optimiser over `parameter_groups`.

    Example:
        >>> from torch.optim import SGD
        >>> weights = list(nn.Linear(2, 3).parameters())
        >>> optimizer = SGD([{"params": weights, "lr_scale": 0.5}], lr=0.1)
        >>> scale_learning_rates(optimizer)
        >>> optimizer.param_groups[0]["lr"]
        0.05
    """
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group.get("lr_scale", 1.0)


def build_optimizer(
    factory: Callable[..., Optimizer], groups: list[dict[str, Any]], *, fused: bool
) -> Optimizer:
    """Builds an optimiser with scaled learning rates, in one kernel where it has such a form.

    Args:
        factory: Parameter groups to optimiser.
        groups: As `parameter_groups` gives them.
        fused: Whether to take that form; an option of the factory goes before.

    Returns:
        The optimiser.

    Example:
        >>> groups = parameter_groups(nn.Linear(2, 3))
        >>> from torch.optim import AdamW
        >>> build_optimizer(AdamW, groups, fused=True).defaults["fused"]
        True
    """
    chosen = getattr(factory, "keywords", {}).keys() & {"fused", "foreach", "differentiable"}
    known = inspect.signature(getattr(factory, "func", factory)).parameters
    if fused and not chosen and "fused" in known:
        optimizer = factory(groups, fused=True)
        # Lightning would refuse to clip, for the sake of a scaler that only float16 has.
        vars(optimizer)["_step_supports_amp_scaling"] = False
    else:
        optimizer = factory(groups)
    scale_learning_rates(optimizer)
    return optimizer


def cosine_with_warmup(
    optimizer: Optimizer, total_steps: int, *, warmup: float = 0.1, floor: float = 0.0
) -> LambdaLR:
    """Raises the learning rate linearly, then lowers it along half a cosine, step by step.

    Args:
        optimizer: The optimiser.
        total_steps: Number of optimiser steps of the whole training.
        warmup: Share of the steps to rise in.
        floor: What remains of the learning rate at the end, as a share.

    Returns:
        A schedule to be stepped after each optimiser step.

    Raises:
        ConfigError: `warmup` or `floor` is not in 0 to 1.
    """
    for name, share in (("warmup", warmup), ("floor", floor)):
        if not 0 <= share <= 1:
            raise ConfigError(f"scheduler.{name}={share}", expected="a share from 0 to 1")
    rise = round(total_steps * warmup)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        progress = min(1.0, (step - rise) / max(1, total_steps - rise))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """Keeps the learning rate as it is.

    Args:
        optimizer: The optimiser.
        total_steps: Not used; every schedule is given it.

    Returns:
        A schedule that changes nothing.
    """
    return LambdaLR(optimizer, lambda step: 1.0)
