"""Soft voting: shallow fusion by the mean of what several models say.

Legend: table = voters, utterance = rows, class = declared classes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from jaxtyping import Float

from polymodal.ensemble.align import AlignedPredictions, align, prediction_columns, safe_log
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
    """Averages the predictions of several models of the same utterances.

    Args:
        tables: Two or more tables; `join` says how their rows find each other.
        on: Average the probabilities (the default: a model that scales its logits up gets no
            larger vote) or the logits themselves.
        weights: One weight a table, none negative; equal where not given.
        run_id: The run that votes.

    Returns:
        A table sorted by id. Its logits are the logarithms of the averaged probabilities, or the
        averaged logits; values are averaged as they are, of labels their probabilities.

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
        raise ConfigError(f"voting on {on!r}", hint=nearest(on, SCALES))
    joined = align(tables)
    shares = _shares(weights, len(tables))
    columns = _voted_classes(joined, shares, on) if joined.classes else []
    values = np.tensordot(shares, joined.values, axes=1)
    if "labels" in tables[0].kinds and on == "probabilities":
        values = _logit(np.tensordot(shares, 1 / (1 + np.exp(-joined.values)), axes=1))
    for index, name in enumerate(tables[0].values):
        columns.append(pl.Series(VALUE + name, values[:, index].astype(np.float32)))
    return replace(tables[0], frame=joined.frame.with_columns(columns), run_id=run_id)


def _voted_classes(
    joined: AlignedPredictions, shares: Float[np.ndarray, " table"], on: str
) -> list[pl.Series]:
    if on == "logits":
        logits = np.tensordot(shares, joined.logits, axes=1)
    else:
        logits = safe_log(np.tensordot(shares, _softmax(joined.logits), axes=1))
    return prediction_columns(joined, logits)


def _logit(shares: Float[np.ndarray, "utterance label"]) -> Float[np.ndarray, "utterance label"]:
    inside = np.clip(shares, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(inside / (1 - inside)))


def _shares(weights: Sequence[float] | None, num_tables: int) -> Float[np.ndarray, " table"]:
    values = np.ones(num_tables) if weights is None else np.asarray(weights, dtype=np.float64)
    fits = values.shape == (num_tables,) and np.isfinite(values).all()
    if not fits or values.min() < 0 or values.sum() <= 0:
        raise PredictionError(
            f"the weights are {values.tolist()} for {num_tables} tables",
            expected="one finite number a table, none negative, not all zero",
            hint="give as many weights as runs, or leave them out",
        )
    return np.asarray(values / values.sum())


def _softmax(
    logits: Float[np.ndarray, "table utterance class"],
) -> Float[np.ndarray, "table utterance class"]:
    powers = np.exp(logits - logits.max(axis=2, keepdims=True))
    return np.asarray(powers / powers.sum(axis=2, keepdims=True))
