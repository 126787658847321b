"""Upload to a tracker what it lacks of a recorded run."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polymodal.errors import MissingExtraError, RunFailedError
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.metrics_log import logged_lines, num_steps
from polymodal.tracking.redaction import redact_text
from polymodal.tracking.trackers.base import Start, Tracker, start_of
from polymodal.tracking.trackers.sync_state import SyncState

LINES_AT_ONCE = 500


@dataclass(frozen=True)
class SyncResult:
    """Lines of the metrics log uploaded now, and those that the tracker has in all."""

    lines: int
    held: int


def upload_missing(
    tracker: Tracker,
    name: str,
    record: RunRecord,
    config: Mapping[str, Any],
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SyncResult:
    """Upload the lines of a metrics log that a tracker lacks, and how the run ended.

    Args:
        tracker: The tracker.
        name: Its name in the configuration.
        record: The record of the run, `killed` included.
        config: The configuration, redacted.
        folder: The run folder.
        progress: Called with the number of lines that the tracker has, and of all.

    Raises:
        RunFailedError: The tracker could not be reached, or rejected the lines.
        MissingExtraError: Its library is not installed.
    """
    total, note = num_steps(folder / "metrics.jsonl"), SyncState.read(folder, name, tracker)
    if (note.lines, note.status) == (total, record.status):
        return SyncResult(0, total)
    try:
        # Files that a tracker keeps until they are sent.
        files = getattr(tracker, "offline", lambda folder: None)(folder)
        if files is None:
            start = start_of(record, config, folder, total)
            held = _tell(tracker, note, start, record, progress)
        else:
            held = 0
            upload_missing(files, name, record, config, folder, progress)
            files.send(folder)
    except (MissingExtraError, RunFailedError):
        raise
    except (Exception, SystemExit) as error:
        why = " ".join(redact_text(f"{type(error).__name__}: {error}").split())[:300]
        raise RunFailedError(f"lacks {total - note.lines} lines of it ({why})") from None
    note.write(total, record.status)
    return SyncResult(total - held, total)


def _tell(
    tracker: Tracker,
    note: SyncState,
    start: Start,
    record: RunRecord,
    progress: Callable[[int, int], None],
) -> int:
    """Upload the run but for the lines that the tracker had before; return how many they were."""
    total, journal = start.num_lines, start.folder / "metrics.jsonl"
    num_known = tracker.start(replace(start, num_told=min(note.lines, total)))
    held = min(note.lines, total) if num_known is None else num_known
    flush = getattr(tracker, "flush", lambda: None)
    for number, (scores, step) in enumerate(logged_lines(journal, held), held + 1):
        tracker.log(scores, step)
        if number % LINES_AT_ONCE == 0 or number == total:
            flush()
            note.write(number)
            progress(number, total)
    tracker.finish(
        record.status, {k: math.nan if v is None else v for k, v in record.scores.items()}
    )
    return held
