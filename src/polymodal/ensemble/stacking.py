"""Stacking: a regression on the members' probabilities, regularised towards their product.

Legend: table = members, utterance = rows, feature = classes x members + 1, class = declared
classes, parameter = weights, flattened.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float, Int
from scipy import special
from scipy.optimize import minimize

from polymodal.ensemble.calibration import (
    Combine,
    Groups,
    Logs,
    Report,
    Tables,
    Targets,
    ValidationFold,
    fit_per_fold,
    ignore,
    temperature,
)
from polymodal.schemas.predictions import PredictionTable

Features = Float[np.ndarray, "utterance feature"]
Weights = Float[np.ndarray, "feature class"]
Column = Float[np.ndarray, "table 1"]
# Regularisation of one weight for each member, and of one for each member and pair of classes.
# Among those that inner folds cannot tell apart, the first is chosen.
Strengths = tuple[float, float]
PATH: tuple[Strengths, ...] = (
    (np.inf, np.inf),
    *((strength, np.inf) for strength in (1.0, 0.1, 0.01)),
    *((0.01, strength) for strength in (10.0, 1.0, 0.1, 0.01)),
)
NUM_INNER = 5
FEW = 10  # rows: with fewer the product is taken, with as many two standard errors are needed
MAX_STEPS = 500
TOLERANCE = 1e-8  # of the gradient


def stacked_vote(tables: Tables, validation: Tables, *, report: Report = ignore) -> PredictionTable:
    """Fit a multinomial logistic regression of the labels on the members' log probabilities.

    Stacked generalization (Wolpert, 1992; of probabilities: Ting and Witten, 1999). As in stacked
    regressions (Breiman, 1996) it is regularised; here towards the product of the members at its
    best temperature, so that few rows change little. The strength is chosen on inner folds of the
    validation rows, which share no speaker (no utterance, where speakers are unknown or one): the
    first of `PATH` that is not worse than the best by more than one standard error, or by two where
    rows are few. Arguments and errors as `fit_per_fold`.
    """
    return fit_per_fold(tables, validation, _fit_stacked, report)


def _fit_stacked(fold: ValidationFold) -> tuple[Combine, list[str]]:
    strengths = _choose_strengths(fold.logs, fold.targets, fold.groups)
    per_member, per_class = np.isfinite(strengths)
    message = "nothing is significantly better than the product, which is taken"
    if per_class:
        message = f"each member has weights for each class, regularised by {strengths[1]:.2g}"
    elif per_member:
        message = f"each member has one weight, regularised by {strengths[0]:.2g}"
    return next(_fits(fold.logs, fold.targets, [strengths])), [message]


def _choose_strengths(logs: Logs, targets: Targets, groups: Groups) -> Strengths:
    num, inner = len(targets), inner_folds(groups)
    if num < FEW or inner.max() == 0:
        return PATH[0]
    losses = np.empty((len(PATH), num))
    for fold in range(inner.max() + 1):
        out, fitted = inner == fold, inner != fold
        fits = _fits(logs[:, fitted], targets[fitted], PATH)
        for row, combine in zip(losses, fits, strict=True):
            row[out] = -combine(logs[:, out])[np.arange(out.sum()), targets[out]]
    _, indices = np.unique(groups, return_inverse=True)
    gaps = losses - losses[losses.mean(axis=1).argmin()]
    by_group = np.stack([np.bincount(indices, gap) for gap in gaps])
    error = np.sqrt(by_group.shape[1] * by_group.var(axis=1, ddof=1))  # of the sum over groups
    return PATH[int((by_group.sum(axis=1) <= (1 + FEW / num) * error).argmax())]


def inner_folds(groups: Groups) -> Int[np.ndarray, " utterance"]:
    """Assign rows to up to five folds that share no group, whatever the order of the rows.

    Example:
        >>> inner_folds(np.array(["a", "b", "a", "c"])).tolist()
        [2, 1, 2, 0]
    """
    names, indices = np.unique(groups, return_inverse=True)
    hashes = [hashlib.sha256(str(name).encode()).digest() for name in names]
    order = sorted(range(len(names)), key=hashes.__getitem__)
    folds = np.empty(len(names), dtype=np.int64)
    folds[order] = np.arange(len(names)) % NUM_INNER
    return folds[indices]


def _fits(logs: Logs, targets: Targets, path: Sequence[Strengths]) -> Iterator[Combine]:
    """Yield one vote for each entry of a path."""
    # Members of large logits are scaled down, so that regularisation treats all alike.
    scales = np.sqrt(np.square(_centred(logs)).mean(axis=(1, 2)))
    scales = np.where(scales > 1e-9, scales, 1.0)
    scaled, features = _centred(logs) / scales[:, None, None], _features(logs, scales)
    product = scales[:, None] / temperature(logs.sum(axis=0), targets)[0]
    for of_members, of_classes in path:
        members = product
        if np.isfinite(of_members):
            members = _fit_member_weights(scaled, targets, product, of_members)
        num_classes = logs.shape[2]
        weights = np.vstack([np.kron(members, np.eye(num_classes)), np.zeros((1, num_classes))])
        if np.isfinite(of_classes):
            weights = regression(features, targets, weights, of_classes)
        yield partial(_combine, scales=scales, weights=weights)


def _fit_member_weights(scaled: Logs, targets: Targets, centre: Column, strength: float) -> Column:
    return _regularised(
        lambda weights: np.tensordot(weights[:, 0], scaled, axes=1),
        lambda errors: (scaled * errors).sum(axis=(1, 2))[:, None],
        np.tensordot(scaled, scaled, axes=((1, 2), (1, 2))),
        targets,
        centre,
        strength,
    )


def _combine(logs: Logs, scales: Float[np.ndarray, " table"], weights: Weights) -> np.ndarray:
    return np.asarray(special.log_softmax(_features(logs, scales) @ weights, axis=-1))


def _features(logs: Logs, scales: Float[np.ndarray, " table"]) -> Features:
    scaled = np.concatenate(list(_centred(logs) / scales[:, None, None]), axis=1)
    return np.hstack([scaled, np.ones((len(scaled), 1))])


def _centred(logs: Logs) -> Logs:
    return np.asarray(logs - logs.mean(axis=2, keepdims=True))


def regression(features: Features, targets: Targets, centre: Weights, strength: float) -> Weights:
    r"""Fit a multinomial logistic regression that is regularised towards given weights.

    By L-BFGS it minimises the mean cross-entropy plus

    .. math:: \frac{\lambda}{2} \lVert W - W_0 \rVert^2

    with :math:`\lambda` = `strength` above 0 and :math:`W_0` = `centre`. The minimum is unique.

    Example:
        >>> features, targets = np.array([[-1.0], [1.0]]), np.array([0, 1])
        >>> regression(features, targets, np.zeros((1, 2)), strength=0.5).round(3).tolist()
        [[-0.521, 0.521]]
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
    forward: Callable[[Weights], np.ndarray],
    backward: Callable[[np.ndarray], Weights],
    products: Float[np.ndarray, "feature feature"],
    targets: Targets,
    centre: Weights,
    strength: float,
) -> Weights:
    """Fit a regression, given its linear map, the transpose of the map, and their product."""
    num, rows = len(targets), np.arange(len(targets))
    # Steps are taken in coordinates where the curvature is at most 1 (Boehning, 1992).
    curvature = products / (2 * num) + strength * np.eye(len(products))
    basis = np.linalg.inv(np.linalg.cholesky(curvature)).T

    def objective(flat: Float[np.ndarray, " parameter"]) -> tuple[float, np.ndarray]:
        offset = basis @ flat.reshape(centre.shape)
        logs = special.log_softmax(forward(centre + offset), axis=-1)
        errors = np.exp(logs)
        errors[rows, targets] -= 1
        value = -logs[rows, targets].mean() + strength / 2 * np.square(offset).sum()
        gradient = backward(errors) / num + strength * offset
        return float(value), (basis.T @ gradient).ravel()

    result = minimize(
        objective,
        np.zeros(centre.size),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_STEPS, "maxfun": 2 * MAX_STEPS, "gtol": TOLERANCE, "ftol": 0.0},
    )
    return np.asarray(centre + basis @ result.x.reshape(centre.shape))
