"""The features of many utterances, computed once: alone, in processes, or several at once.

Legend: time = vectors an utterance has, feature = width.
"""

import multiprocessing
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from polymodal.encoders.extractor import BatchedExtractor, Extractor
from polymodal.errors import DataError
from polymodal.features.batches import in_batches
from polymodal.features.lookup import MissingFeature, Reading, StoreLookup, look_up
from polymodal.features.reader import FeatureReader
from polymodal.features.store import FeatureStore
from polymodal.features.validate import checked, unusable

Computed = tuple[MissingFeature, npt.NDArray[np.float32]]
# Enough to keep the processes busy, few enough that the waveforms in flight stay small.
WAITING_PER_WORKER = 4


def extract_all(
    utterances: Iterable[Reading],
    extractor: Extractor,
    store: FeatureStore,
    *,
    num_workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureReader:
    """Extracts the features of all utterances; what the store has is not computed again.

    Args:
        utterances: Id, and what reads the waveform or text (here, not in the processes); it
            returns None where the utterance has none.
        extractor: What makes the features.
        store: Where they are kept.
        num_workers: See `fill`; also the number of threads that decode audio.
        progress: Told the number of utterances that are done, and of all.

    Returns:
        Id to `[time, feature]`, mapped from the store's files, in the order given; utterances
        without content are left out.

    Raises:
        DataError: An utterance cannot be read or computed, a process died, or the store cannot be
            written.
    """
    seen = look_up(utterances, extractor, store, num_threads=num_workers)
    fill(seen, num_workers=num_workers, done=counting(seen, progress) if progress else None)
    return seen.features()


def counting(
    seen: StoreLookup, progress: Callable[[int, int], None]
) -> Callable[[MissingFeature], None]:
    """Returns what tells the progress of `fill`, and tells how far it is already.

    Args:
        seen: What is missing.
        progress: Told the number of utterances that are done, and of all.

    Returns:
        What is told each content that was stored.
    """
    num_done = seen.num_utterances - seen.num_missing

    def count(one: MissingFeature) -> None:
        nonlocal num_done
        num_done += len(one.ids)
        progress(num_done, seen.num_utterances)

    if num_done:
        progress(num_done, seen.num_utterances)
    return count


def fill(
    seen: StoreLookup, *, num_workers: int = 0, done: Callable[[MissingFeature], None] | None = None
) -> None:
    """Computes what is missing, and stores each as soon as it is there.

    Args:
        seen: What is missing; it is found afterwards.
        num_workers: Number of processes for an extractor of one utterance at a time, 0 computes
            here; of threads that read ahead for one that takes several at once, in this process.
        done: Told what was stored.

    Raises:
        DataError: An utterance cannot be read or computed, a process died, or the store cannot be
            written; what was stored before is kept.
    """
    if not seen.missing:
        return
    extractor = seen.extractor
    try:
        with closing(_computed(seen, num_workers)) as computed:
            for one, values in computed:
                seen.found[one.key] = seen.collection.put(one.key, values)
                if done is not None:
                    done(one)
    finally:
        seen.collection.close()
        if isinstance(extractor, BatchedExtractor):
            extractor.release()
    seen.missing = []


def _computed(seen: StoreLookup, num_workers: int) -> Generator[Computed]:
    if isinstance(seen.extractor, BatchedExtractor):
        yield from in_batches(seen.missing, seen.extractor, num_threads=max(1, num_workers))
    elif num_workers > 0:
        yield from _in_processes(seen.missing, seen.extractor, num_workers)
    else:
        for one in seen.missing:
            yield one, _compute(seen.extractor, one.ids[0], one.raw())


def _in_processes(
    missing: Iterable[MissingFeature], extractor: Extractor, num_workers: int
) -> Iterator[Computed]:
    # Not forked: a copy of a process in which torch has started threads can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_use_one_thread)
    running: dict[Future[npt.NDArray[np.float32]], MissingFeature] = {}
    try:
        for one in missing:
            running[pool.submit(_compute, extractor, one.ids[0], one.raw())] = one
            if len(running) >= WAITING_PER_WORKER * num_workers:
                yield from _finished(running)
        while running:
            yield from _finished(running)
    except BrokenProcessPool as error:
        ids = ", ".join(sorted(repr(one.ids[0]) for one in running.values()))
        raise DataError(
            f"a process died while it computed {extractor.identity} of one of {ids}",
            hint="is there enough memory? try data.extract_workers=0",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(running: dict[Future[npt.NDArray[np.float32]], MissingFeature]) -> Iterator[Computed]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    # Failures last, so that what was computed beside them is kept.
    for future in sorted(done, key=lambda one: one.exception() is not None):
        yield running[future], future.result()
        del running[future]


def _compute(extractor: Extractor, utterance_id: str, raw: Any) -> npt.NDArray[np.float32]:
    try:
        return checked(extractor(raw), extractor)
    except Exception as error:
        raise unusable(utterance_id, extractor, error) from error


def _use_one_thread() -> None:
    # Read by torch when the extractor brings it in; the processes already fill the machine.
    os.environ["OMP_NUM_THREADS"] = "1"
