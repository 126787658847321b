"""The largest batch that fits, whatever a second of it costs."""

import pytest
import torch

from polymodal.training.batch_size import find_max_batch

ROOM = 40_000_000_000


@pytest.mark.parametrize(
    ("cost", "least", "most"),
    [
        (lambda s: 2e9 + 1e8 * s, 300, 330),
        (lambda s: 2e9 + 1e8 * s + 1e5 * s * s, 150, 290),  # attention: more than proportional
        (lambda s: 2e9, 3600, 3600),
        (lambda s: 30e9 + 2e9 * s, 1.0, 4.0),  # hardly anything fits
    ],
    ids=["proportional", "square", "free", "hardly"],
)
def test_it_fits_and_leaves_little(cost, least, most):
    tried = []

    def peak_bytes(budget_s):
        tried.append(budget_s)
        used = int(cost(budget_s))
        if used > ROOM:
            raise torch.OutOfMemoryError
        return used

    budget_s = find_max_batch(peak_bytes, ROOM)
    assert least <= budget_s <= most
    assert cost(budget_s) <= (0.9 if budget_s > 4 else 1.0) * ROOM
    assert len(tried) < 20


def test_a_model_that_does_not_fit_at_all_says_so():
    def never(budget_s):
        raise torch.OutOfMemoryError("too large")

    with pytest.raises(torch.OutOfMemoryError, match="too large"):
        find_max_batch(never, ROOM)
