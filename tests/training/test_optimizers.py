"""The fused optimiser: used where nothing else is chosen."""

from functools import partial

import pytest
import torch

from polymodal.training.optimizers import build_optimizer


@pytest.mark.parametrize(
    ("factory", "fused", "expected"),
    [
        (partial(torch.optim.AdamW, lr=0.1), True, True),
        (partial(torch.optim.AdamW, lr=0.1), False, None),
        (partial(torch.optim.AdamW, lr=0.1, fused=False), True, False),
        (partial(torch.optim.AdamW, lr=0.1, foreach=True), True, None),
        (partial(torch.optim.LBFGS, lr=0.1), True, None),
    ],
)
def test_it_is_taken_where_nothing_else_is_asked_for(factory, fused, expected):
    parameters = [{"params": list(torch.nn.Linear(2, 3).parameters())}]
    assert build_optimizer(factory, parameters, fused=fused).defaults.get("fused") is expected
