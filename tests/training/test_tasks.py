"""Tasks: targets from a manifest, unknown where unknown, and tables that say it all back."""

import numpy as np
import polars as pl
import pytest

from polymodal.errors import ConfigError, ManifestError
from polymodal.training.tasks import Classification, Joint, MultiLabel, Regression, SoftLabels

CLASSES = ["anger", "joy", "sad"]
WHERE = {"split": "test", "fold": 1, "seed": 2, "run_id": "r"}


def votes(**counts):
    return [{"label": label, "count": count} for label, count in counts.items()] or None


@pytest.fixture
def frame():
    """A clear case, a tie, a label alone, nothing at all, and votes for no declared class."""
    ballots = [
        votes(anger=7, joy=3),
        votes(joy=5, anger=5),
        None,
        None,
        votes(fear=10),
    ]
    return pl.DataFrame(
        {
            "label": ["anger", None, "sad", None, None],
            "votes": pl.Series(ballots),
            "valence": [1.0, 2.0, None, 4.0, 5.0],
            "arousal": [3.0, None, None, 3.0, 3.0],
            "place": ["here"] * 5,
        }
    )


def test_a_tie_is_dropped_or_counts_as_the_first_of_the_most(frame):
    assert Classification(CLASSES).targets(frame).tolist() == [0, -1, 2, -1, -1]
    first = Classification(CLASSES, ties="first")
    assert first.targets(frame).tolist() == [0, 1, 2, -1, -1]
    assert first.has_target(first.targets(frame)).tolist() == [True, True, True, False, False]
    assert first.class_counts(first.targets(frame)) == [1, 1, 1]


def test_votes_become_shares_and_ties_are_learnt_from(frame):
    task = SoftLabels(CLASSES)
    targets = task.targets(frame)
    np.testing.assert_allclose(targets[:3], [[0.7, 0.3, 0], [0.5, 0.5, 0], [0, 0, 1]], atol=1e-6)
    assert task.has_target(targets).tolist() == [True, True, True, False, False]
    np.testing.assert_allclose(task.class_counts(targets), [1.2, 0.8, 1.0], rtol=1e-6)
    table = task.table(list("abcde"), np.eye(5, 3, dtype=np.float32), targets, **WHERE)
    assert table.frame["label"].to_list() == ["anger", None, "sad", None, None]
    assert table.task == "soft_labels"


def test_several_labels_by_the_number_of_their_votes(frame):
    single, half = MultiLabel(CLASSES), MultiLabel(CLASSES, min_votes=5)
    np.testing.assert_equal(
        single.targets(frame), [[1, 1, 0], [1, 1, 0], [0, 0, 1], [np.nan] * 3, [0, 0, 0]]
    )
    np.testing.assert_equal(half.targets(frame)[:2], [[1, 0, 0], [1, 1, 0]])
    assert single.has_target(single.targets(frame)).tolist() == [True, True, True, False, True]
    assert single.kinds == {"labels": 3}
    table = single.table(
        list("abcde"), np.zeros((5, 3), np.float32), single.targets(frame), **WHERE
    )
    assert table.frame["target_joy"].to_list() == [1, 1, 0, None, 0]


def test_values_are_told_on_the_scale_of_the_corpus(frame):
    task = Regression(["valence", "arousal"], centre=3, spread=2)
    targets = task.targets(frame)
    np.testing.assert_equal(targets[:2], np.array([[-1, 0], [-0.5, np.nan]], np.float32))
    assert task.has_target(targets).tolist() == [True, True, False, True, True]
    table = task.table(list("abcde"), np.zeros((5, 2), np.float32), targets, **WHERE)
    assert table.frame["value_valence"].to_list() == [3.0] * 5
    assert table.frame["target_valence"].to_list() == [1.0, 2.0, None, 4.0, 5.0]
    assert (table.frame["fold"][0], table.frame["seed"][0], table.run_id) == (1, 2, "r")


@pytest.mark.parametrize(
    ("name", "message"), [("valance", "did you mean 'valence'"), ("place", "holds text")]
)
def test_a_column_that_is_no_value_is_named(frame, name, message):
    with pytest.raises(ManifestError, match=message):
        Regression([name]).targets(frame)


def test_class_and_values_together(frame):
    task = Joint(CLASSES, ["valence"], centre=3)
    targets = task.targets(frame)
    np.testing.assert_equal(targets[:, 0], [0, np.nan, 2, np.nan, np.nan])
    assert task.has_target(targets).tolist() == [True] * 5
    assert task.num_outputs == 4
    assert task.kinds == {"classes": 3, "values": 1}
    assert task.class_counts(targets) == [1, 0, 1]
    outputs = np.arange(20, dtype=np.float32).reshape(5, 4)
    table = task.table(list("abcde"), outputs, targets, **WHERE)
    assert table.logits()[0].tolist() == [0, 1, 2]
    assert table.predicted_values()[:, 0].tolist() == [6, 10, 14, 18, 22]
    assert table.frame["label"].to_list() == ["anger", None, "sad", None, None]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Classification(["anger"]),
        lambda: SoftLabels(["anger", "anger"]),
        lambda: MultiLabel([]),
        lambda: Regression([]),
        lambda: Joint(CLASSES, []),
    ],
)
def test_too_little_to_predict_is_refused(make):
    with pytest.raises(ConfigError, match="the task declares"):
        make()
