"""Compute the features of many utterances once: one by one, in processes, or in batches.

In batches, utterances of similar length are computed at once, while threads read the next ones and
the caller stores the last one. That is in this process and with all of its threads: several
processes would compete for the cores, and on a GPU each would need its own model.

Legend: time = vectors an utterance has, feature = width.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from polymodal.encoders.extractor import BatchedExtractor, Extractor
from polymodal.errors import DataError, UserError
from polymodal.features.lookup import MissingFeature, Reading, StoreLookup, look_up
from polymodal.features.reader import FeatureReader
from polymodal.features.store import FeatureStore

Progress = Callable[[int, int], None]
Computed = tuple[MissingFeature, npt.NDArray[np.float32]]
# The computed features of a batch, and the first failure.
ComputedBatch = tuple[list[Computed], DataError | None]
# Enough to keep the processes busy, few enough that the waveforms in flight stay small.
WAITING_PER_WORKER = 4
BATCHES_AHEAD = 2


def extract_all(
    utterances: Iterable[Reading],
    extractor: Extractor,
    store: FeatureStore,
    *,
    num_workers: int = 0,
    progress: Progress | None = None,
) -> FeatureReader:
    """Extract the features of all utterances; those in the store are not computed again.

    Arguments and errors are those of `look_up` and `fill`. `progress` is called with the number of
    finished utterances, and of all.

    Returns:
        Id to `[time, feature]`, mapped from the store's files, in the given order; utterances
        without content are left out.
    """
    lookup = look_up(utterances, extractor, store, num_threads=num_workers)
    fill(lookup, num_workers=num_workers, done=counting(lookup, progress) if progress else None)
    return lookup.features()


def counting(lookup: StoreLookup, progress: Progress) -> Callable[[MissingFeature], None]:
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

    `num_workers` is the number of processes of an extractor of single utterances, 0 computes here;
    of one of batches it is the number of threads that read ahead. `done` is called with each
    feature that was stored.

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


def in_batches(
    missing: Iterable[MissingFeature], extractor: BatchedExtractor, *, num_threads: int
) -> Iterator[Computed]:
    """Compute missing features, the longest first: if memory is too small, that shows at once.

    Yields each with its features, float32 `[time, feature]`.

    Raises:
        DataError: An utterance cannot be read or computed; the others of its batch come first.
    """
    waiting: deque[Future[ComputedBatch]] = deque()
    readers, computer = ThreadPoolExecutor(num_threads), ThreadPoolExecutor(1)
    try:
        for batch in grouped(missing, extractor.max_batch_amount):
            reads = [readers.submit(feature.raw) for feature in batch]
            waiting.append(computer.submit(_compute_batch, batch, reads, extractor))
            if len(waiting) > BATCHES_AHEAD:
                yield from _results(waiting.popleft())
        while waiting:
            yield from _results(waiting.popleft())
    finally:
        readers.shutdown(cancel_futures=True)
        computer.shutdown(cancel_futures=True)


def grouped(missing: Iterable[MissingFeature], max_amount: int) -> list[list[MissingFeature]]:
    """Divide utterances into batches of similar length, the longest first.

    The padded amount of a batch is at most `max_amount`; a longer utterance is alone.

    Example:
        >>> rows = [MissingFeature(b"", amount, str) for amount in (3, 9, 4, 4)]
        >>> [[feature.amount for feature in batch] for batch in grouped(rows, 8)]
        [[9], [4, 4], [3]]
    """
    batches: list[list[MissingFeature]] = []
    for feature in sorted(missing, key=lambda feature: -feature.amount):
        # The first of a batch is its longest, to which the others are padded.
        if batches and batches[-1][0].amount * (len(batches[-1]) + 1) <= max_amount:
            batches[-1].append(feature)
        else:
            batches.append([feature])
    return batches


def _results(computed: Future[ComputedBatch]) -> Iterator[Computed]:
    rows, failure = computed.result()
    yield from rows
    if failure is not None:
        raise failure


def _compute_batch(
    batch: list[MissingFeature], reads: Sequence[Future[Any]], extractor: BatchedExtractor
) -> ComputedBatch:
    pairs = list(zip(batch, reads, strict=True))
    readable = [(feature, read) for feature, read in pairs if not read.exception()]
    errors = [error for read in reads if (error := read.exception()) is not None]
    failures = [error for error in errors if isinstance(error, DataError)]
    if len(failures) < len(errors):
        raise next(error for error in errors if not isinstance(error, DataError))
    batch, raws = [feature for feature, _ in readable], [read.result() for _, read in readable]
    try:
        outputs = extractor.extract_batch(raws) if batch else []
        arrays = [checked(output, extractor) for output in outputs]
    except Exception as error:
        if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
            raise
    else:
        return list(zip(batch, arrays, strict=True)), failures[0] if failures else None
    # One by one, so that the error names the utterance; those that work come before it.
    rows = []
    for feature, raw in zip(batch, raws, strict=True):
        try:
            rows.append((feature, checked(extractor(raw), extractor)))
        except MemoryError:
            raise
        except Exception as error:
            failures.append(unusable(feature.ids[0], extractor, error))
    return rows, failures[0] if failures else None


def checked(values: Any, extractor: Extractor) -> Float32[np.ndarray, "time feature"]:
    """Return features as float32 if they have the shape that the extractor promises.

    Raises:
        DataError: They have another shape.
    """
    array = np.asarray(values, dtype=np.float32)
    if array.ndim != 2 or len(array) == 0 or array.shape[1] != extractor.feature_size:
        raise DataError(
            f"{extractor.identity} returned features of shape {array.shape}",
            expected=f"[time, {extractor.feature_size}] with at least one vector",
            hint="fix the extractor, or leave out the utterance",
        )
    return array


def unusable(utterance_id: str, extractor: Extractor, error: Exception) -> DataError:
    """Return the error for an utterance that an extractor fails on."""
    reason = error.message if isinstance(error, UserError) else repr(error)
    return DataError(
        f"utterance {utterance_id!r}: {reason}",
        expected=f"something that {extractor.identity} can read",
        hint="listen to the file or read the text; leave it out if it is damaged",
    )
