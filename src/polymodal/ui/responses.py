"""What the server says: JSON and bytes with what they are."""

import gzip
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

WORTH_PACKING = 20_000  # bytes


@dataclass(frozen=True)
class Response:
    """One answer.

    Args:
        body: Its bytes.
        kind: Its content type.
        status: HTTP's number.
        headers: Further headers.
    """

    body: bytes
    kind: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def packed(self) -> "Response":
        """The same, compressed where that is worth it."""
        if len(self.body) < WORTH_PACKING:
            return self
        headers = {**self.headers, "Content-Encoding": "gzip"}
        return Response(gzip.compress(self.body, 1, mtime=0), self.kind, self.status, headers)


def as_json(value: Any, status: int = 200) -> Response:
    """Return an answer in JSON.

    Args:
        value: Plain values, or JSON already.
        status: HTTP's number.
    """
    text = value if isinstance(value, str) else to_json(value)
    return Response(text.encode(), status=status)


def to_json(value: Any) -> str:
    """Write JSON that every browser reads: NaN and infinity, which JSON lacks, are null.

    Example:
        >>> to_json({"loss": float("nan")})
        '{"loss": null}'
    """
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(nested) for name, nested in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(nested) for nested in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
