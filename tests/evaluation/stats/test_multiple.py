import itertools
import json

import numpy as np
import polars as pl
import pytest
from benchmarks.verdict import DESIGNS, EQUAL, LARGE, Design, claimed, simulated

from polymodal.errors import PredictionError
from polymodal.evaluation.classification import Accuracy, MacroF1, UnweightedAverageRecall
from polymodal.evaluation.regression import RootMeanSquaredError
from polymodal.evaluation.stats.multiple import compare, generalisation_gap, holm
from polymodal.schemas.predictions import PredictionTable

UAR = UnweightedAverageRecall()


def members(accuracies, names="abcdef", design=None):
    tables = simulated(accuracies, design or Design(), np.random.default_rng(0))
    return dict(zip(names, tables, strict=False))


def values(*levels):
    ids, true = [f"u{row}" for row in range(30)], np.zeros((30, 1), dtype=np.float32)
    noise = np.random.default_rng(0).normal(1, 0.1, (30, 1)).astype(np.float32)
    return [
        PredictionTable.from_values(ids, level * noise, true, ["valence"], split="test")
        for level in np.float32(levels)
    ]


@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_equal_members_are_seldom_claimed_to_differ_and_large_effects_are_found(design):
    # Of so few pairs: two standard deviations of chance beside .08 and .95.
    assert claimed(UAR, EQUAL, design, 50) <= 0.08 + 0.08
    assert claimed(UAR, LARGE, design, 30) >= 0.95 - 0.08


@pytest.mark.slow
@pytest.mark.parametrize("score", [UAR, Accuracy(), MacroF1()])
@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_verdicts_keep_their_promise_over_200_pairs(design, score):
    # The same allowance for chance; `python -m benchmarks verdict` does without, on 1,000.
    assert claimed(score, EQUAL, design, 200) <= 0.08 + 0.04
    assert claimed(score, LARGE, design, 200) >= 0.95 - 0.03


def test_a_claim_names_the_better_member_first():
    tables = members((0.6, 0.85), ("soft voting", "fusion"))
    (result,) = compare(tables, "uar", UAR)
    assert result.difference < 0
    assert result.low <= result.difference <= result.high < 0
    by, low, high = (f"{-value:.3f}"[1:] for value in (result.difference, result.high, result.low))
    p = f"{result.p:.3f}"[1:]
    assert result.verdict == (
        f"fusion is better than soft voting by {by} "
        f"(95 % interval {low} to {high}, p = {p}, 10 speakers)"
    )
    (turned,) = compare(tables, "uar", UAR, pairs=[("fusion", "soft voting")])
    assert (turned.verdict, turned.difference) == (result.verdict, -result.difference)


def test_of_errors_the_lower_is_the_better():
    tables = dict(zip(("fusion", "voting"), values(1.0, 2.0), strict=True))
    for pairs in ([("fusion", "voting")], [("voting", "fusion")]):
        few = {"num_swaps": 300, "num_resamples": 300}
        (result,) = compare(tables, "rmse", RootMeanSquaredError(), pairs, **few)
        assert result.verdict.startswith(
            "fusion is better than voting: its rmse is lower by .991 ("
        )
    assert result.low > 0


def test_identical_members_are_not_claimed_to_differ():
    tables = members((0.6,))
    (result,) = compare({"a": tables["a"], "b": tables["a"]}, "uar", UAR)
    assert (result.difference, result.low, result.high, result.p, result.p_corrected) == (
        0,
        0,
        0,
        1,
        1,
    )
    assert result.verdict == (
        "no difference can be claimed between a and b "
        "(.000, 95 % interval .000 to .000, p = 1.000, 10 speakers)"
    )


@pytest.mark.parametrize(
    ("design", "scope"),
    [
        (Design(speakers=4), "80 utterances: about these 4 speakers only"),
        (Design(speakers=1), "20 utterances: about this speaker only"),
        (Design(known=False), "200 utterances of unknown speakers"),
        (Design(speakers=9), "9 speakers"),
    ],
)
def test_the_verdict_says_of_whom_it_speaks(design, scope):
    (result,) = compare(members((0.6, 0.7), design=design), "uar", UAR)
    assert f", {scope})" in result.verdict
    assert scope.startswith(f"{result.num_units} {result.unit}")


