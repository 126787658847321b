import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.errors import PredictionError
from polymodal.evaluation import classification

ALL = [
    classification.Accuracy(),
    classification.UnweightedAverageRecall(),
    classification.MacroF1(),
    classification.WeightedF1(),
    classification.ExpectedCalibrationError(),
    classification.CrossEntropy(),
]


def draw(seed, num_rows=60, num_classes=4, num_present=4):
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=2, size=(num_rows, num_classes))
    return logits, generator.integers(0, num_present, num_rows)


@pytest.mark.parametrize("num_present", [4, 3])
@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_scikit_learn_over_the_declared_classes(seed, num_present):
    sk = pytest.importorskip("sklearn.metrics")
    logits, targets = draw(seed, num_present=num_present)
    predicted, labels = logits.argmax(axis=1), range(4)
    probabilities = np.exp(classification.log_softmax(logits))
    options = {"labels": labels, "zero_division": 0}
    expected = [
        sk.accuracy_score(targets, predicted),
        sk.recall_score(targets, predicted, average="macro", **options),
        sk.f1_score(targets, predicted, average="macro", **options),
        sk.f1_score(targets, predicted, average="weighted", **options),
        None,
        sk.log_loss(targets, probabilities, labels=labels),
    ]
    for score, value in zip(ALL, expected, strict=True):
        if value is not None:
            assert score(logits, targets) == pytest.approx(value, abs=1e-12), type(score).__name__


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_agrees_with_torchmetrics(seed):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    logits, targets = draw(seed, num_rows=500)
    expected = functional.multiclass_calibration_error(
        torch.from_numpy(np.exp(classification.log_softmax(logits))),
        torch.from_numpy(targets),
        num_classes=4,
        n_bins=15,
    )
    ours = classification.ExpectedCalibrationError()(logits, targets)
    assert ours == pytest.approx(float(expected), abs=1e-6)


@settings(deadline=None)
@given(order=st.permutations(range(60)))
def test_the_order_of_rows_moves_no_score(order):
    logits, targets = draw(0)
    for score in ALL:
        shuffled = score(logits[order], targets[order])
        assert shuffled == pytest.approx(score(logits, targets), abs=1e-12)


def test_an_absent_class_counts_as_zero():
    logits = np.eye(3)[[0, 1, 1]]
    targets = np.array([0, 1, 1])
    assert classification.UnweightedAverageRecall()(logits, targets) == pytest.approx(2 / 3)
    assert classification.MacroF1()(logits, targets) == pytest.approx(2 / 3)


def test_a_mean_over_batches_is_another_number():
    # The ancestor reported the mean of per-batch macro F1, which moves with the batch size.
    generator = np.random.default_rng(1)
    targets = generator.choice(7, size=2000, p=[0.6, 0.2, 0.1, 0.04, 0.03, 0.02, 0.01])
    logits = generator.normal(size=(2000, 7)) + 1.5 * np.eye(7)[targets]
    macro_f1 = classification.MacroF1()
    means = {
        size: np.mean(
            [
                macro_f1(logits[start : start + size], targets[start : start + size])
                for start in range(0, 2000, size)
            ]
        )
        for size in (16, 64)
    }
    true = macro_f1(logits, targets)
    assert means[64] < true - 0.02
    assert abs(means[16] - means[64]) > 0.02
    assert macro_f1(logits[::-1], targets[::-1]) == pytest.approx(true, abs=1e-12)


def test_large_logits_do_not_overflow():
    logits, targets = np.array([[1e4, -1e4]]), np.array([1])
    assert classification.CrossEntropy()(logits, targets) == pytest.approx(2e4)
    assert classification.ExpectedCalibrationError()(logits, targets) == pytest.approx(1)


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "no labelled utterance"),
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), np.array([0, 1]), "1 of 2 .* row 1"),
        (np.array([[0.0, 1.0]]), np.array([-1]), "target is -1"),
        (np.array([[0.0, 1.0]]), np.array([2]), "from 0 to 1"),
    ],
)
def test_what_cannot_be_scored_is_rejected(logits, targets, message):
    for score in ALL:
        with pytest.raises(PredictionError, match=message):
            score(logits, targets)


def test_scoring_and_voting_need_no_torch():
    code = (
        "import sys, polymodal.evaluation.score, polymodal.evaluation.torchmetrics, "
        "polymodal.ensemble.soft; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
