"""Stacking: a model of the members' probabilities, held back towards their plain product.

Legend: utterance = rows, feature = classes x members + 1, class = declared classes.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from polymodal.ensemble.calibration import (
    Combine,
    Groups,
    Logs,
    Targets,
    ValidationFold,
    fit_per_fold,
    log_softmax,
    temperature,
)
from polymodal.schemas.predictions import PredictionTable

Features = Float[np.ndarray, "utterance feature"]
Weights = Float[np.ndarray, "feature class"]
Column = Float[np.ndarray, "table 1"]
# How strongly the members' weights are held back, and those of single classes: from the product
# over one weight a member to a weight for each pair of classes. Of those that inner folds cannot
# tell apart, the first is taken.
Strengths = tuple[float, float]
PATH: tuple[Strengths, ...] = (
    (np.inf, np.inf),
    *((one, np.inf) for one in (1.0, 0.1, 0.01)),
    *((0.01, one) for one in (10.0, 1.0, 0.1, 0.01)),
)
NUM_INNER = 5
FEW = 10  # rows: with fewer the product is taken, with as many two standard errors are asked for
NUM_STEPS = 500
TOLERANCE = 1e-8
MEMORY = 10  # steps from which L-BFGS learns the curvature


def stacked_vote(
    tables: Sequence[PredictionTable],
    validation: Sequence[PredictionTable],
    *,
    say: Callable[[str], None] = lambda words: None,
) -> PredictionTable:
    """Learns from validation rows how the members' probabilities become those of the classes.

    Stacked generalization (Wolpert, 1992; of probabilities: Ting and Witten, 1999): a multinomial
    logistic regression on the members' log probabilities. As stacked regressions (Breiman, 1996)
    it is held back; here towards the product of the members at the temperature that fits best, so
    that few rows change little. How strongly, inner folds of the validation rows say, which share
    no speaker (no utterance, where speakers are unknown or one): the first of `PATH` that is not
    worse than the best by more than one standard error, or by two where rows are few.

    Args:
        tables: Two or more tables; `join` says how their rows find each other.
        validation: Their validation tables, in the same order.
        say: Gets what was chosen, in words.

    Returns:
        A table sorted by id; its logits are logarithms of probabilities.

    Raises:
        PredictionError: The tables cannot be joined, are not over one class an utterance, or a fold
            has no labelled validation row.
    """
    return fit_per_fold(tables, validation, _fit_stacked, say)


def _fit_stacked(known: ValidationFold) -> tuple[Combine, list[str]]:
    strengths = _chosen(known.logs, known.targets, known.groups)
    members, classes = np.isfinite(strengths)
    found = "nothing is surely better than the product, which is taken"
    if classes:
        found = f"each member has weights for each class, held back by {strengths[1]:.2g}"
    elif members:
        found = f"each member has one weight, held back by {strengths[0]:.2g}"
    return next(_fits(known.logs, known.targets, [strengths])), [found]


def _chosen(logs: Logs, targets: Targets, groups: Groups) -> Strengths:
    """The first of the path that is as good as the best on rows of other groups."""
    num, inner = len(targets), inner_folds(groups)
    if num < FEW or inner.max() == 0:
        return PATH[0]
    losses = np.empty((len(PATH), num))
    for fold in range(inner.max() + 1):
        out, kept = inner == fold, inner != fold
        fits = _fits(logs[:, kept], targets[kept], PATH)
        for row, combine in zip(losses, fits, strict=True):
            row[out] = -combine(logs[:, out])[np.arange(out.sum()), targets[out]]
    _, places = np.unique(groups, return_inverse=True)
    worse = np.stack([np.bincount(places, one) for one in losses - losses[losses.mean(1).argmin()]])
    error = np.sqrt(worse.shape[1] * worse.var(axis=1, ddof=1))  # of the sum over groups
    return PATH[int((worse.sum(axis=1) <= (1 + FEW / num) * error).argmax())]


def inner_folds(groups: Groups) -> Int[np.ndarray, " utterance"]:
    """Parts rows into up to five folds that share no group, whatever the order of the rows.

    Args:
        groups: The group of each row.

    Returns:
        The fold of each row.

    Example:
        >>> inner_folds(np.array(["a", "b", "a", "c"])).tolist()
        [2, 1, 2, 0]
    """
    names, places = np.unique(groups, return_inverse=True)
    hashes = [hashlib.sha256(str(name).encode()).digest() for name in names]
    order = sorted(range(len(names)), key=hashes.__getitem__)
    folds = np.empty(len(names), dtype=np.int64)
    folds[order] = np.arange(len(names)) % NUM_INNER
    return folds[places]


def _fits(logs: Logs, targets: Targets, path: Sequence[Strengths]) -> Iterator[Combine]:
    """One vote for each entry of a path."""
    scales = np.sqrt(np.square(_centred(logs)).mean(axis=(1, 2)))  # loud members move as easily
    scales = np.where(scales > 1e-9, scales, 1.0)
    scaled, features = _centred(logs) / scales[:, None, None], _features(logs, scales)
    product = scales[:, None] / temperature(logs.sum(axis=0), targets)[0]
    for of_members, of_classes in path:
        each = product
        if np.isfinite(of_members):
            each = _weights_of_members(scaled, targets, product, of_members)
        weights = np.vstack([np.kron(each, np.eye(logs.shape[2])), np.zeros((1, logs.shape[2]))])
        if np.isfinite(of_classes):
            weights = regression(features, targets, weights, of_classes)
        yield partial(_combine, scales=scales, weights=weights)


def _weights_of_members(scaled: Logs, targets: Targets, centre: Column, strength: float) -> Column:
    return _regularised(
        lambda weights: np.tensordot(weights[:, 0], scaled, axes=1),
        lambda errors: (scaled * errors).sum(axis=(1, 2))[:, None],
        np.tensordot(scaled, scaled, axes=((1, 2), (1, 2))),
        targets,
        centre,
        strength,
    )


def _combine(logs: Logs, scales: Float[np.ndarray, " table"], weights: Weights) -> np.ndarray:
    return log_softmax(_features(logs, scales) @ weights)


def _features(logs: Logs, scales: Float[np.ndarray, " table"]) -> Features:
    scaled = np.concatenate(list(_centred(logs) / scales[:, None, None]), axis=1)
    return np.hstack([scaled, np.ones((len(scaled), 1))])


def _centred(logs: Logs) -> Logs:
    return np.asarray(logs - logs.mean(axis=2, keepdims=True))


def regression(features: Features, targets: Targets, centre: Weights, strength: float) -> Weights:
    """Fits a multinomial logistic regression that is held back towards given weights.

    It minimises the mean loss plus `strength / 2` times the squared distance from `centre`, which
    has one minimum, by L-BFGS (Liu and Nocedal, 1989) from the curvature's upper bound (Boehning,
    1992).

    Args:
        features: What is known of each utterance.
        targets: Index of the true class.
        centre: The weights that no evidence leaves as they are.
        strength: How strongly they are held back; above 0.

    Returns:
        The weights.
    """
    return _regularised(
        lambda weights: features @ weights,
        lambda errors: features.T @ errors,
        features.T @ features,
        targets,
        centre,
        strength,
    )


def _regularised(
    said_by: Callable[[Weights], np.ndarray],
    charged: Callable[[np.ndarray], Weights],
    products: Float[np.ndarray, "feature feature"],
    targets: Targets,
    centre: Weights,
    strength: float,
) -> Weights:
    """The weights of a regression by its linear map, the transpose of that, and their product."""
    num, rows = len(targets), np.arange(len(targets))

    def goal(weights: Weights) -> tuple[float, Weights]:
        said = log_softmax(said_by(weights))
        errors = np.exp(said)
        errors[rows, targets] -= 1
        away = weights - centre
        value = -said[rows, targets].mean() + strength / 2 * np.square(away).sum()
        return float(value), charged(errors) / num + strength * away

    inverse = np.linalg.inv(products / (2 * num) + strength * np.eye(len(products)))
    return _minimum(goal, centre, inverse)


def _minimum(
    goal: Callable[[Weights], tuple[float, Weights]],
    point: Weights,
    inverse: Float[np.ndarray, "feature feature"],
) -> Weights:
    steps: deque[tuple[Weights, Weights]] = deque(maxlen=MEMORY)
    value, slope = goal(point)
    for _ in range(NUM_STEPS):
        direction = _downhill(slope, steps, inverse)
        fall, size = float((slope * direction).sum()), 1.0
        if np.abs(slope).max() < TOLERANCE or fall > -(TOLERANCE**2):
            break
        while (tried := goal(point + size * direction))[0] > value + 1e-4 * size * fall:
            size /= 2
            if size < TOLERANCE:  # as exact as the value can be told
                return point
        step, change = size * direction, tried[1] - slope
        if (step * change).sum() > TOLERANCE * np.square(step).sum():  # more than rounding
            steps.append((step, change))
        point, (value, slope) = point + step, tried
    return point


def _downhill(
    slope: Weights,
    steps: Sequence[tuple[Weights, Weights]],
    inverse: Float[np.ndarray, "feature feature"],
) -> Weights:
    """The direction that the curvature along the last steps suggests."""
    turned, shares = slope.copy(), []
    for step, change in reversed(steps):
        shares.append(float((step * turned).sum() / (step * change).sum()))
        turned -= shares[-1] * change
    turned = inverse @ turned
    for (step, change), share in zip(steps, reversed(shares), strict=True):
        turned += (share - float((change * turned).sum() / (step * change).sum())) * step
    return np.asarray(-turned)
