"""Soft voting: late fusion by the mean of the members' predictions.

Legend: table = members, utterance = rows, class = declared classes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy import special

from polymodal.ensemble.align import align, prediction_columns, safe_log
from polymodal.errors import ConfigError, PredictionError, nearest
from polymodal.schemas.predictions import VALUE, PredictionTable

SCALES = ("probabilities", "logits")


def soft_vote(
    tables: Sequence[PredictionTable],
    *,
    on: str = "probabilities",
    weights: Sequence[float] | None = None,
    run_id: str = "",
) -> PredictionTable:
    """Average the predictions of several models for the same utterances.

    `on` averages the `probabilities`, so that a model with larger logits has no larger vote, or the
    `logits`. `weights` are one non-negative number for each table, equal by default. `run_id` is
    the run of the vote. Its table is sorted by id; the logits are the logarithms of the averaged
    probabilities, or the averaged logits. Values are averaged as they are; of labels the
    probabilities are.

    Raises:
        ConfigError: `on` is neither of the two.
        PredictionError: The weights do not fit, or the tables cannot be joined.

    Example:
        >>> unsure, sure = np.log(np.array([[[0.4, 0.6]], [[0.9, 0.1]]], dtype=np.float32))
        >>> tables = [
        ...     PredictionTable.from_logits(["a"], logits, np.array([0]), "xy", split="test")
        ...     for logits in (unsure, sure)
        ... ]
        >>> soft_vote(tables).probabilities().round(2).tolist()
        [[0.65, 0.35]]
    """
    if on not in SCALES:
        raise ConfigError(f"ensemble.on={on!r}", hint=nearest(on, SCALES))
    aligned = align(tables)
    normalised = _normalise(weights, len(tables))
    columns: list[pl.Series] = []
    if aligned.classes and on == "logits":
        logits = np.tensordot(normalised, aligned.logits, axes=1)
        columns = prediction_columns(aligned.classes, logits)
    elif aligned.classes:
        mean = np.tensordot(normalised, special.softmax(aligned.logits, axis=2), axes=1)
        columns = prediction_columns(aligned.classes, safe_log(mean))
    values = np.tensordot(normalised, aligned.values, axes=1)
    if "labels" in tables[0].kinds and on == "probabilities":
        mean = np.tensordot(normalised, 1 / (1 + np.exp(-aligned.values)), axes=1)
        clipped = np.clip(mean, 1e-7, 1 - 1e-7)
        values = np.log(clipped / (1 - clipped))
    for index, name in enumerate(tables[0].values):
        columns.append(pl.Series(VALUE + name, values[:, index].astype(np.float32)))
    return replace(tables[0], frame=aligned.frame.with_columns(columns), run_id=run_id)


def _normalise(weights: Sequence[float] | None, num_tables: int) -> Float[np.ndarray, " table"]:
    values = np.ones(num_tables) if weights is None else np.asarray(weights, dtype=np.float64)
    fits = values.shape == (num_tables,) and np.isfinite(values).all()
    if not fits or values.min() < 0 or values.sum() <= 0:
        raise PredictionError(
            f"the weights are {values.tolist()} for {num_tables} tables",
            expected="one finite number for each table, none negative, not all zero",
            hint="give as many weights as runs, or leave them out",
        )
    return np.asarray(values / values.sum())
