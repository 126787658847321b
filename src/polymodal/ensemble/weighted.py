"""Late fusion that learns from validation predictions how much weight to give each member.

Legend: table = members, utterance = rows, class = declared classes.
"""

from collections.abc import Sequence
from functools import partial
from itertools import chain, combinations

import numpy as np
from jaxtyping import Float
from scipy import special

from polymodal.ensemble.align import safe_log
from polymodal.ensemble.calibration import (
    Combine,
    Logits,
    Logs,
    Report,
    Tables,
    Targets,
    ValidationFold,
    fit_per_fold,
    ignore,
    loss,
    temperature,
)
from polymodal.errors import PredictionError
from polymodal.schemas.predictions import PredictionTable

PerMember = Float[np.ndarray, " table"]
NUM_STEPS = 200
MAX_MEMBERS = 8  # of which all subsets are averaged
MIN_WEIGHT = 0.05  # of a subset
EPS_NATS = 1e-6


def weighted_vote(
    tables: Tables, validation: Tables, *, report: Report = ignore
) -> PredictionTable:
    """Combine log probabilities with the weights that make validation labels most likely.

    A logarithmic pool (Genest and Zidek, 1986): the weights are not negative, and their sum is the
    sharpness of the vote; they are reported as fractions of it. The likelihood has one maximum. (A
    weighted mean of probabilities would select one member where each has different strengths.)
    Arguments and errors as `fit_per_fold`.
    """
    return fit_per_fold(tables, validation, _fit_weights, report)


def calibrated_vote(
    tables: Tables, validation: Tables, *, report: Report = ignore
) -> PredictionTable:
    """Multiply the calibrated probabilities of the members that help on validation.

    Each member's logits are divided by the temperature that makes validation labels most likely
    (Guo et al., ICML 2017); members that are then no better than guessing are left out. The
    calibrated probabilities are multiplied (Hinton, 2002), with one more temperature for the
    product. Of which members? All subsets (of the eight best members) are averaged, weighted by the
    likelihood of the validation labels with a penalty of half the logarithm of their number for
    each member (BIC; Schwarz, 1978; Hoeting et al., 1999). So few rows cannot remove a useful
    member or keep a useless one by chance. Arguments and errors as `fit_per_fold`.

    Example:
        >>> logits, targets = np.eye(2, dtype=np.float32), np.array([0, 1])
        >>> good, bad, val_good, val_bad = (
        ...     PredictionTable.from_logits(["a", "b"], x, targets, "xy", split=split, run_id=name)
        ...     for split in ("test", "val")
        ...     for name, x in (("good", logits), ("bad", -logits))
        ... )
        >>> vote = calibrated_vote([good, bad], [val_good, val_bad], report=print)
        2 of 2 rows voted on are among those it was fitted on
        bad is at chance on validation and has no vote
    """
    return fit_per_fold(tables, validation, _fit_calibrated, report)


def greedy_vote(
    tables: Tables, validation: Tables, *, num_rounds: int = 20, report: Report = ignore
) -> PredictionTable:
    """Select members one at a time, with repetition: each time the one that helps most.

    Ensemble selection (Caruana et al., ICML 2004) of calibrated members by mean recall on
    validation, then by likelihood; the best of `num_rounds` rounds counts. Its logits are the
    logarithms of the averaged probabilities. Arguments and errors as `fit_per_fold`.

    Raises:
        PredictionError: `num_rounds` is less than 1.
    """
    if num_rounds < 1:
        raise PredictionError(f"ensemble.num_rounds={num_rounds}", expected="at least 1")
    return fit_per_fold(tables, validation, partial(_fit_greedy, num_rounds=num_rounds), report)


def _fit_weights(fold: ValidationFold) -> tuple[Combine, list[str]]:
    logs, targets = fold.logs, fold.targets
    weights, step = np.full(len(logs), 1 / len(logs)), 1.0
    lowest = loss(np.tensordot(weights, logs, axes=1), targets)
    of_targets = logs[:, np.arange(len(targets)), targets].mean(axis=1)
    for _ in range(NUM_STEPS):
        probabilities = special.softmax(np.tensordot(weights, logs, axes=1), axis=1)
        gradient = (probabilities * logs).sum(axis=2).mean(axis=1) - of_targets
        while step > EPS_NATS:  # projected on weights that are not negative
            candidate = np.maximum(weights - step * gradient, 0)
            reached = loss(np.tensordot(candidate, logs, axes=1), targets)
            if reached <= lowest:
                weights, lowest, step = candidate, reached, step * 2
                break
            step /= 2
    total = max(weights.sum(), 1e-12)
    shown = (f"{name} {w / total:.2f}" for name, w in zip(fold.names, weights, strict=True))
    return (
        lambda logs: special.log_softmax(np.tensordot(weights, logs, axes=1), axis=-1),
        [f"weights {', '.join(shown)}"],
    )


