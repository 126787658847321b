"""Numbers that cannot be meant: not finite, or outside of what an option takes."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from polymodal.config.schema import LIMITS
from polymodal.diagnostics import Diagnostic
from polymodal.preflight.context import flatten


def impossible_numbers(config: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Find numbers that are not finite, and those outside the limits of their option.

    Args:
        config: The composed configuration, resolved.

    Yields:
        A finding for each.
    """
    for key, value in flatten(config):
        values = value if isinstance(value, list) else [value]
        if any(isinstance(item, float) and not math.isfinite(item) for item in values):
            message = f"{key}={value} is not a finite number"
            hint = f"give {key} a number, or null where the option may be left out"
            yield Diagnostic("not finite", key, message, "a finite number", hint)
        elif key in LIMITS and isinstance(value, int | float) and not LIMITS[key].allows(value):
            yield Diagnostic(
                "out of range",
                key,
                f"{key}={value} is out of range",
                str(LIMITS[key]),
                f"write it as in {key}={LIMITS[key].example}",
            )
