"""Several utterances at once, of like length, while threads read the next ones.

One thread computes the next batch while the caller stores the last one. It is in this process and
has all of its threads: processes of their own would stand in one another's way, and on a GPU each
would need a model of its own.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from polymodal.encoders.extractor import BatchedExtractor
from polymodal.errors import DataError
from polymodal.features.lookup import MissingFeature
from polymodal.features.validate import checked, unusable

BATCHES_AHEAD = 2
# What could be computed of a batch, and the first failure.
Computed = tuple[list[tuple[MissingFeature, npt.NDArray[np.float32]]], DataError | None]


def in_batches(
    missing: Iterable[MissingFeature], extractor: BatchedExtractor, *, num_threads: int
) -> Iterator[tuple[MissingFeature, npt.NDArray[np.float32]]]:
    """Computes what is missing, the longest first: what is too much for the memory shows at once.

    Args:
        missing: What is to be computed.
        extractor: What takes several utterances at once.
        num_threads: Number of threads that read ahead.

    Yields:
        What was computed, and float32 `[time, feature]`.

    Raises:
        DataError: An utterance cannot be read or computed; the others of its batch come first.
    """
    waiting: deque[Future[Computed]] = deque()
    readers, computer = ThreadPoolExecutor(num_threads), ThreadPoolExecutor(1)
    try:
        for batch in grouped(missing, extractor.max_batch_amount):
            reads = [readers.submit(one.raw) for one in batch]
            waiting.append(computer.submit(_computed, batch, reads, extractor))
            if len(waiting) > BATCHES_AHEAD:
                yield from _given(waiting.popleft())
        while waiting:
            yield from _given(waiting.popleft())
    finally:
        readers.shutdown(cancel_futures=True)
        computer.shutdown(cancel_futures=True)


def grouped(missing: Iterable[MissingFeature], most_at_once: int) -> list[list[MissingFeature]]:
    """Parts utterances into batches of like length.

    Args:
        missing: The utterances.
        most_at_once: Greatest padded amount of a batch; a longer utterance is alone.

    Returns:
        The batches, the longest utterances first.

    Example:
        >>> rows = [MissingFeature(b"", amount, str) for amount in (3, 9, 4, 4)]
        >>> [[one.amount for one in batch] for batch in grouped(rows, 8)]
        [[9], [4, 4], [3]]
    """
    batches: list[list[MissingFeature]] = []
    for one in sorted(missing, key=lambda one: -one.amount):
        # The first of a batch is its longest, to which the others are padded.
        if batches and batches[-1][0].amount * (len(batches[-1]) + 1) <= most_at_once:
            batches[-1].append(one)
        else:
            batches.append([one])
    return batches


def _given(computed: Future[Computed]) -> Iterator[tuple[MissingFeature, npt.NDArray[np.float32]]]:
    """What could be computed of a batch, then the first failure if there is one."""
    rows, failure = computed.result()
    yield from rows
    if failure is not None:
        raise failure


def _computed(
    batch: list[MissingFeature], reads: Sequence[Future[Any]], extractor: BatchedExtractor
) -> Computed:
    there = [(one, read) for one, read in zip(batch, reads, strict=True) if not read.exception()]
    unread = [fault for read in reads if (fault := read.exception()) is not None]
    failures = [fault for fault in unread if isinstance(fault, DataError)]
    if len(failures) < len(unread):
        raise next(fault for fault in unread if not isinstance(fault, DataError))
    batch, raws = [one for one, _ in there], [read.result() for _, read in there]
    try:
        arrays = [checked(one, extractor) for one in extractor.extract_batch(raws)] if batch else []
    except Exception as error:
        if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
            raise
    else:
        return list(zip(batch, arrays, strict=True)), failures[0] if failures else None
    # One by one, so that the error names the utterance; those that work come before it.
    rows = []
    for one, raw in zip(batch, raws, strict=True):
        try:
            rows.append((one, checked(extractor(raw), extractor)))
        except MemoryError:
            raise
        except Exception as error:
            failures.append(unusable(one.ids[0], extractor, error))
    return rows, failures[0] if failures else None
