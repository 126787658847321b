"""Votes that are fitted on validation rows: what they trust, and that test rows have no say."""

import numpy as np
import pytest

from polymodal.contracts.predictions import PredictionTable, concatenate
from polymodal.errors import PredictionError
from polymodal.voting.fitted import calibrated_vote, greedy_vote, weighted_vote
from polymodal.voting.soft import soft_vote

CLASSES = ("anger", "joy", "sad")
VOTES = [weighted_vote, calibrated_vote, greedy_vote]
every_vote = pytest.mark.parametrize("vote", VOTES)


def member(seed, skill, *, part, num=300, scale=1.0, fold=0, labelled=True):
    """Logits that know the truth as far as `skill` says, the truth the same for every member."""
    truth = np.random.default_rng((99, fold, part == "val")).integers(3, size=num)
    noise = np.random.default_rng((seed, fold, part == "val")).normal(size=(num, 3))
    logits = scale * (skill * np.eye(3)[truth] + noise)
    return PredictionTable.from_logits(
        [f"{part}{fold}-{row:04d}" for row in range(num)],
        logits.astype(np.float32),
        truth if labelled else np.full(num, -1),
        CLASSES,
        split=part,
        fold=fold,
        run_id=f"run{seed}",
    )


def tables(part, *skills, **options):
    return [member(seed, skill, part=part, **options) for seed, skill in enumerate(skills)]


def accuracy(table):
    return float((table.logits().argmax(1) == table.targets()).mean())


def loss(table):
    chosen = table.probabilities()[np.arange(len(table)), table.targets()]
    return float(-np.log(chosen).mean())


@every_vote
def test_it_is_better_than_each_member_where_all_know_something(vote):
    test, val = tables("test", 1.5, 1.5, 1.5), tables("val", 1.5, 1.5, 1.5)
    voted = vote(test, val)
    assert accuracy(voted) > max(map(accuracy, test)) + 0.03
    assert loss(voted) < min(map(loss, test))


@every_vote
def test_a_member_at_chance_does_little_harm(vote):
    """A plain sum loses: the others shout louder than they know."""
    skills = (1.5, 0.0, 0.0)
    test, val = tables("test", *skills, scale=3.0), tables("val", *skills, scale=3.0)
    voted = vote(test, val)
    assert accuracy(voted) >= accuracy(test[0]) - 0.02
    assert accuracy(soft_vote(test, on="logits")) < accuracy(test[0]) - 0.05


def test_members_at_chance_are_named():
    said = []
    calibrated_vote(tables("test", 1.5, 0.0), tables("val", 1.5, 0.0), say=said.append)
    assert said == ["run1 is at chance on validation and has no vote"]


def test_weights_follow_what_members_know():
    said = []
    weighted_vote(tables("test", 2.5, 0.0), tables("val", 2.5, 0.0), say=said.append)
    assert said[0].startswith(("weights run0 0.9", "weights run0 1.0"))


def test_calibration_undoes_the_scale_of_a_member():
    plain = calibrated_vote(tables("test", 1.5, 1.5), tables("val", 1.5, 1.5))
    loud = [tables("test", 1.5, 1.5)[0], tables("test", 1.5, 1.5, scale=8.0)[1]]
    of_val = [tables("val", 1.5, 1.5)[0], tables("val", 1.5, 1.5, scale=8.0)[1]]
    voted = calibrated_vote(loud, of_val)
    np.testing.assert_allclose(voted.probabilities(), plain.probabilities(), atol=0.03)


@every_vote
def test_labels_of_the_rows_that_are_voted_on_have_no_say(vote):
    skills = (1.5, 0.5)
    plain = vote(tables("test", *skills), tables("val", *skills))
    blind = vote(tables("test", *skills, labelled=False), tables("val", *skills))
    np.testing.assert_array_equal(plain.logits(), blind.logits())


@every_vote
def test_each_fold_is_fitted_on_its_own_validation_rows(vote):
    """In fold 0 the first member knows, in fold 1 the second."""

    def part(name):
        first = [member(0, (2.0, 0.0)[fold], part=name, fold=fold) for fold in (0, 1)]
        second = [member(1, (0.0, 2.0)[fold], part=name, fold=fold) for fold in (0, 1)]
        return [concatenate(first), concatenate(second)]

    test, val, said = part("test"), part("val"), []
    voted = vote(test, val, say=said.append)
    if vote is weighted_vote:
        weights = [float(words.split()[4].rstrip(",")) for words in said]
        assert [words[:7] for words in said] == ["fold 0:", "fold 1:"]
        assert weights[0] > 0.9
        assert weights[1] < 0.1
    knowing = np.mean([accuracy(member(0, 2.0, part="test")), accuracy(test[1])])
    assert accuracy(voted) > max(map(accuracy, test)) + 0.1
    assert accuracy(voted) > knowing - 0.1


@every_vote
def test_the_order_of_rows_has_no_influence(vote):
    test, val = tables("test", 1.5, 0.7), tables("val", 1.5, 0.7)
    order = np.random.default_rng(0).permutation(300).tolist()
    turned = [one.with_frame(one.frame[order]) for one in test]
    of_val = [one.with_frame(one.frame[order]) for one in val]
    np.testing.assert_allclose(vote(turned, of_val).logits(), vote(test, val).logits(), atol=1e-5)


@every_vote
def test_without_labelled_validation_rows_it_is_refused(vote):
    with pytest.raises(PredictionError, match="no labelled validation row"):
        vote(tables("test", 1.0, 1.0), tables("val", 1.0, 1.0, labelled=False))


def test_values_cannot_be_fitted():
    zeros = np.zeros((2, 1), np.float32)
    table = PredictionTable.from_values("ab", zeros, zeros, ["v"], split="test")
    with pytest.raises(PredictionError, match="voting=soft"):
        weighted_vote([table, table], [table, table])
    with pytest.raises(PredictionError, match="num_rounds=0"):
        greedy_vote(tables("test", 1.0, 1.0), tables("val", 1.0, 1.0), num_rounds=0)
