"""Votes that are fitted on validation rows: what they trust, and that test rows have no say."""

import numpy as np
import polars as pl
import pytest
from benchmarks.votes import USEFUL, USELESS, accuracies

from polymodal.ensemble.soft import soft_vote
from polymodal.ensemble.stacking import stacked_vote
from polymodal.ensemble.weighted import calibrated_vote, greedy_vote, weighted_vote
from polymodal.errors import PredictionError
from polymodal.schemas.predictions import PredictionTable, concatenate

CLASSES = ("anger", "joy", "sad")
VOTES = [weighted_vote, calibrated_vote, greedy_vote, stacked_vote]
every_vote = pytest.mark.parametrize("vote", VOTES)


def member(seed, skill, *, split, num=300, scale=1.0, fold=0, labelled=True):
    """Logits that know the truth as far as `skill` says, the truth the same for every member."""
    truth = np.random.default_rng((99, fold, split == "val")).integers(3, size=num)
    noise = np.random.default_rng((seed, fold, split == "val")).normal(size=(num, 3))
    logits = scale * (skill * np.eye(3)[truth] + noise)
    return PredictionTable.from_logits(
        [f"{split}{fold}-{row:04d}" for row in range(num)],
        logits.astype(np.float32),
        truth if labelled else np.full(num, -1),
        CLASSES,
        split=split,
        fold=fold,
        run_id=f"run{seed}",
    )


def tables(split, *skills, **options):
    return [member(seed, skill, split=split, **options) for seed, skill in enumerate(skills)]


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
    messages = []
    calibrated_vote(tables("test", 1.5, 0.0), tables("val", 1.5, 0.0), report=messages.append)
    assert messages == ["run1 is at chance on validation and has no vote"]


def test_a_member_that_is_worse_than_guessing_has_no_vote_even_where_rows_are_few():
    test, val, messages = tables("test", 1.5, -1.5), tables("val", 1.5, -1.5, num=12), []
    voted = calibrated_vote(test, val, report=messages.append)
    assert messages == ["run1 is at chance on validation and has no vote"]
    assert voted.frame["predicted"].to_list() == test[0].frame["predicted"].to_list()


def test_a_member_that_says_what_another_says_is_not_counted_twice():
    test, val = tables("test", 1.5)[0], tables("val", 1.5)[0]
    messages = []
    voted = calibrated_vote([test, test], [val, val], report=messages.append)
    assert messages == ["run0 helps with a probability of 0.5"] * 2
    assert loss(voted) == pytest.approx(loss(test), abs=0.05)


def test_weights_follow_what_members_know():
    messages = []
    weighted_vote(tables("test", 2.5, 0.0), tables("val", 2.5, 0.0), report=messages.append)
    assert messages[0].startswith(("weights run0 0.9", "weights run0 1.0"))


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

    def of_split(name):
        first = [member(0, (2.0, 0.0)[fold], split=name, fold=fold) for fold in (0, 1)]
        second = [member(1, (0.0, 2.0)[fold], split=name, fold=fold) for fold in (0, 1)]
        return [concatenate(first), concatenate(second)]

    test, val, messages = of_split("test"), of_split("val"), []
    voted = vote(test, val, report=messages.append)
    if vote is weighted_vote:
        weights = [float(message.split()[4].rstrip(",")) for message in messages]
        assert [message[:7] for message in messages] == ["fold 0:", "fold 1:"]
        assert weights[0] > 0.9
        assert weights[1] < 0.1
    knowing = np.mean([accuracy(member(0, 2.0, split="test")), accuracy(test[1])])
    assert accuracy(voted) > max(map(accuracy, test)) + 0.1
    assert accuracy(voted) > knowing - 0.1


@every_vote
def test_the_order_of_rows_has_no_influence(vote):
    test, val = tables("test", 1.5, 0.7), tables("val", 1.5, 0.7)
    order = np.random.default_rng(0).permutation(300).tolist()
    turned = [table.with_frame(table.frame[order]) for table in test]
    of_val = [table.with_frame(table.frame[order]) for table in val]
    np.testing.assert_allclose(vote(turned, of_val).logits(), vote(test, val).logits(), atol=1e-5)


@every_vote
def test_without_labelled_validation_rows_it_is_rejected(vote):
    with pytest.raises(PredictionError, match="no labelled validation row"):
        vote(tables("test", 1.0, 1.0), tables("val", 1.0, 1.0, labelled=False))


@pytest.mark.parametrize("task", ["soft_labels", "multilabel", "regression", "joint"])
@every_vote
def test_other_tasks_cannot_be_fitted(vote, task):
    zeros = np.zeros((300, 1), np.float32)
    ids = [f"test0-{row:04d}" for row in range(300)]
    values = PredictionTable.from_values(ids, zeros, zeros, ["v"], split="test", task=task)
    classes = PredictionTable(member(0, 1.0, split="test").frame, CLASSES, task)
    table = {"soft_labels": classes, "joint": classes.beside(values)}.get(task, values)
    with pytest.raises(PredictionError, match=rf"(?s)over the task '{task}'.*ensemble=soft"):
        vote([table, table], [table, table])


