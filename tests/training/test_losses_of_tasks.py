"""The losses of the tasks: against formulas, unknown targets left out, gradients that arrive."""

import pytest
import torch
from torch.nn import functional

from polymodal.errors import ConfigError
from polymodal.training.losses import (
    BinaryCrossEntropy,
    ConcordanceLoss,
    CrossEntropy,
    JointLoss,
    MeanSquaredError,
    SoftCrossEntropy,
)

NAN = float("nan")
AB = {"classes": ["a", "b"], "class_counts": [3, 1]}


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(6, 2, requires_grad=True)


def test_focus_follows_its_formula_and_is_cross_entropy_at_zero(logits):
    targets = torch.tensor([0, 1, 0, 1, -1, 0])
    plain = CrossEntropy(**AB)(logits, targets)
    probability = logits.softmax(1)[targets >= 0].gather(1, targets[targets >= 0][:, None])
    expected = (-((1 - probability) ** 2) * probability.log()).mean()
    torch.testing.assert_close(CrossEntropy(**AB, focus=2.0)(logits, targets), expected)
    torch.testing.assert_close(CrossEntropy(**AB, focus=1e-9)(logits, targets), plain)


def test_focus_with_weights_is_their_mean(logits):
    targets = torch.tensor([0, 1, 0, 1, 0, 0])
    loss = CrossEntropy(**AB, focus=1e-9, class_weights="balanced")
    plain = CrossEntropy(**AB, class_weights="balanced")
    torch.testing.assert_close(loss(logits, targets), plain(logits, targets))
    with pytest.raises(ConfigError, match="one of them 0"):
        CrossEntropy(**AB, focus=1, label_smoothing=0.1)


def test_soft_labels_that_are_certain_are_cross_entropy(logits):
    targets = torch.tensor([0, 1, 0, 1, 0, 0])
    probabilities = functional.one_hot(targets, 2).float()
    expected = functional.cross_entropy(logits, targets)
    torch.testing.assert_close(SoftCrossEntropy(**AB)(logits, probabilities), expected)
    probabilities[2] = NAN
    left = torch.tensor([0, 1, 3, 4, 5])
    expected = functional.cross_entropy(logits[left], targets[left])
    torch.testing.assert_close(SoftCrossEntropy(**AB)(logits, probabilities), expected)


def test_divergence_has_the_gradient_of_cross_entropy_and_is_zero_at_best(logits):
    probabilities = torch.tensor([[0.7, 0.3]] * 6)
    (plain,) = torch.autograd.grad(SoftCrossEntropy(**AB)(logits, probabilities), logits)
    (divergence,) = torch.autograd.grad(
        SoftCrossEntropy(**AB, divergence=True)(logits, probabilities), logits
    )
    torch.testing.assert_close(plain, divergence)
    best = SoftCrossEntropy(**AB, divergence=True)(probabilities.log(), probabilities)
    assert best.item() == pytest.approx(0, abs=1e-6)


def test_balanced_labels_count_alike_over_the_training_part():
    loss = BinaryCrossEntropy(["a", "b"], [1, 5], 10, balanced=True)
    assert loss.weights.tolist() == [9, 1]
    logits, targets = torch.zeros(10, 2), torch.zeros(10, 2)
    targets[0] = 1
    targets[1:5, 1] = 1
    present = loss.weights * targets
    assert present.sum(0).tolist() == (1 - targets).sum(0).tolist()
    targets[9] = NAN
    assert torch.isfinite(loss(logits, targets))


def test_concordance_falls_with_shift_and_scale():
    truth = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    loss = ConcordanceLoss()
    assert loss(truth, truth).item() == pytest.approx(0, abs=1e-6)
    assert loss(truth + 1, truth).item() == pytest.approx(1 - 2 * 1.25 / (2 * 1.25 + 1), rel=1e-6)
    assert loss(-truth + 5, truth).item() == pytest.approx(2, rel=1e-6)


def test_a_small_focus_has_a_slope_where_the_answer_is_certain():
    logits = torch.tensor([[100.0, -100.0]], requires_grad=True)
    CrossEntropy(**AB, focus=0.5)(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_classes_that_training_lacks_have_no_weight(logits):
    loss = CrossEntropy(["a", "b"], [3, 0], class_weights="balanced")
    assert loss(logits, torch.tensor([1] * 6)).item() == 0


@pytest.mark.parametrize("truth", [[[2.0]], [[2.0], [2.0]], [[2.0], [NAN]]])
def test_without_spread_the_squared_error_teaches(truth):
    predicted = torch.zeros(len(truth), 1, requires_grad=True)
    loss = ConcordanceLoss()(predicted, torch.tensor(truth))
    loss.backward()
    assert loss.item() == 4
    assert predicted.grad[0].item() < 0


def test_the_joint_loss_is_the_sum_of_its_parts(logits):
    outputs = torch.cat([logits, torch.randn(6, 1)], dim=1)
    index = torch.tensor([0, 1, NAN, 1, 0, 0])
    values = torch.tensor([1.0, NAN, 3.0, 2.0, 1.0, 4.0])
    joint = JointLoss(**AB, values_weight=0.5)(outputs, torch.stack([index, values], dim=1))
    of_class = CrossEntropy(**AB)(logits, torch.tensor([0, 1, -1, 1, 0, 0]))
    of_values = ConcordanceLoss()(outputs[:, 2:], values[:, None])
    torch.testing.assert_close(joint, of_class + 0.5 * of_values)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (CrossEntropy(**AB, focus=2), torch.tensor([-1] * 6)),
        (SoftCrossEntropy(**AB), torch.full((6, 2), NAN)),
        (BinaryCrossEntropy(["a", "b"], [1, 1], 2), torch.full((6, 2), NAN)),
        (ConcordanceLoss(), torch.full((6, 2), NAN)),
        (MeanSquaredError(), torch.full((6, 2), NAN)),
        (JointLoss(["a"] * 1 + ["b"], [1, 1]), torch.full((6, 1), NAN)),
    ],
)
def test_where_nothing_is_known_the_loss_is_zero_and_has_a_gradient(logits, loss, targets):
    value = loss(logits, targets)
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().sum() == 0
