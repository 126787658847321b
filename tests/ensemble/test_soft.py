import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.ensemble.soft import soft_vote
from polymodal.errors import ConfigError, PredictionError
from polymodal.schemas.predictions import PredictionTable, concatenate

CLASSES = ("anger", "joy", "fear")
TARGETS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def table(seed, *, run_id="", fold=0, classes=CLASSES, scale=1.0, prefix="u"):
    generator = np.random.default_rng(seed)
    logits = scale * generator.normal(size=(8, 3)).astype(np.float32)
    logits = logits[:, [CLASSES.index(name) for name in classes]]
    targets = np.array([classes.index(CLASSES[target]) for target in TARGETS])
    return PredictionTable.from_logits(
        [f"{prefix}{row}" for row in range(8)],
        logits,
        targets,
        classes,
        split="test",
        fold=fold,
        seed=seed,
        run_id=run_id or f"run{seed}",
    )


def reordered(table, rows):
    return PredictionTable(table.frame[list(rows)], table.classes, run_id=table.run_id)


def renamed(table, old, new):
    classes = tuple(new if name == old else name for name in table.classes)
    return PredictionTable(table.frame.rename({f"logit_{old}": f"logit_{new}"}), classes)


def test_probabilities_are_averaged():
    tables = [table(0), table(1, scale=20), table(2)]
    voted = soft_vote(tables, run_id="vote")
    expected = np.mean([member.probabilities() for member in tables], axis=0)
    np.testing.assert_allclose(voted.probabilities(), expected, atol=1e-6)
    predicted = [CLASSES[index] for index in expected.argmax(axis=1)]
    assert voted.frame["predicted"].to_list() == predicted
    assert (voted.targets().tolist(), voted.run_id) == (TARGETS.tolist(), "vote")


def test_logits_are_averaged_with_weights():
    voted = soft_vote([table(0), table(1)], on="logits", weights=[3.0, 1.0])
    expected = 0.75 * table(0).logits() + 0.25 * table(1).logits()
    np.testing.assert_allclose(voted.logits(), expected, atol=1e-6)


def test_a_weight_of_zero_silences_a_table_and_scale_does_not_matter():
    alone = soft_vote([table(0), table(1)], weights=[2.0, 0.0])
    np.testing.assert_allclose(alone.probabilities(), table(0).probabilities(), atol=1e-6)
    small, large = ([0.1, 0.3], [1.0, 3.0])
    first, second = (soft_vote([table(0), table(1)], weights=w) for w in (small, large))
    np.testing.assert_allclose(first.logits(), second.logits(), atol=1e-6)


def test_vanished_probabilities_stay_finite_for_a_vote_of_votes():
    voted = soft_vote([table(0, scale=1e5), table(0, scale=1e5)])
    assert np.isfinite(voted.logits()).all()
    assert len(soft_vote([voted, table(1)])) == 8


@settings(deadline=None)
@given(first=st.permutations(range(8)), second=st.permutations(range(8)))
def test_the_order_of_rows_has_no_influence(first, second):
    expected = soft_vote([table(0), table(1)])
    voted = soft_vote([reordered(table(0), first), reordered(table(1), second)])
    assert voted.frame.equals(expected.frame)


def test_classes_in_another_order_are_matched_by_name():
    turned = table(1, classes=("fear", "anger", "joy"))
    voted = soft_vote([table(0), turned])
    assert voted.classes == CLASSES
    assert voted.frame.equals(soft_vote([table(0), table(1)]).frame)


def test_the_same_ids_in_several_folds_are_kept_apart():
    members = [concatenate([table(seed, fold=fold) for fold in (0, 1)]) for seed in (0, 1)]
    voted = soft_vote(members)
    assert voted.frame.select("utterance_id", "fold").n_unique() == 16
    shifted = concatenate([table(1, fold=fold) for fold in (0, 2)])
    with pytest.raises(PredictionError, match="joined by utterance_id, split, fold"):
        soft_vote([members[0], shifted])


def test_a_label_that_is_missing_in_one_table_is_taken_from_the_other():
    bare = table(1)
    frame = bare.frame.with_columns(pl.lit(None, dtype=pl.String).alias("label"))
    voted = soft_vote([PredictionTable(frame, CLASSES), table(0)])
    assert voted.targets().tolist() == TARGETS.tolist()


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([], "over 0 prediction"),
        ([table(0)], "over 1 prediction"),
        ([table(0), reordered(table(1), range(5))], r"run1 lacks 3 rows of run0: 'u5', 'u6', 'u7'"),
        ([reordered(table(0), range(7)), table(1)], r"run0 lacks 1 rows of run1: 'u7'"),
        ([table(0), table(1, prefix="v")], r"run1 lacks 8 .*'u0'.* run0 lacks 8 .*'v0'.* 3 more"),
        ([table(0), reordered(table(1), [*range(8), 2])], "run1 has duplicate ids: 'u2'"),
        ([table(0), renamed(table(1), "joy", "calm")], r"\['calm', 'joy'\]"),
        (
            [table(0), PredictionTable(table(1).frame.with_columns(label=pl.lit("joy")), CLASSES)],
            "other labels .*'u0', 'u2'",
        ),
        (
            [table(0), PredictionTable(table(1).frame.with_columns(logit_joy=np.nan), CLASSES)],
            "table 2 has logits that are not finite",
        ),
    ],
)
def test_tables_that_do_not_fit_are_rejected_by_name(tables, message):
    with pytest.raises(PredictionError, match=message):
        soft_vote(tables)


@pytest.mark.parametrize(
    "weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], [1.0] * 3]
)
def test_weights_that_do_not_fit_are_rejected(weights):
    with pytest.raises(PredictionError, match="for 2 tables"):
        soft_vote([table(0), table(1)], weights=weights)


def test_an_unknown_scale_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'logits'"):
        soft_vote([table(0), table(1)], on="logit")


def test_classes_and_values_of_a_joint_task_are_both_voted_on():
    def joint(seed):
        values = np.full((8, 1), seed, np.float32)
        ids = [f"u{row}" for row in range(8)]
        more = PredictionTable.from_values(ids, values, values * 0, ["valence"], split="test")
        return PredictionTable(table(seed).frame, CLASSES, "joint").beside(more)

    voted = soft_vote([joint(1), joint(4)])
    assert voted.frame["value_valence"].to_list() == [2.5] * 8
    assert voted.frame.drop("target_valence", "value_valence").equals(
        soft_vote([table(1), table(4)]).frame
    )
    assert (voted.task, voted.kinds) == ("joint", {"classes": 3, "values": 1})


def test_distributions_of_soft_labels_are_averaged():
    tables = [PredictionTable(table(seed).frame, CLASSES, "soft_labels") for seed in (0, 1)]
    voted = soft_vote(tables)
    assert voted.task == "soft_labels"
    np.testing.assert_allclose(voted.probabilities().sum(axis=1), 1, atol=1e-6)


def test_labels_of_which_several_hold_are_averaged_as_probabilities():
    ids, logits = ["a"], np.log(np.array([[[0.2 / 0.8]], [[0.6 / 0.4]]], np.float32))
    tables = [
        PredictionTable.from_values(
            ids, member, np.ones((1, 1), np.float32), ["joy"], split="test", task="multilabel"
        )
        for member in logits
    ]
    voted = soft_vote(tables).predicted_values()
    assert 1 / (1 + np.exp(-voted)) == pytest.approx(0.4, abs=1e-6)
