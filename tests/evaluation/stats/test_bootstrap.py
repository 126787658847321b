from statistics import NormalDist

import numpy as np
import polars as pl
import pytest
from benchmarks.verdict import Design, simulated

from polymodal.errors import PredictionError
from polymodal.evaluation.classification import (
    Accuracy,
    CrossEntropy,
    MacroF1,
    UnweightedAverageRecall,
    WeightedF1,
)
from polymodal.evaluation.multilabel import LabelF1
from polymodal.evaluation.regression import ConcordanceCorrelation
from polymodal.evaluation.score import score_table
from polymodal.evaluation.stats.bootstrap import (
    bootstrap_counts,
    clusters_of,
    interval,
    percentile_ci,
)
from polymodal.schemas.predictions import PredictionTable, concatenate

UAR = UnweightedAverageRecall()


def table(design=None, seed=0, accuracy=0.6):
    return simulated([accuracy], design or Design(), np.random.default_rng(seed))[0]


def values_table(num_rows=60, task="regression"):
    generator = np.random.default_rng(0)
    true = generator.normal(size=(num_rows, 2)).astype(np.float32)
    values = (true + generator.normal(size=true.shape)).astype(np.float32)
    if task == "multilabel":
        true = (true > 0).astype(np.float32)
    true[:7, 1] = np.nan
    ids = [f"u{row:02d}" for row in range(num_rows)]
    predictions = PredictionTable.from_values(
        ids, values, true, ["v", "a"], split="test", task=task
    )
    who = [f"s{row % 10}" for row in range(num_rows)]
    return predictions.with_speakers(pl.DataFrame({"utterance_id": ids, "speaker": who}))


@pytest.mark.parametrize("score", [Accuracy(), UAR, MacroF1(), WeightedF1()])
@pytest.mark.parametrize("by_speaker", [True, False])
def test_sums_of_confusion_matrices_score_as_the_rows_do(score, by_speaker):
    design = Design(speakers=3, each=6, seeds=2)  # so small that draws lack classes
    clusters = clusters_of(table(design), score, "speaker" if by_speaker else "utterance")
    counts = next(bootstrap_counts(clusters.num_clusters, 300, np.random.default_rng(0)))
    np.testing.assert_allclose(clusters.scores(counts), clusters.scores_of_rows(counts), atol=1e-12)
    present = (counts @ np.eye(clusters.num_clusters)).astype(bool)
    assert any(set(clusters.targets[draw[clusters.cluster]]) != {0, 1, 2, 3} for draw in present)


def test_the_value_is_what_the_table_scores_to_the_last_digit():
    generator = np.random.default_rng(0)
    ids, targets = [f"u{row}" for row in range(100)], generator.integers(0, 4, 100)
    logits = generator.normal(size=(100, 4)).astype(np.float32)
    predictions = PredictionTable.from_logits(ids, logits, targets, "wxyz", split="test")
    expected = score_table(predictions, {"x": CrossEntropy()})["test/x"]
    for seed in range(5):
        shuffled = predictions.with_frame(
            predictions.frame.sample(fraction=1, shuffle=True, seed=seed)
        )
        assert interval(shuffled, CrossEntropy(), num_resamples=9).value == expected


@pytest.mark.parametrize(
    ("score", "task"), [(ConcordanceCorrelation(), "regression"), (LabelF1(), "multilabel")]
)
def test_values_and_labels_have_intervals_and_unknown_ones_are_left_out(score, task):
    predictions = values_table(task=task)
    ci = interval(predictions, score, num_resamples=200)
    assert ci.value == score_table(predictions, {"x": score})["test/x"]
    assert ci.low < ci.value < ci.high


def test_a_speaker_is_drawn_whole_with_all_seeds():
    clusters = clusters_of(table(Design(speakers=5, each=4, seeds=3)), UAR, "speaker")
    assert np.bincount(clusters.cluster).tolist() == [12] * 5
    by_utterance = clusters_of(table(Design(seeds=3, known=False)), UAR, "speaker")
    assert np.bincount(by_utterance.cluster).tolist() == [3] * 200


