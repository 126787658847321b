"""Takes secrets out of everything before it is written: by key and by value."""

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
SECRET_KEY = re.compile(
    r"(password|passwd|secret|token|api_?key|access_?key|private_?key|credential|webhook)", re.I
)
# key=value, key: value and "key": "value" in text; interpolations such as ${oc.env:TOKEN} stay.
IN_TEXT = re.compile(
    rf"""(?P<key>[\w.\-]*{SECRET_KEY.pattern}[\w\-]*["']?\s*[=:]\s*["']?)(?P<value>[^\s"',}}]+)""",
    re.I,
)
HARMLESS = ("null", "none", "true", "false", "")
SHORTEST = 6


def redact(value: Any, key: str = "") -> Any:
    """Returns nested plain data without its secrets.

    Args:
        value: Mappings, lists and plain values.
        key: The key that the value stands under.

    Returns:
        A copy.

    Example:
        >>> redact({"api_key": "abc123", "lr": 0.1})
        {'api_key': '***', 'lr': 0.1}
    """
    if isinstance(value, Mapping):
        return {name: redact(one, str(name)) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [redact(one, key) for one in value]
    if isinstance(value, str):
        secret = SECRET_KEY.search(key) and not _kept(value)
        return HIDDEN if secret else redact_text(value)
    return value


def redact_text(text: str) -> str:
    """Returns text without values of secret keys and of secret environment variables.

    Args:
        text: Any text: YAML, a traceback, a command line, a diff.

    Returns:
        The text with `***` in their place.

    Example:
        >>> redact_text("tracker.token=abcdef lr=1")
        'tracker.token=*** lr=1'
    """
    for value in _environment_secrets():
        text = text.replace(value, HIDDEN)
    return IN_TEXT.sub(_hide, text)


def _hide(match: re.Match[str]) -> str:
    return match["key"] + (match["value"] if _kept(match["value"]) else HIDDEN)


def _kept(value: str) -> bool:
    return value.startswith("${") or value.lower() in HARMLESS


def _environment_secrets() -> list[str]:
    values = [value for name, value in os.environ.items() if SECRET_KEY.search(name)]
    return sorted((value for value in values if len(value) >= SHORTEST), key=len, reverse=True)
