"""Scores of values and of several labels, against the formula and against scikit-learn."""

import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from polymodal.errors import ConfigError, PredictionError
from polymodal.evaluation.classification import UnweightedAverageRecall
from polymodal.evaluation.multilabel import LabelF1, MeanAveragePrecision
from polymodal.evaluation.regression import (
    ConcordanceCorrelation,
    PearsonCorrelation,
    RootMeanSquaredError,
)
from polymodal.evaluation.score import score_names, score_table
from polymodal.evaluation.torchmetrics import build_score
from polymodal.schemas.predictions import PredictionTable


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_values_agree_with_torchmetrics(seed):
    rng = np.random.default_rng(seed)
    predicted, true = rng.normal(size=(2, 30))
    theirs = torchmetrics.regression
    tensors = torch.from_numpy(predicted), torch.from_numpy(true)
    for ours, reference, tolerance in (
        (ConcordanceCorrelation(), theirs.ConcordanceCorrCoef(), 0.05),  # theirs is the unbiased
        (PearsonCorrelation(), theirs.PearsonCorrCoef(), 1e-5),
        (RootMeanSquaredError(), theirs.MeanSquaredError(squared=False), 1e-5),
    ):
        assert ours(predicted, true) == pytest.approx(reference(*tensors).item(), abs=tolerance)


def test_constants_have_a_score():
    ones, twos, varied = np.ones(3), 2 * np.ones(3), np.array([1.0, 2.0, 3.0])
    ccc = ConcordanceCorrelation()
    assert (ccc(ones, ones), ccc(ones, twos), ccc(twos, varied)) == (1, 0, 0)
    assert PearsonCorrelation()(ones, varied) == 0
    for predicted, message in ((np.zeros(0), "no utterance"), (np.array([np.nan]), "not finite")):
        with pytest.raises(PredictionError, match=message):
            ccc(predicted, predicted)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_labels_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-3, 4, (25, 4)).astype(float)  # with ties
    true = rng.random((25, 4)) < 0.4
    predicted = logits >= 0
    for average in ("macro", "micro"):
        expected = f1_score(true, predicted, average=average, zero_division=0)
        assert LabelF1(average)(logits, true) == pytest.approx(expected)
    present = true.any(axis=0)
    expected = average_precision_score(true[:, present], logits[:, present], average="macro")
    assert MeanAveragePrecision()(logits, true) == pytest.approx(expected)


def test_a_table_is_scored_value_by_value_and_unknown_ones_are_left_out():
    predicted = np.array([[1, 5], [2, 5], [3, 5]], np.float32)
    true = np.array([[2, np.nan], [3, 1], [4, 3]], np.float32)
    table = PredictionTable.from_values(
        "abc", predicted, true, ["valence", "arousal"], split="test"
    )
    scores = score_table(table, {"rmse": RootMeanSquaredError()})
    assert scores["test/rmse_valence"] == 1
    assert scores["test/rmse_arousal"] == pytest.approx(np.sqrt((16 + 4) / 2))
    assert scores["test/rmse"] == pytest.approx((1 + np.sqrt(10)) / 2)
    assert [f"test/{n}" for n in score_names({"rmse": RootMeanSquaredError()}, table.values)] == [
        *scores
    ]


def test_a_split_without_targets_has_no_score():
    nothing = np.full((2, 1), np.nan, np.float32)
    table = PredictionTable.from_values("ab", nothing * 0, nothing, ["v"], split="test")
    table = PredictionTable.from_values("ab", np.zeros((2, 1), np.float32), nothing, "v", split="x")
    assert score_table(table, {"ccc": ConcordanceCorrelation()}) == {}


def test_a_score_that_the_task_has_nothing_for_is_rejected():
    for factory, kinds in (
        (UnweightedAverageRecall, {"values": 2}),
        (ConcordanceCorrelation, {"classes": 4}),
        (LabelF1, {"classes": 4}),
        (torchmetrics.CohenKappa, {"values": 1}),
    ):
        with pytest.raises(ConfigError, match=r"which this task does not have|cannot be built"):
            build_score(factory, kinds)


def test_metrics_of_torchmetrics_are_told_what_they_are_of():
    labels = build_score(torchmetrics.F1Score, {"labels": 3})
    assert (labels.reads, labels.metric.num_labels) == ("labels", 3)
    truth = np.array([[True, False, True]])
    assert labels(np.array([[2.0, -2.0, 2.0]]), truth) == 1
    values = build_score(torchmetrics.MeanAbsoluteError, {"classes": 2, "values": 1})
    assert values.reads == "values"
    assert values(np.array([1.0, 2.0]), np.array([2.0, 4.0])) == 1.5