def test_rows_that_repeat_a_speaker_make_the_interval_no_narrower():
    predictions = table(Design(ease=0.5, each=5))
    again = predictions.frame.with_columns(
        pl.col("utterance_id") + "'", pl.lit(1, pl.Int64).alias("seed")
    )
    doubled = concatenate([predictions, predictions.with_frame(again)])
    single, double = interval(predictions, Accuracy()), interval(doubled, Accuracy())
    assert (double.low, double.high) == (single.low, single.high)
    assert (single.unit, single.num_units) == ("speaker", 10)


def test_the_seed_decides_the_draws():
    predictions = table()
    assert interval(predictions, UAR, seed=1) == interval(predictions, UAR, seed=1)
    assert interval(predictions, UAR, seed=1) != interval(predictions, UAR, seed=2)


def test_draws_in_blocks_are_of_full_size(monkeypatch):
    monkeypatch.setattr("polymodal.evaluation.stats.bootstrap.MAX_COUNT_CELLS", 25)
    blocks = list(bootstrap_counts(10, 7, np.random.default_rng(0)))
    assert [len(block) for block in blocks] == [2, 2, 2, 1]
    assert np.all(np.concatenate(blocks).sum(axis=1) == 10)


@pytest.mark.parametrize(
    ("num_speakers", "unit", "caution"),
    [
        (1, "utterance", "1 speaker: too few"),
        (3, "utterance", "3 speakers: too few"),
        (
            4,
            "speaker",
            "4 speakers: too few to generalise to others; 95 % intervals of so few hold in 89%",
        ),
        (6, "speaker", "6 speakers: too few"),
        (8, "speaker", ""),
    ],
)
def test_few_speakers_are_said_to_be_few(num_speakers, unit, caution):
    ci = interval(table(Design(speakers=num_speakers)), UAR)
    assert ci.unit == unit
    assert ci.caution.startswith(caution)
    assert bool(ci.caution) == bool(caution)
    assert "unknown" in interval(table(Design(known=False)), UAR).caution


def test_the_tails_are_widened_as_t_is_wider_than_normal():
    drawn = np.linspace(0, 1, 10_001)
    for num, quantile in ((5, 2.7764), (10, 2.2622), (30, 2.0452)):  # of t, from its tables
        tail = NormalDist().cdf(-quantile * np.sqrt(num / (num - 1)))
        assert percentile_ci(drawn, num, 0.95) == pytest.approx((tail, 1 - tail), abs=2e-5)


def test_a_draw_without_a_score_is_left_out():
    drawn = np.append(np.linspace(0, 1, 1001), np.nan)
    assert percentile_ci(drawn, 1000, 0.95) == pytest.approx((0.025, 0.975), abs=1e-3)


@pytest.mark.parametrize("num_speakers", [5, 10])
def test_intervals_hold_what_all_speakers_would_give(num_speakers):
    design, num = Design(speakers=num_speakers, each=10, ease=0.5), 150
    held = 0
    for seed in range(num):
        ci = interval(table(design, seed), Accuracy(), num_resamples=400)
        held += ci.low <= 0.6 <= ci.high
    assert held / num >= 0.9


def test_tables_of_several_splits_without_labels_or_with_nan_are_rejected():
    predictions = table()
    half = predictions.frame[:100].with_columns(split=pl.lit("val"))
    both = predictions.with_frame(pl.concat([half, predictions.frame[100:]]))
    with pytest.raises(PredictionError, match=r"splits \['test', 'val'\]"):
        interval(both, UAR)
    blank = predictions.with_frame(predictions.frame.with_columns(label=pl.lit(None, pl.String)))
    with pytest.raises(PredictionError, match="no labelled utterance"):
        interval(blank, UAR)
    broken = predictions.with_frame(predictions.frame.with_columns(logit_x=pl.lit(float("nan"))))
    with pytest.raises(PredictionError, match="not finite"):
        clusters_of(broken, UAR, "speaker")
