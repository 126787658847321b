"""Several utterances at once, of like length, while threads read the next ones.

In this process, with all of its threads: processes of their own, each with the threads of torch,
would stand in one another's way, and on a GPU each would need a model of its own.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from polymodal.encoders.extractor import BatchedExtractor
from polymodal.features.outputs import checked, unusable
from polymodal.features.survey import Missing

BATCHES_AHEAD = 2


def in_batches(
    missing: Iterable[Missing], extractor: BatchedExtractor, *, num_threads: int
) -> Iterator[tuple[Missing, npt.NDArray[np.float32]]]:
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
    waiting: deque[tuple[list[Missing], list[Future[Any]]]] = deque()
    pool = ThreadPoolExecutor(num_threads)
    try:
        for batch in grouped(missing, extractor.most_at_once):
            waiting.append((batch, [pool.submit(one.raw) for one in batch]))
            if len(waiting) > BATCHES_AHEAD:
                yield from _computed(*waiting.popleft(), extractor)
        while waiting:
            yield from _computed(*waiting.popleft(), extractor)
    finally:
        pool.shutdown(cancel_futures=True)


def grouped(missing: Iterable[Missing], most_at_once: int) -> list[list[Missing]]:
    """Parts utterances into batches of like length.

    Args:
        missing: The utterances.
        most_at_once: Greatest padded amount of a batch; a longer utterance is alone.

    Returns:
        The batches, the longest utterances first.

    Example:
        >>> rows = [Missing(b"", amount, str) for amount in (3, 9, 4, 4)]
        >>> [[one.amount for one in batch] for batch in grouped(rows, 8)]
        [[9], [4, 4], [3]]
    """
    batches: list[list[Missing]] = []
    for one in sorted(missing, key=lambda one: -one.amount):
        # The first of a batch is its longest, to which the others are padded.
        if batches and batches[-1][0].amount * (len(batches[-1]) + 1) <= most_at_once:
            batches[-1].append(one)
        else:
            batches.append([one])
    return batches


def _computed(
    batch: list[Missing], reads: Sequence[Future[Any]], extractor: BatchedExtractor
) -> Iterator[tuple[Missing, npt.NDArray[np.float32]]]:
    raws = [read.result() for read in reads]
    try:
        arrays = [checked(one, extractor) for one in extractor.many(raws)]
    except Exception as error:
        if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
            raise
    else:
        yield from zip(batch, arrays, strict=True)
        return
    # One by one, so that the error names the utterance; those that work come before it.
    failures = []
    for one, raw in zip(batch, raws, strict=True):
        try:
            values = checked(extractor(raw), extractor)
        except Exception as error:
            failures.append(unusable(one.ids[0], extractor, error))
        else:
            yield one, values
    if failures:
        raise failures[0]
