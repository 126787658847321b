"""A fraction of the training rows, for learning curves: larger ones contain smaller ones."""

import hashlib
import math

import polars as pl

from polymodal.errors import ConfigError


def subsample_per_label(frame: pl.DataFrame, fraction: float) -> pl.DataFrame:
    """Return a fraction of the rows of each label, chosen by their ids alone, at least one.

    `frame` has `utterance_id` and `label`; the fraction is above 0 and at most 1.

    Raises:
        ConfigError: The fraction is out of its range.

    Example:
        >>> rows = pl.DataFrame({"utterance_id": list("abcdef"), "label": ["x", "y"] * 3})
        >>> subsample_per_label(rows, 0.3)["label"].sort().to_list()
        ['x', 'y']
    """
    if not 0 < fraction <= 1 or math.isnan(fraction):
        raise ConfigError(f"data.train_fraction={fraction}", expected="above 0, at most 1")
    if fraction == 1:
        return frame
    digests = [
        hashlib.blake2b(utterance_id.encode()).digest() for utterance_id in frame["utterance_id"]
    ]
    rank = pl.col("digest").rank("ordinal").over("label")
    count = (pl.len().over("label") * fraction).ceil()
    return frame.with_columns(pl.Series("digest", digests)).filter(rank <= count).drop("digest")
