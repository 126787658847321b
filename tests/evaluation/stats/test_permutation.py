import itertools
import math

import numpy as np
import polars as pl
import pytest
from benchmarks.verdict import Design, simulated

from polymodal.errors import PredictionError
from polymodal.evaluation.classification import Accuracy, CrossEntropy, UnweightedAverageRecall
from polymodal.evaluation.regression import RootMeanSquaredError
from polymodal.evaluation.score import score_table
from polymodal.evaluation.stats.permutation import (
    paired,
    paired_interval,
    paired_test,
    permutation_unit,
)
from polymodal.schemas.predictions import PredictionTable, concatenate

UAR = UnweightedAverageRecall()


def members(design=None, accuracies=(0.6, 0.8), seed=0):
    return simulated(accuracies, design or Design(), np.random.default_rng(seed))


def table(right, seed=0, **columns):
    """A table of two classes in which an utterance is recognised or not."""
    logits = np.eye(2, dtype=np.float32)[[0 if hit else 1 for hit in right]]
    ids = [f"u{row:02d}" for row in range(len(right))]
    targets = np.zeros(len(right), dtype=np.int64)
    predictions = PredictionTable.from_logits(ids, logits, targets, "xy", split="test", seed=seed)
    return (
        predictions.with_frame(predictions.frame.with_columns(**columns))
        if columns
        else predictions
    )


@pytest.mark.parametrize("score", [UAR, CrossEntropy()])
def test_p_of_three_speakers_is_what_swapping_their_rows_by_hand_gives(score):
    first, second = members(Design(speakers=3, each=8))
    frames = [predictions.frame.sort("utterance_id") for predictions in (first, second)]
    columns = [name for name in first.frame.columns if name.startswith(("logit_", "predicted"))]
    differences = []
    for swaps in itertools.product([False, True], repeat=3):
        swapped = pl.Series(np.repeat(swaps, 8))
        mixed = [
            frames[at].with_columns(
                frames[1 - at][name].zip_with(swapped, frames[at][name]) for name in columns
            )
            for at in (0, 1)
        ]
        scored = [score_table(first.with_frame(item), {"x": score})["test/x"] for item in mixed]
        differences.append(scored[0] - scored[1])
    test = paired_test(paired(first, second), score, "speaker")
    assert test.difference == pytest.approx(differences[0])
    extreme = [abs(item) >= abs(differences[0]) - 1e-9 for item in differences]
    assert test.p == sum(extreme) / 8
    assert (test.unit, test.num_units, test.exact) == ("speaker", 3, True)


def test_random_swaps_come_near_all_of_them_and_never_to_zero(monkeypatch):
    pair = paired(*members(Design(each=30), (0.7, 0.76)))
    exact = paired_test(pair, Accuracy(), "speaker")
    monkeypatch.setattr("polymodal.evaluation.stats.permutation.MAX_ENUMERATED", 0)
    drawn = paired_test(pair, Accuracy(), "speaker", num_swaps=20_000)
    assert exact.exact
    assert not drawn.exact
    assert drawn.p == pytest.approx(exact.p, abs=0.01)
    far = paired(*members(accuracies=(0.2, 0.95)))
    assert paired_test(far, UAR, "utterance", num_swaps=99).p == 1 / 100


def test_random_swaps_go_by_the_seed():
    pair = paired(*members(accuracies=(0.7, 0.72)))
    p = [paired_test(pair, UAR, "utterance", num_swaps=500, seed=seed).p for seed in (1, 1, 2)]
    assert p[0] == p[1] != p[2]


def test_the_seeds_of_an_utterance_are_swapped_together():
    right = [[True] * 6, [False] * 6]
    seeds = [concatenate([table(of_member, seed=seed) for seed in range(3)]) for of_member in right]
    test = paired_test(paired(*seeds), Accuracy(), "utterance")
    assert test.num_units == 6
    assert test.p == 2 / 2**6


@pytest.mark.parametrize("seed", range(4))
def test_swaps_that_change_nothing_but_the_last_digit_count_as_extreme(seed):
    logits = np.random.default_rng(seed).normal(size=(2, 6, 2)).astype(np.float32)
    logits[:, 5] = logits[::-1, 0]  # to swap the first and last utterance is to swap neither
    first, second = (
        PredictionTable.from_logits(
            list("abcdef"), item, np.zeros(6, dtype=np.int64), "xy", split="test"
        )
        for item in logits
    )
    losses = np.log1p(np.exp(logits[:, :, 1] - logits[:, :, 0].astype(float)))
    gaps = losses[0] - losses[1]
    differences = [abs(math.fsum(gaps * signs)) for signs in itertools.product((1, -1), repeat=6)]
    p = np.mean([item >= differences[0] - 1e-9 for item in differences])
    assert paired_test(paired(first, second), CrossEntropy(), "utterance").p == p


