"""Extract several utterances of similar length at once, while threads read the next ones.

One thread computes the next batch while the caller stores the last one. It is in this process and
has all of its threads: several processes would compete for the cores, and on a GPU each would need
its own model.
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
# The computed features of a batch, and the first failure.
Computed = tuple[list[tuple[MissingFeature, npt.NDArray[np.float32]]], DataError | None]


def in_batches(
    missing: Iterable[MissingFeature], extractor: BatchedExtractor, *, num_threads: int
) -> Iterator[tuple[MissingFeature, npt.NDArray[np.float32]]]:
    """Compute missing features, the longest first: if memory is too small, that shows at once.

    Yields each with its features, float32 `[time, feature]`.

    Raises:
        DataError: An utterance cannot be read or computed; the others of its batch come first.
    """
    waiting: deque[Future[Computed]] = deque()
    readers, computer = ThreadPoolExecutor(num_threads), ThreadPoolExecutor(1)
    try:
        for batch in grouped(missing, extractor.max_batch_amount):
            reads = [readers.submit(feature.raw) for feature in batch]
            waiting.append(computer.submit(_computed, batch, reads, extractor))
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


def _results(
    computed: Future[Computed],
) -> Iterator[tuple[MissingFeature, npt.NDArray[np.float32]]]:
    rows, failure = computed.result()
    yield from rows
    if failure is not None:
        raise failure


def _computed(
    batch: list[MissingFeature], reads: Sequence[Future[Any]], extractor: BatchedExtractor
) -> Computed:
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
