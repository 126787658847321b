"""Compute the features of many utterances once: one by one, in processes, or in batches.

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
    """Extract the features of all utterances; those in the store are not computed again.

    Args:
        utterances: Id, and a function that reads the waveform or text (here, not in the
            processes); it returns None for an utterance without content.
        extractor: The extractor.
        store: Where features are stored.
        num_workers: See `fill`; also the number of threads that decode audio.
        progress: Called with the number of finished utterances, and of all.

    Returns:
        Id to `[time, feature]`, mapped from the store's files, in the given order; utterances
        without content are left out.

    Raises:
        DataError: An utterance cannot be read or computed, a process died, or the store cannot be
            written.
    """
    lookup = look_up(utterances, extractor, store, num_threads=num_workers)
    fill(lookup, num_workers=num_workers, done=counting(lookup, progress) if progress else None)
    return lookup.features()


def counting(
    lookup: StoreLookup, progress: Callable[[int, int], None]
) -> Callable[[MissingFeature], None]:
    """Return a callback of `fill` that reports its progress, and report the current one."""
    num_done = lookup.num_utterances - lookup.num_missing

    def count(feature: MissingFeature) -> None:
        nonlocal num_done
        num_done += len(feature.ids)
        progress(num_done, lookup.num_utterances)

    if num_done:
        progress(num_done, lookup.num_utterances)
    return count


def fill(
    lookup: StoreLookup,
    *,
    num_workers: int = 0,
    done: Callable[[MissingFeature], None] | None = None,
) -> None:
    """Compute missing features, and store each at once.

    Args:
        lookup: What is missing; it is found afterwards.
        num_workers: For an extractor of single utterances the number of processes, 0 computes
            here; for one of batches the number of threads that read ahead.
        done: Called with each feature that was stored.

    Raises:
        DataError: An utterance cannot be read or computed, a process died, or the store cannot be
            written; features that were stored before stay.
    """
    if not lookup.missing:
        return
    extractor = lookup.extractor
    try:
        with closing(_computed(lookup, num_workers)) as computed:
            for feature, values in computed:
                lookup.entries[feature.key] = lookup.collection.put(feature.key, values)
                if done is not None:
                    done(feature)
    finally:
        lookup.collection.close()
        if isinstance(extractor, BatchedExtractor):
            extractor.release()
    lookup.missing = []


def _computed(lookup: StoreLookup, num_workers: int) -> Generator[Computed]:
    if isinstance(lookup.extractor, BatchedExtractor):
        yield from in_batches(lookup.missing, lookup.extractor, num_threads=max(1, num_workers))
    elif num_workers > 0:
        yield from _in_processes(lookup.missing, lookup.extractor, num_workers)
    else:
        for feature in lookup.missing:
            yield feature, _compute(lookup.extractor, feature.ids[0], feature.raw())


def _in_processes(
    missing: Iterable[MissingFeature], extractor: Extractor, num_workers: int
) -> Iterator[Computed]:
    # Not forked: a copy of a process in which torch has started threads can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_use_one_thread)
    running: dict[Future[npt.NDArray[np.float32]], MissingFeature] = {}
    try:
        for feature in missing:
            running[pool.submit(_compute, extractor, feature.ids[0], feature.raw())] = feature
            if len(running) >= WAITING_PER_WORKER * num_workers:
                yield from _finished(running)
        while running:
            yield from _finished(running)
    except BrokenProcessPool as error:
        ids = ", ".join(sorted(repr(feature.ids[0]) for feature in running.values()))
        raise DataError(
            f"a process died while it computed {extractor.identity} of one of {ids}",
            hint="is there enough memory? try data.extract_workers=0",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(running: dict[Future[npt.NDArray[np.float32]], MissingFeature]) -> Iterator[Computed]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    # Failures last, so that finished features are stored.
    for future in sorted(done, key=lambda future: future.exception() is not None):
        yield running[future], future.result()
        del running[future]


def _compute(extractor: Extractor, utterance_id: str, raw: Any) -> npt.NDArray[np.float32]:
    try:
        return checked(extractor(raw), extractor)
    except Exception as error:
        raise unusable(utterance_id, extractor, error) from error


def _use_one_thread() -> None:
    # Read by torch when the extractor imports it; the processes already fill the machine.
    os.environ["OMP_NUM_THREADS"] = "1"
