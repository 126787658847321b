"""One line of the doctor's report."""

from dataclasses import astuple, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "fault"]
JSON_KEYS = ("state", "topic", "found", "remedy")


@dataclass(frozen=True)
class Line:
    """The result of one check."""

    state: State  # `fault`: experiments would fail. `warning`: untested
    topic: str  # such as `packages` or `disk`
    message: str  # what was observed
    hint: str = ""  # what to do about it; may be empty

    def to_json(self) -> dict[str, Any]:
        """Return the line as plain values."""
        return dict(zip(JSON_KEYS, astuple(self), strict=True))
