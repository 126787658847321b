"""Batches: every utterance once, within the budget, equal in number on every rank."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.data import samplers
from polymodal.data.samplers import LengthBucketSampler, class_balanced_weights

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
            patch.setattr(samplers, "_world", lambda rank=rank: (rank, num_ranks))
            drawn.append(list(sampler))
            assert len(sampler) == len(drawn[-1])
    assert len({len(batches) for batches in drawn}) == 1
    seen = [index for batches in drawn for batch in batches for index in batch]
    assert set(seen) == set(range(len(lengths)))
    singles = all(len(batch) == 1 for batches in drawn for batch in batches)
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


def drawn_classes(targets, num_classes, epochs=40, ranks=1):
    sampler = LengthBucketSampler(
        [1.0] * len(targets),
        budget=16,
        max_utterances=8,
        shuffle=True,
        weights=class_balanced_weights(targets, num_classes),
    )
    drawn = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for rank in range(ranks):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(samplers, "_world", lambda rank=rank: (rank, ranks))
                drawn += [index for batch in sampler for index in batch]
    return np.array(drawn)


@pytest.mark.parametrize("ranks", [1, 2])
def test_balanced_sampling_draws_every_class_alike_on_any_number_of_ranks(ranks):
    targets = np.array([0] * 80 + [1] * 15 + [2] * 5 + [-1] * 10)
    drawn = drawn_classes(targets, 3, ranks=ranks)
    assert (drawn < 100).all()  # what has no class is never drawn
    fractions = np.bincount(targets[drawn]) / len(drawn)
    np.testing.assert_allclose(fractions, 1 / 3, atol=0.03)
    assert abs(len(drawn) / 40 - 110) <= 1


def test_ranks_together_draw_what_one_rank_draws():
    targets = np.array([0] * 40 + [1] * 8)
    alone, together = (np.sort(drawn_classes(targets, 2, epochs=3, ranks=r)) for r in (1, 2))
    assert alone.tolist() == together.tolist()


def test_shares_come_nearer_to_balance():
    probabilities = np.array([[1, 0], [1, 0], [1, 0], [0.5, 0.5], [np.nan, np.nan]])
    weights = class_balanced_weights(probabilities, 2)
    often, seldom = (weights[:, None] * np.nan_to_num(probabilities)).sum(axis=0)
    assert 1 <= often / seldom < 3.5 / 0.5
    assert weights[4] == 0


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("num_ranks", [1, 2, 3])
@given(lengths=LENGTHS)
@settings(max_examples=20, deadline=None)
def test_every_epoch_has_as_many_batches_as_the_first(num_ranks, balanced, lengths):
    """Lightning counts them once: fewer would skip validation, more would be cut off."""
    weights = np.linspace(0.1, 1, len(lengths)) if balanced else None
    sampler = LengthBucketSampler(
        lengths, budget=40, max_utterances=8, shuffle=True, weights=weights
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samplers, "_world", lambda: (0, num_ranks))
        counts = []
        for epoch in range(6):
            sampler.set_epoch(epoch)
            counts.append((len(sampler), len(list(sampler))))
    assert len(set(counts)) == 1
    assert counts[0][0] == counts[0][1]
