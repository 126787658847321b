"""Keeps a tracker's faults, and its slowness, away from the run."""

import contextlib
import queue
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from polymodal.record.trackers.base import Start, Tracker

LONGEST_QUEUE = 10_000
LAST_WORDS_S = 30.0
Act = Callable[[Tracker], None]


class Mirror:
    """A tracker that is told by a thread of its own, and given up at its first error.

    What the tracker gets is always the beginning of what was logged: the first line that finds no
    place in the queue is the last one that it is offered. Only the end of a run waits for it, and
    that for a limited time.

    Args:
        tracker: The tracker. Where its `remote` is true, its start and end are left to the thread
            as well.
        longest_queue: Number of lines that may wait.
        last_words_s: How long the end of the run waits for what is still in the queue, in seconds.

    Attributes:
        num_logged: Number of lines that the run has logged.
        num_told: Number of those that the tracker has taken.
    """

    def __init__(
        self,
        tracker: Tracker,
        *,
        longest_queue: int = LONGEST_QUEUE,
        last_words_s: float = LAST_WORDS_S,
    ) -> None:
        self.tracker: Tracker | None = tracker
        self.remote = bool(getattr(tracker, "remote", False))
        self.last_words_s = last_words_s
        self.acts: queue.Queue[Act | None] = queue.Queue(longest_queue)
        self.thread: threading.Thread | None = None
        self.fault: BaseException | None = None
        self.overrun = False
        self.num_told = self.num_logged = 0

    def start(self, start: Start) -> None:
        """Begins a run.

        Args:
            start: What the tracker is told.
        """
        self._act(lambda tracker: tracker.start(start))

    def log(self, scores: Mapping[str, float], step: int) -> None:
        """Passes the scores of one step on, without waiting.

        Args:
            scores: Name to value.
            step: Number of the optimiser step.
        """
        kept = dict(scores)

        def tell(tracker: Tracker) -> None:
            tracker.log(kept, step)
            self.num_told += 1

        self.num_logged += 1
        self._queue(tell)

    def finish(self, status: str, scores: Mapping[str, float]) -> None:
        """Ends the run; a second call does nothing.

        Args:
            status: How it ended.
            scores: The scores it ended with.
        """
        if not self.remote:
            self._drain()
        self._act(lambda tracker: tracker.finish(status, scores), wait_s=self.last_words_s)
        self._drain()
        tracker, self.tracker = self.tracker, None
        if tracker is not None and self.num_told < self.num_logged:
            _warn(tracker, TimeoutError("it is too slow"), self.num_logged - self.num_told)

    def _act(self, act: Act, wait_s: float = 0.0) -> None:
        """Begins or ends a run: here, or in the thread where a network may be waited for."""
        if self.remote:
            self._queue(act, wait_s)
        elif self.tracker is not None:
            try:
                act(self.tracker)
            except (Exception, SystemExit) as error:  # a mirror must never stop a run
                self._give_up(error)

    def _queue(self, act: Act, wait_s: float = 0.0) -> None:
        self._report()
        if self.tracker is None or (self.overrun and not wait_s):
            return
        if self.thread is None:
            # A daemon: a tracker that hangs must not keep the process from ending.
            self.thread = threading.Thread(target=self._work, name="tracker", daemon=True)
            self.thread.start()
        try:
            self.acts.put(act, block=wait_s > 0, timeout=wait_s or None)
        except queue.Full:
            self.overrun = True

    def _work(self) -> None:
        """What the thread does: acts in turn, until it is told to end."""
        tracker = self.tracker
        while (act := self.acts.get()) is not None:
            if self.fault is None and tracker is not None:
                try:
                    act(tracker)
                except (Exception, SystemExit) as error:
                    self.fault = error

    def _drain(self) -> None:
        """Waits for what is still in the queue, for a limited time."""
        if self.thread is not None:
            with contextlib.suppress(queue.Full):
                self.acts.put(None, timeout=self.last_words_s)
            self.thread.join(self.last_words_s)
            if self.thread.is_alive():
                self._give_up(TimeoutError(f"it hung for {self.last_words_s:g} s at the end"))
            self.thread = None
        self._report()

    def _report(self) -> None:
        """Says from the run's own thread that the tracker has failed."""
        if self.fault is not None and self.tracker is not None:
            self._give_up(self.fault)

    def _give_up(self, error: BaseException) -> None:
        given_up, self.tracker = self.tracker, None
        _warn(given_up, error, self.num_logged - self.num_told)
        hangs = self.thread is not None and self.thread.is_alive() and self.fault is None
        if given_up is not None and not hangs:
            with contextlib.suppress(Exception, SystemExit):
                given_up.finish("failed", {})  # its threads and files must not outlive it

    def __getstate__(self) -> dict[str, Any]:
        # The tracker stays with the process that began the run.
        return {**vars(self), "tracker": None, "thread": None, "acts": None, "fault": None}


def _warn(tracker: Tracker | None, error: BaseException, num_missing: int) -> None:
    why = "; ".join(line.strip() for line in f"{type(error).__name__}: {error}".splitlines())
    lacks = f" and lacks {num_missing} lines" if num_missing else ""
    with contextlib.suppress(Warning):  # python -W error would stop the run
        warnings.warn(
            f"{type(tracker).__name__} failed, is left out from here on ({why}){lacks}; "
            "the run folder has everything",
            stacklevel=4,
        )
