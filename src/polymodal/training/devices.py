"""Devices and strategies: Lightning's words, checked, with the backend chosen by itself."""

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
    """Returns `cpu` where `auto` finds nothing else.

    Args:
        accelerator: Lightning's word.

    Returns:
        The word to give to Lightning.
    """
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    return "cpu" if accelerator == "auto" and not accelerated else accelerator


def resolve_devices(accelerator: str, devices: Any) -> Any:
    """Returns the devices; -1 means all of them, which is one on the CPU.

    Args:
        accelerator: As `resolve_accelerator` gives it.
        devices: Lightning's number, list or word.

    Returns:
        What to give to Lightning.

    Example:
        >>> resolve_devices("cpu", -1)
        1
    """
    everything = devices in (-1, "-1", "auto")
    return 1 if everything and accelerator == "cpu" else devices


def resolve_precision(precision: Any, accelerator: str, *, small: bool) -> Any:
    """Returns the precision; None is bfloat16 with float32 weights where that is faster.

    Args:
        precision: Lightning's word, or None.
        accelerator: As `resolve_accelerator` gives it.
        small: Whether all that is trained are heads on single vectors, which gain nothing.

    Returns:
        What to give to Lightning: for None `bf16-mixed` on a CUDA device that computes in it,
        otherwise `32-true`.

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
    """Returns the strategy, with the backend for the machine.

    NCCL serves CUDA under Linux; gloo serves the CPU, and CUDA under Windows, where there is no
    NCCL.

    Args:
        strategy: Lightning's word.
        accelerator: As `resolve_accelerator` gives it.
        find_unused: Whether a batch may leave parameters without a gradient, as one does that lacks
            a modality.
        devices: As `resolve_devices` gives them: with several, `auto` is `ddp`, as in Lightning.
        num_nodes: Number of machines.

    Returns:
        Lightning's word, or a `DDPStrategy`.

    Raises:
        ConfigError: The strategy is `dp` or `ddp2`, which Lightning no longer has.
    """
    if strategy in ("dp", "ddp2"):
        raise ConfigError(
            f"trainer.strategy={strategy} no longer exists in Lightning",
            hint="use trainer.strategy=ddp",
        )
    # Lightning's own choice would not know of parameters without a gradient, and wait for ever.
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
