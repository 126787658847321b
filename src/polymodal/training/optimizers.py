"""Parameter groups, optimisers and learning rate schedules."""

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
    """Group the trainable parameters by weight decay and by the scale of their learning rate.

    Vectors (biases, scales of normalisations, embeddings of absent modalities) are not decayed.
    Where an encoder scales learning rates, its groups have the factor as `lr_scale`, and are sorted
    from the highest to the lowest; `scale_learning_rates` applies it. Empty groups are left out.

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
    for scale in sorted({scales.get(p, 1.0) for p in trainable}, reverse=True):
        scaled = [p for p in trainable if scales.get(p, 1.0) == scale]
        shared: dict[str, Any] = {} if scale == 1.0 else {"lr_scale": scale}
        matrices = [parameter for parameter in scaled if parameter.ndim > 1]
        vectors = [parameter for parameter in scaled if parameter.ndim <= 1]
        groups += [
            {"params": matrices, **shared},
            {"params": vectors, **shared, "weight_decay": 0.0},
        ]
    return [group for group in groups if group["params"]]


def scale_learning_rates(optimizer: Optimizer) -> None:
    """Multiply the learning rate of each group by its `lr_scale`, once, before any schedule.

    Schedules multiply the scaled rates, and a resumed run loads them.

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
    """Build an optimiser with scaled learning rates.

    If `fused`, the fused implementation is used, unless the optimiser has none or the factory
    binds an option that chooses the implementation.

    Example:
        >>> groups = parameter_groups(nn.Linear(2, 3))
        >>> from torch.optim import AdamW
        >>> build_optimizer(AdamW, groups, fused=True).defaults["fused"]
        True
    """
    chosen = getattr(factory, "keywords", {}).keys() & {"fused", "foreach", "differentiable"}
    has_fused = "fused" in inspect.signature(getattr(factory, "func", factory)).parameters
    options = {"fused": True} if fused and not chosen and has_fused else {}
    optimizer = factory(groups, **options)
    scale_learning_rates(optimizer)
    return optimizer


def cosine_with_warmup(
    optimizer: Optimizer, total_steps: int, *, warmup: float = 0.1, floor: float = 0.0
) -> LambdaLR:
    """Return a schedule of linear warm-up and cosine decay, to be stepped after each step.

    Args:
        optimizer: The optimiser.
        total_steps: Number of optimiser steps of the training.
        warmup: Fraction of the steps that the warm-up takes.
        floor: Final learning rate, as a fraction of the highest.

    Raises:
        ConfigError: `warmup` or `floor` is not from 0 to 1.
    """
    for name, fraction in (("warmup", warmup), ("floor", floor)):
        if not 0 <= fraction <= 1:
            raise ConfigError(f"scheduler.{name}={fraction}", expected="a fraction from 0 to 1")
    rise = round(total_steps * warmup)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        progress = min(1.0, (step - rise) / max(1, total_steps - rise))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """Return a schedule that keeps the learning rate; `total_steps` is not used."""
    return LambdaLR(optimizer, lambda step: 1.0)
