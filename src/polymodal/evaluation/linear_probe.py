"""A linear probe: how well a linear model predicts classes from features (Alain and Bengio, 2016).

Legend: row = utterances, feature = columns, class = declared classes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize

from polymodal.evaluation.classification import log_softmax
from polymodal.evaluation.components import PrincipalComponents

Rows = Float[np.ndarray, "row feature"]
# Of the squared weights, relative to the mean loss. So strong that the probe hardly overfits: on
# 450 rows of 64 features, with test rows of the same distribution, it reached .93 on train and
# .92 on test; with 0.01 it reached 1.00 and .89.
PENALTY = 1.0
MAX_STEPS = 200
MAX_SLOPE = 1e-5  # of the objective, in coordinates where the curvature is at most 1


@dataclass(frozen=True)
class LinearProbe:
    """A fitted linear model of the classes."""

    weights: Float[np.ndarray, "feature class"]
    bias: Float[np.ndarray, " class"]  # -inf for a class without a row

    def predict(self, features: Rows) -> Int[np.ndarray, " row"]:
        """Return the index of the most probable class of each row."""
        return np.asarray((features @ self.weights + self.bias).argmax(axis=1))


def fit_linear_probe(
    features: Rows,
    targets: Int[np.ndarray, " row"],
    num_classes: int,
    components: PrincipalComponents,
) -> LinearProbe:
    r"""Fit a multinomial logistic regression with an L2 penalty and balanced classes.

    By L-BFGS it minimises

    .. math:: \frac{1}{n} \sum_i \frac{n}{K n_{y_i}} \left(-\log p_{y_i}(x_i)\right)
              + \frac{\lambda}{2} \lVert W \rVert^2

    with :math:`\lambda` = `PENALTY`, :math:`n_y` rows of class :math:`y` and :math:`K` classes that
    occur. The bias is not penalised. The minimum is unique; the components only give coordinates of
    similar curvature, so that few steps are needed.

    `features` are centred, finite and float64, at least one row; `components` are theirs.

    Example:
        >>> from polymodal.evaluation.components import principal_components
        >>> features, targets = np.array([[-1.0], [1.0]]), np.array([0, 1])
        >>> probe = fit_linear_probe(features, targets, 2, principal_components(features))
        >>> probe.predict(features).tolist()
        [0, 1]
    """
    present, labels, counts = np.unique(targets, return_inverse=True, return_counts=True)
    num_rows, num_present = len(targets), len(present)
    basis = components.directions / np.sqrt(components.variances / 4 + PENALTY)
    importance = 1 / (num_present * counts[labels])  # sums to 1
    penalty = PENALTY / (components.variances / 4 + PENALTY)
    rows = np.arange(num_rows)

    def objective(flat: Float[np.ndarray, " parameter"]) -> tuple[float, Float[np.ndarray, "_"]]:
        scaled, bias = _unpacked(flat, num_present)
        logs = log_softmax(features @ (basis @ scaled) + bias)
        errors = np.exp(logs)
        errors[rows, labels] -= 1
        errors *= importance[:, None]
        value = -importance @ logs[rows, labels] + (penalty @ np.square(scaled)).sum() / 2
        gradient = basis.T @ (errors.T @ features).T + penalty[:, None] * scaled
        return float(value), np.concatenate([gradient.ravel(), errors.sum(axis=0)])

    result = minimize(
        objective,
        np.zeros((basis.shape[1] + 1) * num_present),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_STEPS, "gtol": MAX_SLOPE, "ftol": 1e-10},
    )
    scaled, bias = _unpacked(result.x, num_present)
    weights, biases = np.zeros((features.shape[1], num_classes)), np.full(num_classes, -np.inf)
    weights[:, present], biases[present] = basis @ scaled, bias
    return LinearProbe(weights, biases)


def _unpacked(
    flat: Float[np.ndarray, " parameter"], num_classes: int
) -> tuple[Float[np.ndarray, "component class"], Float[np.ndarray, " class"]]:
    return flat[:-num_classes].reshape(-1, num_classes), flat[-num_classes:]
