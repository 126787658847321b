"""Responses of the server: JSON and bytes with their type."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from polymodal.tracking.run_folder import finite

WORTH_PACKING = 20_000  # bytes


@dataclass(frozen=True)
class Response:
    """Body, content type, status and further headers of a response."""

    body: bytes
    kind: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def packed(self) -> "Response":
        """The same, compressed if that is worth it."""
        if len(self.body) < WORTH_PACKING:
            return self
        headers = {**self.headers, "Content-Encoding": "gzip"}
        return Response(gzip.compress(self.body, 1, mtime=0), self.kind, self.status, headers)


def as_json(value: Any, status: int = 200) -> Response:
    """Return a JSON response of plain values, or of text that is JSON already."""
    text = value if isinstance(value, str) else to_json(value)
    return Response(text.encode(), status=status)


def to_json(value: Any) -> str:
    """Write JSON that every browser reads, with NaN and infinity as null.

    Example:
        >>> to_json({"loss": float("nan")})
        '{"loss": null}'
    """
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(finite(value), allow_nan=False)
