"""Stacking: the regression against scikit-learn's, inner folds, and what few rows change."""

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from polymodal.ensemble.soft import soft_vote
from polymodal.ensemble.stacking import inner_folds, regression, stacked_vote
from polymodal.schemas.predictions import PredictionTable

CLASSES = ("anger", "joy", "sad", "fear")


def tables(split, num, *biased, speakers=0, seed=0):
    """Members that know the truth; a biased one takes each class for the next."""
    generator = np.random.default_rng((seed, split == "val"))
    truth = generator.integers(4, size=num)
    members = []
    for shift in biased:
        logits = 1.6 * np.eye(4)[(truth + shift) % 4] + generator.normal(size=(num, 4))
        ids = [f"{split}{row:04d}" for row in range(num)]
        member = PredictionTable.from_logits(
            ids, logits.astype(np.float32), truth, CLASSES, split=split, run_id=f"run{len(members)}"
        )
        if speakers:
            who = [f"s{row % speakers}" for row in range(num)]
            member = member.with_speakers(pl.DataFrame({"utterance_id": ids, "speaker": who}))
        members.append(member)
    return members


def accuracy(table):
    return float((table.logits().argmax(1) == table.targets()).mean())


@pytest.mark.parametrize("strength", [10.0, 0.1, 0.001])
@pytest.mark.parametrize("num", [12, 200])
def test_the_regression_finds_the_minimum_that_scikit_learn_finds(strength, num):
    generator = np.random.default_rng(num)
    features = generator.normal(size=(num, 9))
    targets = np.arange(num) % 4
    features[:, :4] += np.eye(4)[targets]
    weights = regression(features, targets, np.zeros((9, 4)), strength)
    peer = LogisticRegression(
        C=1 / (strength * num), fit_intercept=False, tol=1e-10, max_iter=10_000
    )
    expected = peer.fit(features, targets).coef_.T
    np.testing.assert_allclose(weights, expected, atol=1e-4)


def test_it_is_regularised_towards_the_centre():
    generator = np.random.default_rng(0)
    features, targets = generator.normal(size=(30, 3)), np.arange(30) % 2
    centre = generator.normal(size=(3, 2))
    far, near = (
        regression(features, targets, centre, strength) - centre for strength in (0.1, 1e6)
    )
    assert np.abs(far).max() > 0.1
    assert np.abs(near).max() < 1e-5


def test_many_rows_correct_a_member_that_takes_each_class_for_the_next():
    test, val = tables("test", 400, 0, 1), tables("val", 300, 0, 1)
    messages = []
    voted = stacked_vote(test, val, report=messages.append)
    assert messages[0].startswith("each member has weights for each class")
    assert accuracy(voted) > accuracy(test[0]) + 0.1
    assert accuracy(soft_vote(test, on="logits")) < accuracy(test[0])


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num", [5, 9])
def test_fewer_than_ten_rows_change_nothing_of_the_product(num, seed, shift):
    test, val = tables("test", 400, 0, shift, seed=seed), tables("val", num, 0, shift, seed=seed)
    voted, product = stacked_vote(test, val), soft_vote(test, on="logits")
    assert voted.frame["predicted"].to_list() == product.frame["predicted"].to_list()


def test_one_row_is_enough_to_survive():
    messages = []
    voted = stacked_vote(tables("test", 20, 0, 0), tables("val", 1, 0, 0), report=messages.append)
    assert voted.logits().argmax(1).tolist() == [
        *soft_vote(tables("test", 20, 0, 0), on="logits").logits().argmax(1)
    ]
    assert messages[0].startswith("no validation row of the classes")
    assert messages[1] == "nothing is significantly better than the product, which is taken"


def test_inner_folds_share_no_group_and_do_not_depend_on_the_order():
    groups = np.array([f"s{row % 12}" for row in range(60)])
    folds = inner_folds(groups)
    assert sorted({*folds.tolist()}) == [0, 1, 2, 3, 4]
    assert all(len({*folds[groups == group].tolist()}) == 1 for group in groups)
    np.testing.assert_array_equal(inner_folds(groups[::-1]), folds[::-1])


def test_speakers_are_the_groups_where_they_are_known(monkeypatch):
    grouped = []
    monkeypatch.setattr(
        "polymodal.ensemble.stacking.inner_folds",
        lambda groups: grouped.append({*groups}) or inner_folds(groups),
    )
    test = tables("test", 9, 0, 0)
    for speakers in (0, 3, 1):
        stacked_vote(test, tables("val", 30, 0, 0, speakers=speakers))
    ids = {f"val{row:04d}" for row in range(30)}
    assert grouped == [ids, {"s0", "s1", "s2"}, ids], "one speaker cannot be split"


def test_an_utterance_over_seeds_stays_together(monkeypatch):
    """Copies of a row in other folds would make the loosest regression look best."""
    val = [
        member.with_frame(
            pl.concat([member.frame.with_columns(seed=pl.lit(s, pl.Int64)) for s in (0, 1)])
        )
        for member in tables("val", 20, 0, 0)
    ]
    seen = []
    monkeypatch.setattr(
        "polymodal.ensemble.stacking.inner_folds",
        lambda groups: seen.append((groups, inner_folds(groups))) or seen[0][1],
    )
    stacked_vote(tables("test", 9, 0, 0), val)
    ((groups, folds),) = seen
    assert len(groups) == 40
    assert len({*zip(groups.tolist(), folds.tolist(), strict=True)}) == 20
