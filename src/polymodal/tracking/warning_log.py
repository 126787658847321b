"""Write the warnings of a run to its log, and count them."""

import contextlib
import warnings
from pathlib import Path
from typing import Any, cast

from polymodal.tracking.redaction import redact_text


class WarningLog:
    """Write every warning that is shown in this context to a log, too, and count it.

    Args:
        log: The file; created at the first warning.
    """

    def __init__(self, log: Path) -> None:
        self.log, self.count = log, 0
        self.before: Any = None

    def keep(self, text: str) -> None:
        """Write one warning."""
        self.count += 1
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as file:
            file.write(f"warning: {redact_text(text)}\n")

    def __enter__(self) -> "WarningLog":
        self.before, show = warnings.showwarning, cast(Any, self._show)
        warnings.showwarning = show
        return self

    def __exit__(self, *error: object) -> None:
        if cast(Any, warnings.showwarning) == self._show:  # otherwise it was replaced since
            warnings.showwarning = self.before

    def _show(
        self, message: Warning | str, category: type[Warning], file: str, line: int, *more: Any
    ) -> None:
        self.keep(f"{category.__name__}: {message} ({file}:{line})")
        self.before(message, category, file, line, *more)
