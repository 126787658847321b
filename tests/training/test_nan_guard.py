"""What goes into an update is looked at once: losses of all its batches, and the norm."""

import pytest
import torch
from torch.nn import Linear
from torch.nn.utils import get_total_norm

from polymodal.training.nan_guard import NonFiniteGuard


@pytest.fixture
def layer():
    layer = Linear(2, 2)
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    return layer


def guard_of(layer, *losses):
    guard = NonFiniteGuard(layer.named_parameters)
    for number, loss in enumerate(losses):
        guard.record(torch.tensor(loss), (f"u{number}",), f"batch {number}")
    return guard


def test_numbers_pass_and_are_forgotten(layer):
    guard = guard_of(layer, 1.0, -2.0)
    guard.check(torch.tensor(3.0))
    assert guard.traces == []
    guard.check(None)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_the_batch_whose_loss_is_no_number_is_named(layer, loss):
    """Also where losses or a norm would cancel it."""
    with pytest.raises(FloatingPointError, match=r"in batch 1, with the utterances u1;"):
        guard_of(layer, 0.5, loss, -loss).check(torch.tensor(float("inf")))


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        (float("inf"), r"the gradient is not finite \(of bias\) in batch 0"),
        (float("nan"), r"the gradient is not finite \(of bias\) in batch 0"),
        (3e38, "the norm of the gradient overflows in batch 0"),
    ],
)
def test_the_gradient_is_reported_by_name_where_it_has_one(layer, gradient, message):
    layer.bias.grad[1] = gradient
    norm = get_total_norm([parameter.grad for parameter in layer.parameters()])
    with pytest.raises(FloatingPointError, match=message):
        guard_of(layer, 0.5).check(norm)
