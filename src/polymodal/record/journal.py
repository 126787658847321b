"""metrics.jsonl: one line a logged step, each written at once."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO


class Journal:
    """Appends scores to a file, a line at a time, so that a kill loses no line.

    Args:
        path: The file; a torn last line of an earlier process is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: TextIO | None = None

    def log(
        self,
        scores: Mapping[str, float],
        *,
        step: int,
        epoch: int | None = None,
        fold: int | None = None,
    ) -> None:
        """Appends one line.

        Args:
            scores: Name to value; what is no number is written as null.
            step: Number of the optimiser step.
            epoch: Number of the epoch.
            fold: Number of the fold.
        """
        where = {"fold": fold, "epoch": epoch, "step": step}
        known = {name: value for name, value in where.items() if value is not None}
        finite = {name: one if math.isfinite(one) else None for name, one in scores.items()}
        if self.file is None:
            _drop_torn_line(self.path)
            self.file = self.path.open("a", encoding="utf-8", buffering=1)
        self.file.write(json.dumps({**known, **finite}) + "\n")

    def close(self) -> None:
        """Closes the file; the next line opens it again."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "file": None}


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Reads all whole lines.

    Args:
        path: The file.

    Returns:
        One mapping a line; none where the file is missing.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is torn
    return [json.loads(line) for line in lines if line.strip()]


def _drop_torn_line(path: Path) -> None:
    if path.is_file() and (data := path.read_bytes()) and not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
