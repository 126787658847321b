"""TensorBoard: event files beside the run folders."""

import hashlib
import re
import shutil
import time
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from polymodal.errors import MissingExtraError
from polymodal.tracking.run_folder import slug
from polymodal.tracking.trackers.base import Start
from polymodal.tracking.trackers.payload import flat

FOLDER = ".tensorboard"
MAX_NAME = 100
MAX = 3.4e38
UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')


class TensorBoardTracker:
    """Copy a run to event files: `tensorboard --logdir runs/.tensorboard`.

    They are in a folder named after the project and the run, with the options and the end of the
    run for the tab HPARAMS.

    Args:
        folder: Where to write; None for `.tensorboard` below the folder of runs.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self.place = f"tensorboard {folder or ''}".strip()
        self.writer: Any = None

    def start(self, start: Start) -> int:
        """Start a run, whose files are written from the beginning (0 lines) also if it is resumed.

        Raises:
            MissingExtraError: tensorboard is not installed.
        """
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.plugins.hparams import plugin_data_pb2, summary_v2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            raise MissingExtraError("tensorboard", "tensorboard") from None
        self.event: Any = event_pb2
        self.summary: Any = summary_pb2
        self.hparams: Any = plugin_data_pb2
        self.last_step = 0
        folder = self._of(start)
        if start.num_lines:  # its readers keep the first end that a run had
            shutil.rmtree(folder, ignore_errors=True)
        self.writer = EventFileWriter(str(folder), max_queue_size=1000)
        self._add(summary_v2.hparams_pb(flat(start.config), trial_id=start.title), 0)
        return 0

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Write the scores of one step."""
        value_of = self.summary.Summary.Value
        values = []
        for name, value in scores.items():
            if isfinite(value):
                value = max(-MAX, min(MAX, value))  # stored in single precision
            values.append(value_of(tag=name, simple_value=value))
        self._add(self.summary.Summary(value=values), step)
        self.last_step = step

    def flush(self) -> None:
        """Write the buffer to disk."""
        if self.writer is not None:
            self.writer.flush()

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """End the run."""
        if self.writer is None:
            return
        from tensorboard.plugins.hparams import api_pb2, metadata

        if scores:
            self.log(scores, self.last_step)
        codes: Any = api_pb2
        code = codes.STATUS_SUCCESS if status == "finished" else codes.STATUS_FAILURE
        end = self.hparams.SessionEndInfo(status=code, end_time_secs=time.time())
        summary = self.summary.Summary()
        summary.value.add(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=metadata.create_summary_metadata(
                self.hparams.HParamsPluginData(session_end_info=end)
            ),
            tensor=metadata.NULL_TENSOR,
        )
        self._add(summary, 0)
        writer, self.writer = self.writer, None
        writer.close()

    def _add(self, summary: Any, step: int) -> None:
        self.writer.add_event(self.event.Event(wall_time=time.time(), step=step, summary=summary))

    def _of(self, start: Start) -> Path:
        """Return the folder of a run, which no other one has."""
        parent = Path(self.folder) if self.folder else start.folder.parent / FOLDER
        name = UNSAFE.sub("_", start.title)[:MAX_NAME].strip(" .")
        if name != start.title:  # another name may read the same
            name += f"-{hashlib.sha256(start.title.encode()).hexdigest()[:6]}"
        if self.folder:  # names are unique among the runs of one folder alone
            name += f"-{start.run_id}"
        return parent / slug(start.project) / name
