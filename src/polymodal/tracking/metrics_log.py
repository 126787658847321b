"""The metrics log `metrics.jsonl`: one line a logged step, each written at once."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from polymodal.errors import RunError

_encode = json.JSONEncoder(allow_nan=False).encode  # made once: json.dumps makes one a call
WHERE = ("fold", "epoch", "step")  # keys of a line that are no scores


class MetricsLog:
    """Append scores to a file, a line at a time, so that a kill loses no line.

    Args:
        path: The file; an incomplete last line of an earlier process is dropped.

    Example:
        >>> journal = MetricsLog(Path(getfixture("tmp_path")) / "metrics.jsonl")
        >>> journal.log({"val/uar": 0.5, "val/loss": float("nan")}, step=10, epoch=1)
        >>> journal.close()
        >>> read_metrics(journal.path)
        [{'epoch': 1, 'step': 10, 'val/uar': 0.5, 'val/loss': None}]
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
        """Append one line: numbers of fold, epoch and optimizer step, and scores.

        A score that is not finite is written as null.

        Raises:
            OSError: The file cannot be written.
        """
        where = {"fold": fold, "epoch": epoch, "step": step}
        given = {name: value for name, value in where.items() if value is not None}
        finite = {name: score if math.isfinite(score) else None for name, score in scores.items()}
        line = _encode({**given, **finite, **given})
        if self.file is None:
            data = self.path.read_bytes() if self.path.is_file() else b""
            if data and not data.endswith(b"\n"):  # an earlier process was killed
                os.truncate(self.path, data.rfind(b"\n") + 1)
            # Line-buffered: a whole line goes to the system in one call.
            self.file = self.path.open("a", encoding="utf-8", buffering=1, newline="\n")
        self.file.write(line + "\n")

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "file": None}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read all whole lines; none if the file is missing.

    Raises:
        RunError: A whole line is not a JSON mapping.
    """
    lines = []
    for row, line in _whole_lines(path):
        if (values := parse_line(line)) is None:
            message = f"{path} line {row} is not a JSON mapping: {line[:40]!r}"
            raise RunError(message, hint="delete that line")
        lines.append(values)
    return lines


def _whole_lines(path: Path) -> list[tuple[int, bytes]]:
    """Return the lines that are not empty, numbered, without an incomplete last one."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    return [(row, line) for row, line in enumerate(lines, start=1) if line.strip()]


def num_steps(path: Path) -> int:
    """Return the number of whole lines."""
    return len(_whole_lines(path))


def logged_lines(path: Path, first: int = 0) -> Iterator[tuple[dict[str, float], int]]:
    """Yield scores and step of the lines from `first` on, as trackers get them: folds in the names.

    Raises:
        RunError: A whole line is not a JSON mapping.
    """
    for line in read_metrics(path)[first:]:
        scores = {
            name: math.nan if value is None else float(value)
            for name, value in line.items()
            if name not in WHERE and isinstance(value, int | float | None)
        }
        yield of_fold(scores, line.get("fold")), int(line.get("step") or 0)


def of_fold(scores: Mapping[str, float], fold: int | None) -> dict[str, float]:
    """Put the number of a fold before the names of its scores.

    Example:
        >>> of_fold({"val/uar": 0.5}, 2)
        {'fold2/val/uar': 0.5}
    """
    prefix = "" if fold is None else f"fold{fold}/"
    return {f"{prefix}{name}": score for name, score in scores.items()}


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the values of a line; None if it is not a JSON mapping."""
    try:
        values = json.loads(line, parse_constant=lambda name: None)  # NaN is not JSON
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