def test_there_is_a_round():
    with pytest.raises(PredictionError, match="num_rounds=0"):
        greedy_vote(tables("test", 1.0, 1.0), tables("val", 1.0, 1.0), num_rounds=0)


@every_vote
def test_members_with_other_class_orders_are_matched_by_name(vote):
    def turned(table):
        order = ("sad", "anger", "joy")
        return PredictionTable(table.frame, order, table.task, table.run_id)

    test, val = tables("test", 1.5, 1.0), tables("val", 1.5, 1.0)
    voted = vote([test[0], turned(test[1])], [val[0], turned(val[1])])
    assert voted.frame.equals(vote(test, val).frame)


@every_vote
def test_a_class_without_a_validation_row_is_survived_and_named(vote):
    test, val, messages = tables("test", 1.5, 1.5), tables("val", 1.5, 1.5, num=60), []
    val = [table.with_frame(table.frame.filter(pl.col("label") != "joy")) for table in val]
    voted = vote(test, val, report=messages.append)
    assert messages[0] == "no validation row of the classes joy"
    assert accuracy(voted) > 0.5
    assert np.isfinite(voted.logits()).all()


@every_vote
def test_rows_without_a_label_have_no_say(vote):
    test, val = tables("test", 1.5, 0.7), tables("val", 1.5, 0.7)
    blank = pl.when(pl.int_range(pl.len()) < 150).then("label").alias("label")
    unlabelled = [table.with_frame(table.frame.with_columns(blank)) for table in val]
    half = [table.with_frame(table.frame.head(150)) for table in val]
    np.testing.assert_array_equal(vote(test, unlabelled).logits(), vote(test, half).logits())


@every_vote
def test_logits_that_are_not_finite_are_rejected(vote):
    test, val = tables("test", 1.5, 0.7), tables("val", 1.5, 0.7)
    broken = val[1].with_frame(val[1].frame.with_columns(logit_joy=float("nan")))
    with pytest.raises(PredictionError, match="run1 has logits that are not finite: 'val0-0000'"):
        vote(test, [val[0], broken])


def test_rows_of_another_fold_have_no_say_even_where_one_fold_is_voted_on():
    """In fold 0 the first member knows, in fold 1, which is voted on, the second."""
    val = [
        concatenate([member(seed, 2.0 * (seed == fold), split="val", fold=fold) for fold in (0, 1)])
        for seed in (0, 1)
    ]
    test = [member(seed, 2.0 * seed, split="test", fold=1) for seed in (0, 1)]
    messages = []
    calibrated_vote(test, val, report=messages.append)
    assert messages == ["fold 1: run0 is at chance on validation and has no vote"]


def test_rows_that_were_fitted_on_are_counted_where_they_are_voted_on():
    val, messages = tables("val", 1.5, 1.5), []
    seen = [table.with_frame(table.frame.head(40)) for table in val]
    weighted_vote(seen, val, report=messages.append)
    assert messages[0] == "40 of 40 rows voted on are among those it was fitted on"


def test_a_vote_keeps_who_spoke():
    test, val = tables("test", 1.5, 1.5), tables("val", 1.5, 1.5)
    who = test[0].frame.select("utterance_id", speaker=pl.lit("s") + pl.col("utterance_id"))
    members = [test[0], test[1].with_speakers(who)]
    for voted in (soft_vote(members), calibrated_vote(members, val)):
        assert voted.speakers().tolist() == [f"s{name}" for name in voted.frame["utterance_id"]]


# What a vote may lose against its best member, whose accuracy is about .49, in simulations that
# lose about half as much over 200 of them (`python -m benchmarks votes`).
@pytest.mark.parametrize(("num_validated", "lost"), [(8, 0.06), (20, 0.025), (60, 0.01)])
@pytest.mark.parametrize("what", USELESS)
def test_a_useless_member_does_not_pull_the_vote_below_the_best(what, num_validated, lost):
    chosen = {
        "calibrated": calibrated_vote,
        "product": lambda members, _: soft_vote(members, on="logits"),
    }
    scores = accuracies(USELESS[what], num_validated, 12, chosen)
    assert scores["calibrated"] > scores["best member"] - lost
    assert scores["product"] < scores["best member"] - 0.1


@pytest.mark.parametrize(("num_validated", "fraction"), [(8, 0.35), (20, 0.6), (60, 0.85)])
def test_the_gain_of_useful_members_is_kept(num_validated, fraction):
    chosen = {
        "calibrated": calibrated_vote,
        "product": lambda members, _: soft_vote(members, on="logits"),
    }
    for what in ("an equal one", "halves"):
        scores = accuracies(USEFUL[what], num_validated, 12, chosen)
        gain = scores["product"] - scores["best member"]
        assert gain > 0.05
        assert scores["calibrated"] - scores["best member"] > fraction * gain, what
