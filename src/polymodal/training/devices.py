"""Resolve devices, precision and strategy to options of Lightning."""

import platform
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pytorch_lightning.strategies import DDPStrategy

from polymodal.errors import ConfigError

LAUNCHERS: Mapping[str, Literal["popen", "spawn", "fork"]] = {
    "ddp": "popen",
    "ddp_spawn": "spawn",
    "ddp_fork": "fork",
    "ddp_notebook": "fork",
}


def resolve_accelerator(accelerator: str) -> str:
    """Return `cpu` for `auto` without a GPU."""
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    return "cpu" if accelerator == "auto" and not accelerated else accelerator


def resolve_devices(accelerator: str, devices: Any) -> Any:
    """Return the devices; -1 means all of them, which is one on the CPU.

    Example:
        >>> resolve_devices("cpu", -1)
        1
    """
    is_all = devices in (-1, "-1", "auto")
    return 1 if is_all and accelerator == "cpu" else devices


def resolve_precision(precision: Any, accelerator: str, *, small: bool) -> Any:
    """Return the precision; for None `bf16-mixed` on a CUDA device that supports it.

    Without such a device, or if only heads on single vectors are trained (`small`), which gain
    nothing, None is `32-true`.

    Example:
        >>> resolve_precision(None, "cpu", small=False)
        '32-true'
    """
    if precision is not None:
        return precision
    cuda = accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available()
    faster = cuda and not small and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if faster else "32-true"


def resolve_strategy(
    strategy: str, accelerator: str, *, find_unused: bool, devices: Any = 1, num_nodes: int = 1
) -> Any:
    """Return the strategy, with NCCL for CUDA under Linux and gloo otherwise.

    Args:
        strategy: As for `Trainer`.
        accelerator: As for `Trainer`.
        find_unused: Whether parameters may be without a gradient, as in a batch without a modality.
        devices: As for `Trainer`: with several, `auto` is `ddp`.
        num_nodes: Number of machines.

    Returns:
        A name, or a `DDPStrategy`.

    Raises:
        ConfigError: The strategy is `dp` or `ddp2`, which Lightning no longer has.
    """
    if strategy in ("dp", "ddp2"):
        raise ConfigError(
            f"trainer.strategy={strategy} no longer exists in Lightning",
            hint="use trainer.strategy=ddp",
        )
    # Lightning's `auto` would wait forever for parameters without a gradient.
    if strategy == "auto" and (num_nodes > 1 or _num_devices(devices) > 1):
        strategy = "ddp"
    if strategy not in LAUNCHERS:
        return strategy
    cuda = accelerator in ("gpu", "cuda")
    cuda = cuda or (accelerator == "auto" and torch.cuda.is_available())
    backend = "nccl" if cuda and platform.system() == "Linux" else "gloo"
    return DDPStrategy(
        start_method=LAUNCHERS[strategy],
        process_group_backend=backend,
        find_unused_parameters=find_unused,
    )


def _num_devices(devices: Any) -> int:
    if isinstance(devices, list):
        return len(devices)
    if devices in ("auto", "-1", -1):
        return torch.cuda.device_count()
    return int(devices) if str(devices).isdecimal() else 1
