"""A share of the training rows, for learning curves: a larger one holds the smaller ones."""

import hashlib
import math

import polars as pl

from polymodal.errors import ConfigError


def subsample_per_label(frame: pl.DataFrame, share: float) -> pl.DataFrame:
    """Takes a share of the rows of each label, chosen by their ids alone.

    Args:
        frame: Rows with `utterance_id` and `label`.
        share: Above 0, at most 1; each label keeps at least one row.

    Returns:
        The rows that stay, in the order of the frame.

    Raises:
        ConfigError: The share is out of its range.

    Example:
        >>> rows = pl.DataFrame({"utterance_id": list("abcdef"), "label": ["x", "y"] * 3})
        >>> subsample_per_label(rows, 0.3)["label"].sort().to_list()
        ['x', 'y']
    """
    if not 0 < share <= 1 or math.isnan(share):
        raise ConfigError(f"data.train_share={share}", expected="above 0, at most 1")
    if share == 1:
        return frame
    digests = [hashlib.blake2b(one.encode()).digest() for one in frame["utterance_id"]]
    place = pl.col("digest").rank("ordinal").over("label")
    wanted = (pl.len().over("label") * share).ceil()
    return frame.with_columns(pl.Series("digest", digests)).filter(place <= wanted).drop("digest")