def _fit_calibrated(fold: ValidationFold) -> tuple[Combine, list[str]]:
    temperatures, gains = _temperatures(fold)
    able = np.argsort(-gains, kind="stable")[:MAX_MEMBERS]
    able = able[gains[able] > EPS_NATS] if gains.max() > EPS_NATS else able
    sizes = range(1, len(able) + 1)
    subsets = [list(s) for s in chain.from_iterable(combinations(able, size) for size in sizes)]
    calibrated = _apply_temperature(fold.logs, temperatures)
    finals, evidence = np.transpose(
        [temperature(calibrated[subset].sum(axis=0), fold.targets) for subset in subsets]
    )
    penalties = np.array([len(subset) for subset in subsets]) * np.log(len(fold.targets)) / 2
    evidence = evidence - penalties
    weights = np.exp(evidence - evidence.max())
    weights = np.where(weights < MIN_WEIGHT, 0, weights) / weights[weights >= MIN_WEIGHT].sum()

    def combine(logs: Logs) -> np.ndarray:
        scaled = _apply_temperature(logs, temperatures)
        products = [
            special.log_softmax(scaled[subset].sum(axis=0) / final, axis=-1)
            for subset, final in zip(subsets, finals, strict=True)
        ]
        return safe_log(np.tensordot(weights, np.exp(products), axes=1))

    is_member = np.array([[member in s for member in range(len(gains))] for s in subsets])
    return combine, _messages(fold.names, gains, weights @ is_member)


def _messages(names: Sequence[str], gains: PerMember, probabilities: PerMember) -> list[str]:
    messages = [] if gains.max() > EPS_NATS else ["no member is above chance on validation"]
    for name, gain, probability in zip(names, gains, probabilities, strict=True):
        if not probability:
            why = "adds nothing to the others" if gain > EPS_NATS else "is at chance"
            messages.append(f"{name} {why} on validation and has no vote")
        elif probability < 1 - MIN_WEIGHT:
            messages.append(f"{name} helps with a probability of {probability:.1f}")
    return messages


def _fit_greedy(fold: ValidationFold, *, num_rounds: int) -> tuple[Combine, list[str]]:
    temperatures, _ = _temperatures(fold)
    probabilities = np.exp(_apply_temperature(fold.logs, temperatures))
    choices = np.eye(len(fold.logs))
    counts, best, highest = np.zeros(len(choices)), choices[0], (-1.0, 0.0)
    for _ in range(num_rounds):
        objectives = [
            _objective(np.tensordot(counts + choice, probabilities, axes=1), fold.targets)
            for choice in choices
        ]
        chosen = max(range(len(choices)), key=lambda index: objectives[index])
        counts = counts + choices[chosen]
        if objectives[chosen] > highest:
            best, highest = counts, objectives[chosen]
    weights = best / best.sum()
    shown = (f"{name} {count:.0f} times" for name, count in zip(fold.names, best, strict=True))

    def combine(logs: Logs) -> np.ndarray:
        return safe_log(
            np.tensordot(weights, np.exp(_apply_temperature(logs, temperatures)), axes=1)
        )

    return combine, [f"selected {', '.join(shown)}"]


def _objective(probabilities: Logits, targets: Targets) -> tuple[float, float]:
    """Mean recall, then likelihood."""
    hits = probabilities.argmax(axis=1) == targets
    recall = np.mean([hits[targets == target].mean() for target in np.unique(targets)])
    return float(recall), -loss(safe_log(probabilities), targets)


def _temperatures(fold: ValidationFold) -> tuple[PerMember, PerMember]:
    fits = np.array([temperature(logs, fold.targets) for logs in fold.logs])
    return fits[:, 0], fits[:, 1]


def _apply_temperature(logs: Logs, temperatures: PerMember) -> Logs:
    return np.asarray(special.log_softmax(logs / temperatures[:, None, None], axis=-1))
