"""Batches: every utterance once, within the budget, equal in number on every rank."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.data import batches
from polymodal.data.batches import LengthBucketSampler

LENGTHS = st.lists(st.floats(0.1, 30), min_size=1, max_size=60)


@given(LENGTHS, st.booleans(), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_each_utterance_stands_in_one_batch_within_the_budget(lengths, shuffle, epoch):
    sampler = LengthBucketSampler(lengths, budget=40, max_utterances=8, shuffle=shuffle)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert sorted(index for batch in drawn for index in batch) == list(range(len(lengths)))
    for batch in drawn:
        assert len(batch) <= 8
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 40 + 1e-6
    assert len(sampler) == len(drawn)


@pytest.mark.parametrize("num_ranks", [2, 3, 4])
@given(lengths=LENGTHS, shuffle=st.booleans())
@settings(max_examples=30, deadline=None)
def test_ranks_get_as_many_batches_and_share_the_work(num_ranks, lengths, shuffle):
    sampler = LengthBucketSampler(lengths, budget=40, max_utterances=8, shuffle=shuffle)
    drawn = []
    for rank in range(num_ranks):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batches, "_world", lambda rank=rank: (rank, num_ranks))
            drawn.append(list(sampler))
            assert len(sampler) == len(drawn[-1])
    assert len({len(one) for one in drawn}) == 1
    seen = [index for one in drawn for batch in one for index in batch]
    assert set(seen) == set(range(len(lengths)))
    singles = all(len(batch) == 1 for one in drawn for batch in one)
    assert len(seen) == len(lengths) or (singles and len(seen) < len(lengths) + num_ranks)


def test_epochs_differ_and_repeat():
    lengths = np.random.default_rng(0).uniform(1, 9, 50).tolist()

    def epoch(number, seed=0):
        sampler = LengthBucketSampler(lengths, budget=30, max_utterances=8, shuffle=True, seed=seed)
        sampler.set_epoch(number)
        return list(sampler)

    assert epoch(0) != epoch(1)
    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(1, seed=1)


def test_buckets_leave_little_padding():
    lengths = np.random.default_rng(0).lognormal(np.log(3), 0.5, 2000)
    sampler = LengthBucketSampler(lengths.tolist(), budget=120, max_utterances=64, shuffle=True)
    padded = sum(lengths[batch].max() * len(batch) for batch in sampler)
    assert 1 - lengths.sum() / padded < 0.07
