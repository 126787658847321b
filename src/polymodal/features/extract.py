"""The features of many utterances, computed once, in as many processes as wanted.

Legend: time = vectors an utterance has, feature = width.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from polymodal.encoders.extractor import Extractor
from polymodal.errors import DataError, UserError
from polymodal.features.cache import FeatureCache, checked, content_key

Features = npt.NDArray[np.float32]
# Enough to keep the processes busy, few enough that the waveforms in flight stay small.
WAITING_PER_WORKER = 4


def extract_all(
    utterances: Iterable[tuple[str, Callable[[], Any]]],
    extractor: Extractor,
    cache: FeatureCache,
    *,
    num_workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Features]:
    """Extracts the features of all utterances; what the cache has is not computed again.

    Args:
        utterances: Id, and what reads the waveform or text (here, not in the processes); it
            returns None where the utterance has none.
        extractor: What makes the features.
        cache: Where they are kept.
        num_workers: Number of processes; 0 computes here. They are started only for features that
            the cache lacks.
        progress: Told the number of utterances that are done, and of all.

    Returns:
        Id to float32 `[time, feature]`, in the order given; utterances without content are left
        out.

    Raises:
        DataError: An utterance cannot be read or computed, a process died, or the cache cannot be
            written.
    """
    work = _Work(list(utterances), extractor, cache, progress)
    computed = _in_processes(work, num_workers) if num_workers > 0 else _here(work)
    for task, values in computed:
        work.keep(task, values)
    return {one: work.features[one] for one, _ in work.utterances if one in work.features}


class _Task(NamedTuple):
    utterance_id: str
    key: str
    raw: Any


class _Work:
    """What is known of one pass: the features found so far, and what is still missing."""

    def __init__(
        self,
        utterances: list[tuple[str, Callable[[], Any]]],
        extractor: Extractor,
        cache: FeatureCache,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.utterances, self.extractor, self.cache = utterances, extractor, cache
        self.progress = progress or (lambda done, total: None)
        self.features: dict[str, Features] = {}
        self.num_done = 0

    def missing(self) -> Iterator[_Task]:
        """Yields what the cache lacks, and keeps what it has."""
        for utterance_id, read in self.utterances:
            raw = read()
            if raw is None:
                self._advance()
                continue
            key = content_key(raw, self.extractor)
            values = self.cache.get(key)
            if values is None:
                yield _Task(utterance_id, key, raw)
            else:
                self.features[utterance_id] = values
                self._advance()

    def keep(self, task: _Task, values: Features) -> None:
        """Stores computed features."""
        self.cache.put(task.key, values)
        self.features[task.utterance_id] = values
        self._advance()

    def _advance(self) -> None:
        self.num_done += 1
        self.progress(self.num_done, len(self.utterances))


def _here(work: _Work) -> Iterator[tuple[_Task, Features]]:
    for task in work.missing():
        yield task, _compute(work.extractor, task)


def _in_processes(work: _Work, num_workers: int) -> Iterator[tuple[_Task, Features]]:
    # Not forked: a copy of a process in which torch has started threads can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_use_one_thread)
    running: dict[Future[Features], _Task] = {}
    try:
        for task in work.missing():
            running[pool.submit(_compute, work.extractor, task)] = task
            if len(running) >= WAITING_PER_WORKER * num_workers:
                yield from _finished(running)
        while running:
            yield from _finished(running)
    except BrokenProcessPool as error:
        ids = ", ".join(sorted(repr(task.utterance_id) for task in running.values()))
        raise DataError(
            f"a process died while it computed {work.extractor.identity} of one of {ids}",
            remedy="is there enough memory? try num_workers=0",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(running: dict[Future[Features], _Task]) -> Iterator[tuple[_Task, Features]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    # Failures last, so that what was computed beside them is kept.
    for future in sorted(done, key=lambda one: one.exception() is not None):
        yield running[future], future.result()
        del running[future]


def _compute(extractor: Extractor, task: _Task) -> Features:
    try:
        return checked(extractor(task.raw), extractor)
    except Exception as error:
        reason = error.found if isinstance(error, UserError) else repr(error)
        raise DataError(
            f"utterance {task.utterance_id!r}: {reason}",
            expected=f"something that {extractor.identity} can read",
            remedy="listen to the file or read the text; leave it out if it is damaged",
        ) from error


def _use_one_thread() -> None:
    # Read by torch when the extractor brings it in; the processes already fill the machine.
    os.environ["OMP_NUM_THREADS"] = "1"