def test_identical_members_do_not_differ():
    first = members()[0]
    pair = paired(first, first)
    for unit in ("speaker", "utterance"):
        assert paired_test(pair, UAR, unit, num_swaps=200).p == 1
    assert paired_interval(pair, CrossEntropy(), num_resamples=50) == (0, 0)


def test_rows_are_joined_by_id_and_classes_by_name():
    first, second = members()
    shuffled = second.with_frame(second.frame.sample(fraction=1, shuffle=True, seed=3))
    turned = PredictionTable(shuffled.frame, second.classes[::-1])
    straight = paired_test(paired(first, second), CrossEntropy(), "speaker")
    assert paired_test(paired(first, turned), CrossEntropy(), "speaker") == straight
    assert straight.difference != 0


def test_a_seed_that_only_names_the_run_does_not_part_the_rows():
    pair = paired(table([True, False], seed=0), table([False, False], seed=7))
    assert paired_test(pair, Accuracy(), "utterance").difference == 0.5


def test_speakers_that_one_table_knows_count_for_both():
    first, second = members()
    bare = second.with_frame(second.frame.drop("speaker"))
    for pair in (paired(first, bare), paired(bare, first)):
        assert paired_test(pair, UAR, "speaker").num_units == 10


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (table([True] * 3), r"lacks 1, the first 0: \['u03'\]"),
        (table([True] * 5), r"lacks 0, the first 1: \['u04'\]"),
        (table([True] * 4, label=pl.lit("y")), "differ in label of 4 rows"),
        (table([True] * 4, speaker=pl.lit("b")), "differ in speaker of 4 rows"),
        (concatenate([table([True] * 4, seed=seed) for seed in (0, 1)]), "different rows"),
        (
            PredictionTable(table([True] * 4).frame.rename({"logit_x": "logit_z"}), ("z", "y")),
            r"only one has \['x', 'z'\]",
        ),
    ],
)
def test_tables_that_do_not_fit_are_rejected(second, message):
    with pytest.raises(PredictionError, match=message):
        paired(table([True, False, True, False], speaker=pl.lit("a")), second)


def test_values_are_compared_where_they_are_known():
    true = np.array([[1.0], [2.0], [np.nan], [4.0]], dtype=np.float32)
    predictions = [
        PredictionTable.from_values(
            list("abcd"), np.full((4, 1), level, dtype=np.float32), true, ["v"], split="test"
        )
        for level in (2.0, 9.0)
    ]
    test = paired_test(paired(*predictions), RootMeanSquaredError(), "utterance")
    assert test.num_units == 3
    by_hand = math.sqrt(5 / 3) - math.sqrt((64 + 49 + 25) / 3)
    assert test.difference == pytest.approx(by_hand)
    assert test.p == 2 / 2**3


def test_speakers_are_swapped_only_where_that_can_find_something():
    assert permutation_unit(7) == "utterance"
    assert permutation_unit(8) == "speaker"
    assert permutation_unit(8, num_tests=6) == "speaker"
    assert permutation_unit(8, num_tests=7) == "utterance"
    assert permutation_unit(10, num_tests=25) == "speaker"


def test_both_members_see_the_same_draws():
    # One member misses a fixed fraction of each speaker's rows that the other recognises, so that
    # the difference is the same in every draw, however much the speakers differ.
    design = Design(speakers=10, each=4)
    template = members(design)[0]
    targets = np.eye(4, dtype=np.float32)[template.targets()]
    speakers_right = np.repeat(np.arange(10) % 2 == 0, 4)
    every_fourth = np.arange(40) % 4 == 0
    logits = [
        np.where(right[:, None], targets, np.roll(targets, 1, axis=1))
        for right in (speakers_right | every_fourth, speakers_right & ~every_fourth)
    ]
    names = [f"logit_{name}" for name in template.classes]
    first, second = (
        template.with_frame(
            template.frame.with_columns(
                pl.Series(name, logit[:, i]) for i, name in enumerate(names)
            )
        )
        for logit in logits
    )
    assert paired_interval(paired(first, second), Accuracy()) == pytest.approx((0.25, 0.25))
