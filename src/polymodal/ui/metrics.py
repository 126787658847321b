"""Read the metrics log of a run from where the page left off."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from polymodal.report.format import as_finite
from polymodal.tracking.metrics_log import WHERE, parse_line

MAX_BYTES = 8_000_000  # of one answer
TAIL_BYTES = 64_000
MAX_NAMES = 2_000


def read_points(path: Path, start: int, names: Sequence[str]) -> dict[str, Any]:
    """Read the points of some scores.

    Args:
        path: `metrics.jsonl`; a missing one is empty.
        start: Where the last answer ended, in bytes.
        names: The scores.

    Returns:
        `start` (0 if the file was replaced), `next` (where to continue), `more` (whether there is
        more already), `names` (all scores of these lines), `points` (score to lists of fold, epoch,
        step, value), `skipped` (number of broken lines).
    """
    size = _size(path)
    start = start if 0 <= start <= size else 0
    lines, end = _whole_lines(path, start)
    names_seen: dict[str, None] = {}
    points: dict[str, list[list[float | None]]] = {name: [] for name in names}
    skipped = 0
    for line in lines:
        values = parse_line(line)
        if values is None:
            skipped += 1
            continue
        names_seen |= dict.fromkeys(values)
        position = [as_finite(values.get(key)) for key in WHERE]
        for name in names:
            if (value := as_finite(values.get(name))) is not None:
                points[name].append([*position, value])
    return {
        "start": start,
        "next": end,
        "more": end > start and end < size,
        "names": [key for key in names_seen if key not in WHERE][:MAX_NAMES],
        "points": points,
        "skipped": skipped,
    }


def last_values(path: Path, num_read: int) -> tuple[int, dict[str, float] | None]:
    """Read the end of a metrics log.

    Args:
        path: `metrics.jsonl`.
        num_read: Its size when it was last read.

    Returns:
        Its size, and each score with its last value, `epoch` and `step` among them; None if nothing
        was written since.
    """
    size = _size(path)
    if size == num_read or (size == 0 and num_read == -1):
        return size, None
    lines, _ = _whole_lines(path, max(0, size - TAIL_BYTES))
    values: dict[str, float] = {}
    for line in lines:
        for name, value in (parse_line(line) or {}).items():
            if (shown := as_finite(value)) is not None:
                values[name] = shown
    return size, values


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _whole_lines(path: Path, start: int) -> tuple[Iterator[bytes], int]:
    """Return complete lines, and where the last of them ends."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(MAX_BYTES)
    except OSError:
        return iter(()), start
    end = data.rfind(b"\n") + 1
    if end == 0 and len(data) == MAX_BYTES:  # a line beyond all measure is stepped over
        return iter(()), start + len(data)
    return (line for line in data[:end].split(b"\n") if line.strip()), start + end
