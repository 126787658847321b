"""Fit votes fold by fold, on the validation rows of that fold only, and calibrate members.

Legend: table = members, utterance = rows, class = declared classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int, Shaped
from scipy import special

from polymodal.ensemble.align import align, prediction_columns
from polymodal.errors import PredictionError
from polymodal.schemas.predictions import ID, PredictionTable

Logs = Float[np.ndarray, "table utterance class"]
Logits = Float[np.ndarray, "utterance class"]
Targets = Int[np.ndarray, " utterance"]
Groups = Shaped[np.ndarray, " utterance"]
Tables = Sequence[PredictionTable]
Report = Callable[[str], None]
Combine = Callable[[Logs], np.ndarray]
TEMPERATURES = np.geomspace(0.05, 20, 61)
SPREAD = 1.5  # prior standard deviation of the logarithm of a temperature


@dataclass(frozen=True)
class ValidationFold:
    """The labelled validation rows of one fold, which a vote is fitted on."""

    logs: Logs  # log probabilities of each member
    targets: Targets  # index of the true class
    groups: Groups  # speaker of each row or, where unknown, the utterance's id
    names: tuple[str, ...]  # of the members


# Returns how to combine log probabilities of other rows, and messages on what was fitted.
Fit = Callable[[ValidationFold], tuple[Combine, list[str]]]


def ignore(message: str) -> None:
    """Report nothing."""


def fit_per_fold(tables: Tables, validation: Tables, fit: Fit, report: Report) -> PredictionTable:
    """Fit a vote on the validation rows of each fold and apply it to the fold's other rows.

    `tables` are two or more, joined by `align`; `validation` those of the same members in the same
    order. `report` is called with messages on what was fitted. The logits of the result, sorted by
    id, are log probabilities.

    Raises:
        PredictionError: The tables cannot be joined, the task does not have one class for each
            utterance, or a fold has no labelled validation row.
    """
    _check_tasks([*tables, *validation])
    rated, fitted_on = align(tables), align(validation)
    if rated.classes != fitted_on.classes:
        raise PredictionError(
            f"the tables have the classes {list(rated.classes)}, those of validation "
            f"{list(fitted_on.classes)}",
            hint="write both again with `polymodal test`",
        )
    logs, val_logs = (special.log_softmax(x.logits, axis=-1) for x in (rated, fitted_on))
    targets = PredictionTable(fitted_on.frame, fitted_on.classes).targets()
    names = tuple(table.run_id or f"member {i}" for i, table in enumerate(tables, start=1))
    voted = np.empty(logs.shape[1:])
    folds = rated.frame["fold"].unique().sort().to_list()
    is_single = len({*folds, *fitted_on.frame["fold"]}) <= 1  # then all rows are voted on together
    for fold in [None] if is_single else folds:
        where = "" if fold is None else f"fold {fold}: "
        rows, val_rows = np.full(len(voted), True), targets >= 0
        if fold is not None:
            rows = (rated.frame["fold"] == fold).to_numpy()
            val_rows &= (fitted_on.frame["fold"] == fold).to_numpy()
        if not val_rows.any():
            raise PredictionError(
                f"{where}the members have no labelled validation row to fit a vote on",
                hint="train them with split.val above 0, or use ensemble=soft",
            )
        table = PredictionTable(fitted_on.frame.filter(val_rows), fitted_on.classes)
        labelled = ValidationFold(val_logs[:, val_rows], targets[val_rows], _groups(table), names)
        combine, messages = fit(labelled)
        for message in [*_warnings(table, rated.frame.filter(rows)[ID]), *messages]:
            report(where + message)
        voted[rows] = combine(logs[:, rows])
    frame = rated.frame.with_columns(prediction_columns(rated.classes, voted))
    return PredictionTable(frame, rated.classes, tables[0].task)


def _check_tasks(tables: Tables) -> None:
    for table in tables:
        if table.values or table.task == "soft_labels":
            raise PredictionError(
                f"a vote that is fitted cannot be over the task {table.task!r}",
                expected="one class for each utterance, as it is fitted on validation labels",
                hint="use ensemble=soft or ensemble=product",
            )


def _groups(table: PredictionTable) -> Groups:
    speakers = table.speakers()
    if speakers is None or len(set(speakers)) == 1:
        return np.array(table.frame[ID].to_list())
    return speakers


def _warnings(fitted_on: PredictionTable, ids: pl.Series) -> list[str]:
    messages, present = [], {*fitted_on.frame["label"]}
    if missing := [name for name in fitted_on.classes if name not in present]:
        messages.append(f"no validation row of the classes {', '.join(missing)}")
    if seen := ids.is_in(fitted_on.frame[ID].to_list()).sum():
        messages.append(f"{seen} of {len(ids)} rows voted on are among those it was fitted on")
    return messages


def temperature(logits: Logits, targets: Targets) -> tuple[float, float]:
    """Fit the temperature that logits are divided by (Guo et al., ICML 2017, arXiv 1706.04599).

    A log-normal prior makes temperatures far from 1 less likely, so that a few rows that happen to
    Returns one of `TEMPERATURES`, and its gain in log posterior over guessing, in nats.

    Example:
        >>> logits, targets = np.array([[9.0, 0.0], [9.0, 0.0]]), np.array([0, 1])
        >>> temperature(logits, targets)[0] > 5
        True
    """
    guessing = len(targets) * np.log(logits.shape[1])
    losses = np.array([len(targets) * loss(logits / scale, targets) for scale in TEMPERATURES])
    gains = guessing - losses
    gains -= np.square(np.log(TEMPERATURES) / SPREAD) / 2
    best = int(gains.argmax())
    return float(TEMPERATURES[best]), float(gains[best])


def loss(logits: Logits, targets: Targets) -> float:
    """Return the mean negative log probability of the labels, in nats.

    Example:
        >>> round(loss(np.zeros((1, 2)), np.array([1])), 4)
        0.6931
    """
    logs = special.log_softmax(logits, axis=-1)
    return float(-logs[np.arange(len(targets)), targets].mean())
