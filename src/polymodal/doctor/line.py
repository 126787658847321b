"""What the doctor says: one line for each thing that it has looked at."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Line:
    """One thing that was looked at.

    Args:
        state: `fault`: experiments would fail, or harm. `warning`: nobody has tried this.
        topic: Such as `packages` or `disk`.
        found: What was found, in words.
        remedy: What to do about it; may be empty.
    """

    state: State
    topic: str
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the line as plain values."""
        return asdict(self)