def test_several_pairs_are_corrected_together_and_keep_their_order():
    tables = members((0.5, 0.6, 0.7, 0.8))
    results = compare(tables, "uar", UAR)
    assert [(result.a, result.b) for result in results] == list(itertools.combinations("abcd", 2))
    assert [result.p_corrected for result in results] == holm([result.p for result in results])
    assert all("corrected p" in result.verdict for result in results)


def test_a_p_that_is_small_only_before_correction_claims_nothing():
    tables = members((0.6, 0.75, 0.7, 0.7, 0.7))
    (alone,) = compare(tables, "uar", UAR, pairs=[("a", "b")])
    together = compare(tables, "uar", UAR)[0]
    assert alone.p == together.p < 0.05 < together.p_corrected
    assert "is better than" in alone.verdict
    assert "no difference" in together.verdict
    assert "the interval excludes 0, but p is not below .050" in together.verdict


def test_an_interval_with_zero_claims_nothing_however_small_p_is():
    # Four speakers, of whom the fourth suits the other member: 300 utterances make p tiny.
    right = {"a": [1, 1, 1, 0], "b": [0, 0, 0, 1]}
    ids = [f"u{row}" for row in range(400)]
    who = pl.DataFrame({"utterance_id": ids, "speaker": [f"s{row % 4}" for row in range(400)]})
    targets = np.arange(400) // 4 % 2
    tables = {}
    for name, of_speaker in right.items():
        hits = np.array([of_speaker[row % 4] for row in range(400)])
        logits = np.eye(2, dtype=np.float32)[np.where(hits, targets, 1 - targets)]
        predictions = PredictionTable.from_logits(ids, logits, targets, "xy", split="test")
        tables[name] = predictions.with_speakers(who)
    (result,) = compare(tables, "accuracy", Accuracy())
    assert result.p < 0.001
    assert result.low < 0 < result.high
    assert result.verdict.startswith("no difference can be claimed")
    assert result.verdict.endswith(
        "p is below .050, but the interval includes 0, and both are needed"
    )


def test_alpha_sets_the_interval_too():
    tables = members((0.6, 0.85))
    (result,), (strict,) = (compare(tables, "uar", UAR, alpha=alpha) for alpha in (0.05, 0.01))
    assert "99 % interval" in strict.verdict
    assert strict.low < result.low < result.high < strict.high


def test_pairs_too_many_for_the_speakers_are_tested_by_utterance():
    tables = members((0.6, 0.6, 0.6, 0.6, 0.9), design=Design(speakers=8))
    few = compare(tables, "uar", UAR, [("a", "e")])
    many = compare(tables, "uar", UAR)
    assert [result.unit for result in few] == ["speaker"]
    assert {result.unit for result in many} == {"utterance"}
    assert many[3].verdict.startswith("e is better than a")
    assert many[3].verdict.endswith("corrected p < .001, 160 utterances of 8 speakers)")


def test_a_comparison_is_written_with_these_keys():
    (result,) = compare(members((0.6, 0.7)), "uar", UAR)
    assert list(json.loads(json.dumps(result.to_dict()))) == [
        *("a", "b", "score", "difference", "low", "high", "p", "p_corrected"),
        *("unit", "num_units", "verdict"),
    ]


def test_an_unknown_member_is_rejected():
    with pytest.raises(PredictionError, match="did you mean 'fusion'"):
        compare(members((0.6, 0.7), ("fusion", "x")), "uar", UAR, pairs=[("fusoin", "x")])


def test_holm_corrects_as_in_the_textbook():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([]) == []


def test_the_gap_is_positive_where_training_rows_score_better():
    seen, unseen = members((0.9, 0.6)).values()
    as_train = seen.with_frame(seen.frame.with_columns(split=pl.lit("train")))
    gap = UAR(seen.logits(), seen.targets()) - UAR(unseen.logits(), unseen.targets())
    assert generalisation_gap(as_train, unseen, UAR) == pytest.approx(gap)
    near, far = values(1.0, 2.0)
    assert generalisation_gap(near, far, RootMeanSquaredError()) > 0
