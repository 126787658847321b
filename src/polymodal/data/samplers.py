"""Batches of utterances of similar length, bounded by a budget, equal in number on every rank."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch.distributed
from torch.utils.data import Sampler

BUCKET_WIDTH = 1.1


def class_balanced_weights(targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Return sampling weights by which every class is drawn equally often; 0 without a class.

    `targets` are the class index of each utterance (-1 = unknown), or its probability of every
    class. With probabilities of several classes an utterance has their mean weight, which comes
    nearer to balance but does not reach it.

    Example:
        >>> class_balanced_weights(np.array([0, 0, 0, 1]), 2).round(3).tolist()
        [0.333, 0.333, 0.333, 1.0]
    """
    # Class -1, unknown, is the last row of this matrix: zeros.
    probabilities = np.nan_to_num(targets)
    if targets.ndim == 1:
        probabilities = np.eye(num_classes + 1, num_classes)[targets]
    counts = probabilities.sum(axis=0)
    weights = np.divide(1, counts, out=np.zeros(num_classes), where=counts > 0)
    return np.asarray(probabilities @ weights)


class LengthBucketSampler(Sampler[list[int]]):
    """Draw batches whose utterances have nearly the same length.

    Every utterance is in exactly one batch of an epoch, unless `weights` are given. The number
    of batches is the same in every epoch (Lightning counts them once) and on every rank: where it
    is not divisible, the largest batches are halved; only where every batch holds a single
    utterance, batches are repeated (and then counted once when scored).

    `lengths` are in seconds or any other unit of cost; `budget` is the maximum padded length of a
    batch in that unit (its longest utterance times their number), and an utterance longer than this
    is a batch of its own. Without `shuffle` the batches are the same in every epoch, longest first.
    `weights` are the relative sampling weights of the utterances: an epoch draws as many as there
    are, with replacement. None draws each once.

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
        weights: np.ndarray | None = None,
    ) -> None:
        self.weights = None if weights is None else weights / weights.sum()
        self.lengths = np.asarray(lengths, dtype=np.float64)
        self.budget, self.max_utterances = budget, max_utterances
        self.shuffle, self.seed, self.epoch = shuffle, seed, 0
        self.num_first_epoch: int | None = None
        # In training an utterance costs as much as the longest of its bucket, so that the batches
        # of an epoch are as many whatever the order within the buckets.
        self.buckets = np.ceil(np.log(np.maximum(self.lengths, 1e-3)) / np.log(BUCKET_WIDTH))
        self.costs = BUCKET_WIDTH**self.buckets if shuffle else self.lengths
        self.sampler = self  # Lightning calls `batch_sampler.sampler.set_epoch` before each epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._num_batches(_world()[1]) // _world()[1]

    def __iter__(self) -> Iterator[list[int]]:
        rank, num_ranks = _world()
        yield from self.batches_for_epoch()[rank::num_ranks]

    def batches_for_epoch(self) -> list[list[int]]:
        """Return the batches of this epoch for all ranks together, in order."""
        generator = np.random.default_rng((self.seed, self.epoch))
        batches = self._pack(self._order(generator))
        if self.shuffle:
            batches = [batches[position] for position in generator.permutation(len(batches))]
        # Draws with replacement may need more batches than the first epoch: the rest is dropped.
        return _pad_or_trim(batches, self._num_batches(_world()[1]))

    def _num_batches(self, num_ranks: int) -> int:
        """Return the number of batches of the first epoch over all ranks, made divisible."""
        if self.num_first_epoch is None:
            generator = np.random.default_rng((self.seed, 0))
            self.num_first_epoch = len(self._pack(self._order(generator)))
        return -(-self.num_first_epoch // num_ranks) * num_ranks

    def _order(self, generator: np.random.Generator) -> np.ndarray:
        """Sort by length, longest first; when shuffling only by bucket, at random within."""
        if not self.shuffle:
            return np.argsort(-self.lengths, kind="stable")
        num = len(self.lengths)
        start = generator.permutation(num)
        if self.weights is not None:
            start = generator.choice(num, size=num, p=self.weights)
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
    """Return rank and number of ranks; read late, as the loaders exist before the processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _pad_or_trim(batches: list[list[int]], num_batches: int) -> list[list[int]]:
    """Drop the last batches or halve the largest until their number fits."""
    batches = batches[:num_batches]
    while len(batches) < num_batches:
        largest = max(range(len(batches)), key=lambda position: len(batches[position]))
        batch = batches[largest]
        if len(batch) == 1:
            batches.append(batch)
            continue
        batches[largest : largest + 1] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
    return batches
