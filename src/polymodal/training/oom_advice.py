"""What to do where the memory of a device does not suffice."""

from collections.abc import Mapping
from typing import Any

import torch


def memory_advice(failure: Exception, config: Mapping[str, Any]) -> str:
    """Returns which options of this run would need less memory.

    Nothing is tried again: another batch size would be another experiment, and on several devices
    the others would wait for ever.

    Args:
        failure: What the run died of.
        config: Its configuration, resolved.

    Returns:
        A line to put behind the error; empty where memory was not the cause.

    Example:
        >>> config = {"data": {"batch_s": 120}}
        >>> print(memory_advice(torch.OutOfMemoryError(), config).strip())
        hint: start a new run with data.batch_s=60 (it was 120)
    """
    if not isinstance(failure, torch.OutOfMemoryError):
        return ""
    ways = [*_smaller_batches(config), *_recomputation(config), *_halved_precision(config)]
    if not ways:
        return "\n  hint: use smaller batches, a smaller model, or a device with more memory"
    return f"\n  hint: start a new run with {', or '.join(ways)}"


def _smaller_batches(config: Mapping[str, Any]) -> list[str]:
    batch_s = config.get("data", {}).get("batch_s")
    if not isinstance(batch_s, int | float):
        return []
    accumulated = config.get("trainer", {}).get("accumulate_grad_batches")
    same = f" trainer.accumulate_grad_batches={2 * accumulated}" if accumulated else ""
    return [f"data.batch_s={batch_s / 2:g}{same} (it was {batch_s:g})"]


def _recomputation(config: Mapping[str, Any]) -> list[str]:
    return [
        f"encoder.{name}.gradient_checkpointing=true"
        for name, section in config.get("encoder", {}).items()
        if section.get("gradient_checkpointing") is False and section.get("freeze") != "all"
    ]


def _halved_precision(config: Mapping[str, Any]) -> list[str]:
    whole = str(config.get("trainer", {}).get("precision")) in ("32", "32-true")
    return ["trainer.precision=bf16-mixed"] if whole else []
