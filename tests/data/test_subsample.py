"""Shares of the training rows: nested, by class, and independent of the order of the rows."""

import polars as pl
import pytest

from polymodal.data.subsample import subsample_per_label
from polymodal.errors import ConfigError

ROWS = pl.DataFrame(
    {
        "utterance_id": [f"u{number:02d}" for number in range(40)],
        "label": ["joy"] * 30 + ["anger"] * 8 + [None] * 2,
    }
)


def test_a_larger_share_holds_the_smaller_ones():
    ids = [
        set(subsample_per_label(ROWS, fraction)["utterance_id"]) for fraction in (0.1, 0.25, 0.5, 1)
    ]
    assert ids[0] < ids[1] < ids[2] < ids[3] == set(ROWS["utterance_id"])


def test_each_label_keeps_its_share_and_at_least_one_row():
    counts = dict(subsample_per_label(ROWS, 0.25)["label"].value_counts().iter_rows())
    assert counts == {"joy": 8, "anger": 2, None: 1}
    assert subsample_per_label(ROWS, 0.001).height == 3


def test_the_order_of_the_rows_has_no_influence():
    turned = subsample_per_label(ROWS.reverse(), 0.5)
    assert set(turned["utterance_id"]) == set(subsample_per_label(ROWS, 0.5)["utterance_id"])


@pytest.mark.parametrize("fraction", [0, -1, 1.5, float("nan")])
def test_no_share_is_refused(fraction):
    with pytest.raises(ConfigError, match="train_fraction"):
        subsample_per_label(ROWS, fraction)
