"""Keys of stored features: the content of an utterance, never its name or path."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def content_key(raw: Any) -> bytes:
    """Return the SHA-256 digest of an extractor's input: a waveform, a text, or signals.

    Signals are a name to values and rate in Hz.

    Example:
        >>> content_key("yes") == content_key("yes"), content_key("yes") == content_key("yes ")
        (True, False)
    """
    kind, content = _kind_and_content(raw)
    digest = hashlib.sha256(json.dumps(kind).encode() + b"\0")
    digest.update(content)
    return digest.digest()


def amount_of(raw: Any) -> int:
    """Return the number of samples or characters, by which utterances are batched; 1 for signals.

    Example:
        >>> amount_of("yes"), amount_of(np.zeros(5)), amount_of({"eda": (np.zeros(5), 4.0)})
        (3, 5, 1)
    """
    return 1 if isinstance(raw, Mapping) else len(raw)


def _kind_and_content(raw: Any) -> tuple[Any, bytes | memoryview]:
    if isinstance(raw, str):
        return "text", raw.encode()
    if isinstance(raw, Mapping):
        kinds, contents = [], []
        for name, (values, rate_hz) in sorted(raw.items()):
            # The kind has the shape, so the same bytes under other names have another key.
            kind, content = _kind_and_content(values)
            kinds.append([name, None if rate_hz is None else float(rate_hz), kind])
            contents.append(content)
        return kinds, b"".join(contents)
    values = np.ascontiguousarray(raw)
    return f"{values.dtype.str}{values.shape}", values.reshape(-1).view(np.uint8).data
