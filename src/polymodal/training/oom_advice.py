"""Advice for when a device runs out of memory."""

from collections.abc import Mapping
from typing import Any

import torch


def memory_advice(failure: Exception, config: Mapping[str, Any]) -> str:
    """Return a hint with the options of a run that would need less memory.

    Nothing is retried: another batch size would be another experiment, and on several devices the
    others would wait forever. The hint is empty if memory was not the cause of the failure.

    Example:
        >>> config = {"data": {"batch_s": 120}}
        >>> print(memory_advice(torch.OutOfMemoryError(), config).strip())
        hint: start a new run with data.batch_s=60 (it was 120)
    """
    if not isinstance(failure, torch.OutOfMemoryError):
        return ""
    options = [*_smaller_batches(config), *_recomputation(config), *_halved_precision(config)]
    if not options:
        return "\n  hint: use smaller batches, a smaller model, or a device with more memory"
    return f"\n  hint: start a new run with {', or '.join(options)}"


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
    is_float32 = str(config.get("trainer", {}).get("precision")) in ("32", "32-true")
    return ["trainer.precision=bf16-mixed"] if is_float32 else []
