"""Run a tracker in a background thread so that it can neither fail nor block the run."""

import contextlib
import queue
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from polymodal.tracking.metrics_log import logged_lines
from polymodal.tracking.redaction import redact_text
from polymodal.tracking.trackers.base import Start, Tracker
from polymodal.tracking.trackers.sync_state import SyncState

MAX_QUEUE = 10_000
MAX_VALUES = 1_000_000  # that wait, however long the lines are
FLUSH_TIMEOUT_S = 30.0
FLUSH_INTERVAL_S = 5.0
Act = Callable[[Tracker], None]


class BackgroundTracker:
    """A tracker in a thread of its own, which is given up at its first error.

    The tracker always gets a prefix of the metrics log: the first line that does not fit into the
    queue is the last one that it is offered. Only the end of a run waits for it, for a limited
    time. Its progress is kept in the run folder, so that `polymodal sync` can upload the rest.

    Args:
        tracker: The tracker. If its `remote` is true, the thread starts it as well.
        name: Its name in the configuration.
        longest_queue: Number of lines that may wait.
        last_words_s: How long the end of the run waits for the queue, in seconds.
        gather_s: How long the thread lets lines gather, so that it does not wake for each.

    Attributes:
        num_logged: Number of lines in the metrics log.
        num_told: Number of those that the tracker has taken.
    """

    def __init__(
        self,
        tracker: Tracker,
        name: str = "tracker",
        *,
        longest_queue: int = MAX_QUEUE,
        last_words_s: float = FLUSH_TIMEOUT_S,
        gather_s: float = FLUSH_INTERVAL_S,
    ) -> None:
        self.tracker: Tracker | None = tracker
        self.name, self.run_id = name, "RUN"
        self.remote = bool(getattr(tracker, "remote", False))
        self.longest_queue, self.last_words_s, self.gather_s = longest_queue, last_words_s, gather_s
        # Each act with the number of values that it carries; None ends the thread.
        self.acts: queue.SimpleQueue[tuple[Act | None, int]] = queue.SimpleQueue()
        self.hurry = threading.Event()
        self.thread: threading.Thread | None = None
        self.note: SyncState | None = None
        self.fault: BaseException | None = None
        self.overrun = False
        self.last_words: tuple[str, dict[str, float]] = ("failed", {})
        self.num_told = self.num_logged = self.num_passed = 0
        self.offered, self.taken = [0, 0], [0, 0]  # acts, values

    def start(self, start: Start) -> None:
        """Start or resume a run."""
        assert self.tracker is not None
        self.run_id, self.num_logged = start.run_id, start.num_lines
        self.note = SyncState.read(start.folder, self.name, self.tracker)
        resumed = replace(start, num_told=min(self.note.lines, start.num_lines))
        if self.remote:
            self._offer(lambda tracker: self._begin(tracker, resumed))
            return
        try:
            self._begin(self.tracker, resumed)
        except (Exception, SystemExit) as error:  # a mirror must never stop a run
            with contextlib.suppress(Exception, SystemExit):
                self.tracker.finish("failed", {})  # its threads and files must not outlive it
            self._give_up(error)

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Pass on the scores of one step without waiting."""
        self.num_logged += 1
        self._report()
        waiting = [offered - taken for offered, taken in zip(self.offered, self.taken, strict=True)]
        if waiting[0] >= self.longest_queue or waiting[1] > MAX_VALUES:
            self.overrun = True
        if self.tracker is None or self.overrun:
            return
        copied = dict(scores)
        self._offer(lambda tracker: self._pass_on(tracker, copied, step), len(copied))

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """End the run; a second call does nothing."""
        self.end(status, scores)
        self.wait(status, time.monotonic() + self.last_words_s)

    def end(self, status: str, scores: Mapping[str, float]) -> None:
        """Ask the thread to end the run, and to hurry."""
        if self.tracker is not None:
            self.last_words = (status, dict(scores))
            self._offer(None)
            self.hurry.set()

    def wait(self, status: str, deadline: float) -> None:
        """Wait for the queue until a time of the monotonic clock; `status`: how the run ended."""
        if self.tracker is None or self.thread is None:
            return
        self.thread.join(max(0.0, deadline - time.monotonic()))
        if self.thread.is_alive():
            self._give_up(TimeoutError(f"it hung for {self.last_words_s:g} s at the end"))
        self.thread = None
        self._report()
        tracker, self.tracker = self.tracker, None
        if tracker is not None and self.num_told < self.num_logged:
            self._warn(tracker, TimeoutError("it is too slow"))
        elif tracker is not None:
            self._note(status)

    def _begin(self, tracker: Tracker, start: Start) -> None:
        """Start the tracker; what an earlier process did not upload comes first."""
        held = tracker.start(start)
        self.num_told = start.num_told if held is None else held
        if self.num_told < start.num_lines and self.remote:
            self._catch_up(tracker, start)  # here in the thread, before what was logged since
        elif self.num_told < start.num_lines:
            self._offer(lambda tracker: self._catch_up(tracker, start))

    def _catch_up(self, tracker: Tracker, start: Start) -> None:
        for scores, step in logged_lines(start.folder / "metrics.jsonl", self.num_told):
            if self.num_told + self.num_passed < start.num_lines:
                self._pass_on(tracker, scores, step)

    def _pass_on(self, tracker: Tracker, scores: Mapping[str, float], step: int) -> None:
        tracker.log(scores, step)
        self.num_passed += 1

    def _offer(self, act: Act | None, num_values: int = 0) -> None:
        if self.thread is None:
            # A daemon: a tracker that hangs must not keep the process from ending.
            self.thread = threading.Thread(target=self._work, name="tracker", daemon=True)
            self.thread.start()
        self.offered = [self.offered[0] + 1, self.offered[1] + num_values]
        self.acts.put((act, num_values))

    def _work(self) -> None:
        """Apply acts in turn until the last: the target of the thread."""
        tracker, last = self.tracker, False
        while not last and tracker is not None:
            batch = [self.acts.get()]
            self.hurry.wait(self.gather_s)
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self.acts.get_nowait())
            last = any(act is None for act, _ in batch)
            if self.fault is None:
                self._try(tracker, [act for act, _ in batch if act is not None], last=last)
            values = sum(size for _, size in batch)
            self.taken = [self.taken[0] + len(batch), self.taken[1] + values]

    def _try(self, tracker: Tracker, acts: Sequence[Act], *, last: bool) -> None:
        try:
            for act in acts:
                act(tracker)
            if flush := getattr(tracker, "flush", None):
                flush()
            self.num_told, self.num_passed = self.num_told + self.num_passed, 0
            self._note(None)
            if last:
                tracker.finish(*self.last_words)
        except (Exception, SystemExit) as error:
            if not hasattr(tracker, "flush"):
                self.num_told += self.num_passed
            with contextlib.suppress(Exception, SystemExit):
                tracker.finish("failed", {})  # its threads and files must not outlive it
            self.fault = error

    def _note(self, status: str | None) -> None:
        if self.note is not None:
            with contextlib.suppress(OSError):  # such as a full disk: sync asks the tracker, then
                self.note.write(self.num_told, status)

    def _report(self) -> None:
        """Give the tracker up, in the thread of the run, if it has failed."""
        if self.fault is not None and self.tracker is not None:
            self._give_up(self.fault)

    def _give_up(self, error: BaseException) -> None:
        given_up, self.tracker = self.tracker, None
        self._warn(given_up, error)

    def _warn(self, tracker: Tracker | None, error: BaseException) -> None:
        why = "; ".join(line.strip() for line in f"{type(error).__name__}: {error}".splitlines())
        why = redact_text(why)  # an address may have a password in it
        missing = self.num_logged - self.num_told
        lacks = f" and lacks {missing} lines" if missing else ""
        with contextlib.suppress(Warning):  # python -W error would stop the run
            warnings.warn(
                f"{type(tracker).__name__} failed, is left out from here on ({why}){lacks}; the "
                f"run folder has everything, `polymodal sync {self.run_id}` delivers it",
                stacklevel=4,
            )

    def __getstate__(self) -> dict[str, Any]:
        # The tracker stays with the process that began the run.
        gone = ("tracker", "thread", "acts", "fault", "hurry", "note")
        return {**vars(self), **dict.fromkeys(gone)}


class TrackerGroup:
    """Several trackers, each of which may fail alone."""

    def __init__(self, mirrors: Sequence[BackgroundTracker]) -> None:
        self.mirrors = list(mirrors)

    def start(self, start: Start) -> None:
        """Start a run."""
        for mirror in self.mirrors:
            mirror.start(start)

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Pass on the scores of one step without waiting."""
        for mirror in self.mirrors:
            mirror.log(scores, step)

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """End the run; all trackers together have as long as one."""
        for mirror in self.mirrors:
            mirror.end(status, scores)
        longest_s = max((mirror.last_words_s for mirror in self.mirrors), default=0.0)
        deadline = time.monotonic() + longest_s
        for mirror in self.mirrors:
            mirror.wait(status, deadline)

    def lacking(self) -> dict[str, int]:
        """Return how many lines of the metrics log each tracker lacks, by name."""
        missing = {mirror.name: mirror.num_logged - mirror.num_told for mirror in self.mirrors}
        return {name: number for name, number in missing.items() if number}
