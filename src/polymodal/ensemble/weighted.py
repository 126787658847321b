"""Shallow fusion that learns from validation predictions how far to trust each member.

Legend: table = voters, utterance = rows, class = declared classes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, combinations

import numpy as np
from jaxtyping import Float

from polymodal.ensemble.align import safe_log
from polymodal.ensemble.calibration import (
    Combine,
    Logs,
    Shares,
    Targets,
    ValidationFold,
    fit_per_fold,
    log_softmax,
    loss,
    temperature,
)
from polymodal.errors import PredictionError
from polymodal.schemas.predictions import PredictionTable

Each = Float[np.ndarray, " table"]
NUM_STEPS = 200
MAX_SCALE = 8  # members of which all subsets are weighed
MIN_WEIGHT = 0.05  # of a vote
EPS_NATS = 1e-6  # nats


def weighted_vote(
    tables: Sequence[PredictionTable],
    validation: Sequence[PredictionTable],
    *,
    say: Callable[[str], None] = lambda words: None,
) -> PredictionTable:
    """Weighs log probabilities so that validation labels are most likely.

    A logarithmic pool (Genest and Zidek, 1986): the weights are not negative; their sum is the
    sharpness of the vote, and they are told as shares of it. The likelihood has one maximum. (A
    weighted mean of probabilities would end with one member alone where each knows something else.)

    Args:
        tables: Two or more tables; `join` says how their rows find each other.
        validation: Their validation tables, in the same order.
        say: Gets what was fitted, in words.

    Returns:
        A table sorted by id; its logits are logarithms of probabilities.

    Raises:
        PredictionError: The tables cannot be joined, are not over one class an utterance, or a fold
            has no labelled validation row.
    """
    return fit_per_fold(tables, validation, _fit_weights, say)


def calibrated_vote(
    tables: Sequence[PredictionTable],
    validation: Sequence[PredictionTable],
    *,
    say: Callable[[str], None] = lambda words: None,
) -> PredictionTable:
    """Multiplies calibrated probabilities, of the members of which validation says that they help.

    Each member's logits are divided by the temperature that makes validation labels most likely
    (Guo et al., ICML 2017); one that is then no better than guessing has no vote. The calibrated
    ones are multiplied (Hinton, 2002), with one more temperature for the product. Whose product?
    All subsets of the members (of more than eight, the eight best) are averaged, each as likely as
    it makes the validation labels, less half the logarithm of their number a member (Schwarz, 1978;
    Hoeting et al., 1999). So few rows do not decide by a hair that a useful member goes or a
    useless one stays.

    Args:
        tables: Two or more tables; `join` says how their rows find each other.
        validation: Their validation tables, in the same order.
        say: Gets which members have no vote or an unsure one, in words.

    Returns:
        A table sorted by id; its logits are logarithms of probabilities.

    Raises:
        PredictionError: The tables cannot be joined, are not over one class an utterance, or a fold
            has no labelled validation row.
    """
    return fit_per_fold(tables, validation, _fit_calibrated, say)


def greedy_vote(
    tables: Sequence[PredictionTable],
    validation: Sequence[PredictionTable],
    *,
    num_rounds: int = 20,
    say: Callable[[str], None] = lambda words: None,
) -> PredictionTable:
    """Selects members one at a time, with repetition, each the one that helps most on validation.

    Ensemble selection (Caruana et al., ICML 2004) of calibrated members by mean recall, then by the
    likelihood of the validation labels; the best of all rounds counts.

    Args:
        tables: Two or more tables; `join` says how their rows find each other.
        validation: Their validation tables, in the same order.
        num_rounds: Number of members to select.
        say: Gets what was selected, in words.

    Returns:
        A table sorted by id; its logits are logarithms of the averaged probabilities.

    Raises:
        PredictionError: The tables cannot be joined, are not over one class an utterance, a fold
            has no labelled validation row, or there is no round.
    """
    if num_rounds < 1:
        raise PredictionError(f"voting.num_rounds={num_rounds}", expected="at least 1")
    return fit_per_fold(tables, validation, partial(_fit_greedy, num_rounds=num_rounds), say)


def _fit_weights(known: ValidationFold) -> tuple[Combine, list[str]]:
    logs, targets = known.logs, known.targets
    weights, step = np.full(len(logs), 1 / len(logs)), 1.0
    lowest = loss(np.tensordot(weights, logs, axes=1), targets)
    for _ in range(NUM_STEPS):
        shares = np.exp(log_softmax(np.tensordot(weights, logs, axes=1)))
        said = logs[:, np.arange(len(targets)), targets].mean(axis=1)
        slope = (shares * logs).sum(axis=2).mean(axis=1) - said
        while step > EPS_NATS:  # downhill, as far as weights stay positive
            tried = np.maximum(weights - step * slope, 0)
            if (reached := loss(np.tensordot(tried, logs, axes=1), targets)) <= lowest:
                weights, lowest, step = tried, reached, step * 2
                break
            step /= 2
    total = max(weights.sum(), 1e-12)
    shown = (f"{name} {one / total:.2f}" for name, one in zip(known.names, weights, strict=True))
    return (
        lambda other: log_softmax(np.tensordot(weights, other, axes=1)),
        [f"weights {', '.join(shown)}"],
    )


def _fit_calibrated(known: ValidationFold) -> tuple[Combine, list[str]]:
    temperatures, gains = _temperatures(known)
    able = np.argsort(-gains, kind="stable")[:MAX_SCALE]
    able = able[gains[able] > EPS_NATS] if gains.max() > EPS_NATS else able
    subsets = [list(one) for one in chain(*(combinations(able, k + 1) for k in range(len(able))))]
    calibrated = _apply_temperature(known.logs, temperatures)
    finals, weighed = np.transpose(
        [temperature(calibrated[one].sum(axis=0), known.targets) for one in subsets]
    )
    weighed = weighed - np.array([len(one) for one in subsets]) * np.log(len(known.targets)) / 2
    shares = np.exp(weighed - weighed.max())
    shares = np.where(shares < MIN_WEIGHT, 0, shares) / shares[shares >= MIN_WEIGHT].sum()

    def combine(other: Logs) -> np.ndarray:
        cooled = _apply_temperature(other, temperatures)
        each = [
            log_softmax(cooled[s].sum(axis=0) / t) for s, t in zip(subsets, finals, strict=True)
        ]
        return safe_log(np.tensordot(shares, np.exp(each), axes=1))

    votes = np.array([[place in one for place in range(len(gains))] for one in subsets])
    return combine, _found(known.names, gains, shares @ votes)


def _found(names: Sequence[str], gains: Each, helps: Each) -> list[str]:
    """Which members have no vote, or one that is unsure."""
    found = [] if gains.max() > EPS_NATS else ["no member is above chance on validation"]
    for name, gain, share in zip(names, gains, helps, strict=True):
        if not share:
            why = "adds nothing to the others" if gain > EPS_NATS else "is at chance"
            found.append(f"{name} {why} on validation and has no vote")
        elif share < 1 - MIN_WEIGHT:
            found.append(f"{name} helps with a probability of {share:.1f}")
    return found


def _fit_greedy(known: ValidationFold, *, num_rounds: int) -> tuple[Combine, list[str]]:
    temperatures, _ = _temperatures(known)
    shares, ones = np.exp(_apply_temperature(known.logs, temperatures)), np.eye(len(known.logs))
    counts, best, reached = np.zeros(len(ones)), ones[0], (-1.0, 0.0)
    for _ in range(num_rounds):
        tried = [
            _selection_objective(np.tensordot(counts + one, shares, axes=1), known.targets)
            for one in ones
        ]
        chosen = max(range(len(ones)), key=lambda place: tried[place])
        counts = counts + ones[chosen]
        if tried[chosen] > reached:
            best, reached = counts, tried[chosen]
    weights = best / best.sum()
    shown = (f"{name} {count:.0f} times" for name, count in zip(known.names, best, strict=True))

    def combine(other: Logs) -> np.ndarray:
        cooled = np.exp(_apply_temperature(other, temperatures))
        return safe_log(np.tensordot(weights, cooled, axes=1))

    return combine, [f"selected {', '.join(shown)}"]


def _selection_objective(shares: Shares, targets: Targets) -> tuple[float, float]:
    """Mean recall, then likelihood: what a selection is judged by."""
    hits = shares.argmax(axis=1) == targets
    recall = np.mean([hits[targets == one].mean() for one in np.unique(targets)])
    return float(recall), -loss(safe_log(shares), targets)


def _temperatures(known: ValidationFold) -> tuple[Each, Each]:
    """The temperature of each member, and what its calibrated probabilities gain on guessing."""
    found = np.array([temperature(one, known.targets) for one in known.logs])
    return found[:, 0], found[:, 1]


def _apply_temperature(logs: Logs, temperatures: Each) -> Logs:
    return log_softmax(logs / temperatures[:, None, None])
