"""What every fitted vote shares: it is fitted fold by fold, on validation rows of that fold alone.

Legend: table = voters, utterance = rows, class = declared classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int, Shaped

from polymodal.ensemble.align import AlignedPredictions, align, prediction_columns
from polymodal.errors import PredictionError
from polymodal.schemas.predictions import ID, PredictionTable

Logs = Float[np.ndarray, "table utterance class"]
Shares = Float[np.ndarray, "utterance class"]
Targets = Int[np.ndarray, " utterance"]
Groups = Shaped[np.ndarray, " utterance"]
Combine = Callable[[Logs], np.ndarray]
TEMPERATURES = np.geomspace(0.05, 20, 61)
SPREAD = 1.5  # of the logarithm of a temperature, as it is thought of beforehand


@dataclass(frozen=True)
class ValidationFold:
    """What a vote may learn from: the labelled validation rows of one fold.

    Args:
        logs: Log probabilities of each member, `[table, utterance, class]`.
        targets: Index of the true class, `[utterance]`.
        groups: Who spoke, or the utterance's id: rows of one group are alike, `[utterance]`.
        names: Names of the members.
    """

    logs: Logs
    targets: Targets
    groups: Groups
    names: tuple[str, ...]


# From what is known: how to combine other log probabilities, and what was found, in words.
Fit = Callable[[ValidationFold], tuple[Combine, list[str]]]


def fit_per_fold(
    tables: Sequence[PredictionTable],
    validation: Sequence[PredictionTable],
    fit: Fit,
    say: Callable[[str], None],
) -> PredictionTable:
    """Fits a vote on the validation rows of each fold and applies it to the fold's other rows.

    Args:
        tables: Two or more tables; `join` says how their rows find each other.
        validation: Their validation tables, in the same order.
        fit: How a vote is fitted.
        say: Gets what was fitted, in words.

    Returns:
        A table sorted by id; its logits are logarithms of probabilities.

    Raises:
        PredictionError: The tables cannot be joined, are not over one class an utterance, or a fold
            has no labelled validation row.
    """
    _check_kinds([*tables, *validation])
    joined, learnt = align(tables), align(validation)
    if joined.classes != learnt.classes:
        raise PredictionError(
            f"the tables have the classes {list(joined.classes)}, those of validation "
            f"{list(learnt.classes)}",
            hint="write both again with `polymodal test`",
        )
    logs, known = log_softmax(joined.logits), log_softmax(learnt.logits)
    targets = PredictionTable(learnt.frame, learnt.classes).targets()
    names = tuple(table.run_id or f"member {place}" for place, table in enumerate(tables, start=1))
    voted = np.empty(logs.shape[1:])
    for fold in _folds(joined, learnt):
        where = "" if fold is None else f"fold {fold}: "
        rows, fitting = _rows(joined, fold), _rows(learnt, fold) & (targets >= 0)
        if not fitting.any():
            raise PredictionError(
                f"{where}the members have no labelled validation row to fit a vote on",
                hint="train them with split.val above 0, or use voting=soft",
            )
        fitted = PredictionTable(learnt.frame.filter(fitting), learnt.classes)
        combine, found = fit(
            ValidationFold(known[:, fitting], targets[fitting], _groups(fitted), names)
        )
        for words in [*_remarks(fitted, joined.frame.filter(rows)[ID]), *found]:
            say(where + words)
        voted[rows] = combine(logs[:, rows])
    frame = joined.frame.with_columns(prediction_columns(joined, voted))
    return PredictionTable(frame, joined.classes, tables[0].task)


def _check_kinds(tables: Sequence[PredictionTable]) -> None:
    for table in tables:
        if table.values or table.task == "soft_labels":
            raise PredictionError(
                f"a vote that is fitted cannot be over the task {table.task!r}",
                expected="one class an utterance, as validation labels are what it is fitted on",
                hint="use voting=soft or voting=product",
            )


def _groups(table: PredictionTable) -> Groups:
    speakers = table.speakers()
    if speakers is None or len(set(speakers)) == 1:
        return np.array(table.frame[ID].to_list())
    return speakers


def _folds(joined: AlignedPredictions, learnt: AlignedPredictions) -> list[int | None]:
    """The folds that are voted on; None for all rows where there is but one."""
    folds = joined.frame["fold"].unique().sort().to_list()
    several = {*folds, *learnt.frame["fold"]}
    return folds if len(several) > 1 else [None]


def _rows(joined: AlignedPredictions, fold: int | None) -> Bool[np.ndarray, " utterance"]:
    if fold is None:
        return np.ones(joined.frame.height, dtype=bool)
    return (joined.frame["fold"] == fold).to_numpy()


def _remarks(fitted: PredictionTable, ids: pl.Series) -> list[str]:
    """What must be known to judge the vote of a fold: the classes it never saw, the rows it did."""
    remarks, present = [], {*fitted.frame["label"]}
    if lacking := [name for name in fitted.classes if name not in present]:
        remarks.append(f"no validation row of the classes {', '.join(lacking)}")
    if seen := ids.is_in(fitted.frame[ID].to_list()).sum():
        remarks.append(f"{seen} of {len(ids)} rows voted on are among those it was fitted on")
    return remarks


def temperature(logs: Shares, targets: Targets) -> tuple[float, float]:
    """Finds what to divide logits by so that the labels are most likely (Guo et al., ICML 2017).

    A temperature far from 1 is thought less likely beforehand, so that a few rows that happen to be
    all right, or all wrong, are not taken for certainty.

    Args:
        logs: Logits or log probabilities.
        targets: Index of the true class.

    Returns:
        One of `TEMPERATURES`, and by how many nats it makes the labels more likely than guessing
        does, less what an unlikely temperature costs.

    Example:
        >>> logs, targets = np.array([[9.0, 0.0], [9.0, 0.0]]), np.array([0, 1])
        >>> temperature(logs, targets)[0] > 5
        True
    """
    guessed = len(targets) * np.log(logs.shape[1])
    gains = guessed - np.array([len(targets) * loss(logs / one, targets) for one in TEMPERATURES])
    gains -= np.square(np.log(TEMPERATURES) / SPREAD) / 2
    best = int(gains.argmax())
    return float(TEMPERATURES[best]), float(gains[best])


def loss(logits: Shares, targets: Targets) -> float:
    """Returns the mean negative log probability of the labels, in nats.

    Args:
        logits: Logits or log probabilities.
        targets: Index of the true class.
    """
    return float(-log_softmax(logits)[np.arange(len(targets)), targets].mean())


def log_softmax(logits: Float[np.ndarray, "... class"]) -> Float[np.ndarray, "... class"]:
    """Returns the logarithms of the probabilities.

    Args:
        logits: Logits; the last axis is that of the classes.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
