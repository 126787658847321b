"""Batches of utterances of similar length, bounded by a budget, equal in number on every rank."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch.distributed
from torch.utils.data import Sampler

BUCKET_WIDTH = 1.1


def class_balanced_weights(targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns chances by which every class is drawn equally often.

    With shares of several classes an utterance counts by the mean of theirs, which comes nearer to
    balance but does not reach it.

    Args:
        targets: Index of each utterance's class, or its share of every class.
        num_classes: Number of classes.

    Returns:
        One number an utterance; 0 where the class is unknown.

    Example:
        >>> class_balanced_weights(np.array([0, 0, 0, 1]), 2).round(3).tolist()
        [0.333, 0.333, 0.333, 1.0]
    """
    # The last row of the unit matrix has no 1: it stands for an unknown class, which is -1.
    certain = targets.ndim == 1
    shares = np.eye(num_classes + 1, num_classes)[targets] if certain else np.nan_to_num(targets)
    counts = shares.sum(axis=0)
    return np.asarray(shares @ np.divide(1, counts, out=np.zeros(num_classes), where=counts > 0))


class LengthBucketSampler(Sampler[list[int]]):
    """Draws batches whose utterances have nearly the same length.

    Every utterance stands in exactly one batch of an epoch, unless `chances` are given. The number
    of batches is the same in every epoch (Lightning counts them once) and on every rank: where it
    does not come out even, the largest batches are halved; only where every batch holds a single
    utterance are some repeated (and then counted once when scored).

    Args:
        lengths: Length of each utterance, in seconds or any other unit of cost.
        budget: Greatest padded length of a batch: its longest utterance times their number. An
            utterance longer than this is a batch of its own.
        max_utterances: Greatest number of utterances in a batch.
        shuffle: Whether batches change from epoch to epoch; otherwise longest first.
        seed: Seed of the order.
        chances: How often each utterance is to be drawn, relative to the others: then an epoch
            draws as many as there are, with replacement. None for each once.

    Example:
        >>> sampler = LengthBucketSampler([1, 9, 1, 8], budget=18, max_utterances=8, shuffle=False)
        >>> list(sampler)
        [[1, 3], [0, 2]]
    """

    def __init__(
        self,
        lengths: Sequence[float],
        *,
        budget: float,
        max_utterances: int,
        shuffle: bool,
        seed: int = 0,
        chances: np.ndarray | None = None,
    ) -> None:
        self.chances = None if chances is None else chances / chances.sum()
        self.lengths = np.asarray(lengths, dtype=np.float64)
        self.budget, self.max_utterances = budget, max_utterances
        self.shuffle, self.seed, self.epoch = shuffle, seed, 0
        self.first: int | None = None
        # In training an utterance costs as much as the longest of its bucket, so that the batches
        # of an epoch are as many whatever the order within the buckets.
        self.buckets = np.ceil(np.log(np.maximum(self.lengths, 1e-3)) / np.log(BUCKET_WIDTH))
        self.costs = BUCKET_WIDTH**self.buckets if shuffle else self.lengths
        self.sampler = self  # Lightning calls `batch_sampler.sampler.set_epoch` before each epoch

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch.

        Args:
            epoch: Number of the epoch, from 0.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        return self._num_batches(_world()[1]) // _world()[1]

    def __iter__(self) -> Iterator[list[int]]:
        rank, num_ranks = _world()
        yield from self.batches_for_epoch()[rank::num_ranks]

    def batches_for_epoch(self) -> list[list[int]]:
        """Returns the batches of this epoch for all ranks together, in order."""
        generator = np.random.default_rng((self.seed, self.epoch))
        batches = self._pack(self._order(generator))
        if self.shuffle:
            batches = [batches[position] for position in generator.permutation(len(batches))]
        # Draws with replacement may need more batches than the first epoch's: the rest is let go.
        return _pad_or_trim(batches, self._num_batches(_world()[1]))

    def _num_batches(self, num_ranks: int) -> int:
        """Number of batches of all ranks together: that of the first epoch, made divisible."""
        if self.first is None:
            generator = np.random.default_rng((self.seed, 0))
            self.first = len(self._pack(self._order(generator)))
        return -(-self.first // num_ranks) * num_ranks

    def _order(self, generator: np.random.Generator) -> np.ndarray:
        """Sorts by length, longest first; when shuffling only by bucket, at random within."""
        if not self.shuffle:
            return np.argsort(-self.lengths, kind="stable")
        num = len(self.lengths)
        start = (
            generator.permutation(num)
            if self.chances is None
            else generator.choice(num, size=num, p=self.chances)
        )
        return start[np.argsort(-self.buckets[start], kind="stable")]

    def _pack(self, order: np.ndarray) -> list[list[int]]:
        batches: list[list[int]] = []
        longest = 0.0
        for index in order.tolist():
            length = self.costs[index]
            current = batches[-1] if batches else []
            fits = max(longest, length) * (len(current) + 1) <= self.budget
            if current and fits and len(current) < self.max_utterances:
                current.append(index)
                longest = max(longest, length)
            else:
                batches.append([index])
                longest = length
        return batches


def _world() -> tuple[int, int]:
    """Rank and number of ranks; asked late, as the loaders are made before the processes are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _pad_or_trim(batches: list[list[int]], wanted: int) -> list[list[int]]:
    """Halves the largest batches, or lets the last ones go, until there are as many as wanted."""
    batches = batches[:wanted]
    while len(batches) < wanted:
        largest = max(range(len(batches)), key=lambda position: len(batches[position]))
        whole = batches[largest]
        if len(whole) == 1:
            batches.append(whole)
            continue
        batches[largest : largest + 1] = [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
    return batches
