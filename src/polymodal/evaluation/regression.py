"""Scores of predicted values such as valence and arousal, for one target dimension at a time.

Legend: utterance = rows of a prediction table whose target is known.
"""

import numpy as np
from jaxtyping import Float

from polymodal.errors import PredictionError

Values = Float[np.ndarray, " utterance"]


class ConcordanceCorrelation:
    r"""Concordance correlation coefficient (CCC; Lin, Biometrics 1989), from -1 to 1.

    .. math:: \frac{2 \sigma_{xy}}{\sigma_x^2 + \sigma_y^2 + (\mu_x - \mu_y)^2}

    Unlike Pearson's it falls when the mean or the scale is off. Two equal constants score 1, two
    different ones 0.

    Example:
        >>> ccc = ConcordanceCorrelation()
        >>> round(ccc(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0])), 4)
        0.5714
    """

    reads = "values"
    higher_is_better = True

    def __call__(self, values: Values, targets: Values) -> float:
        """Return the coefficient of predicted and true values.

        Raises:
            PredictionError: There is no utterance, or a value is not finite.
        """
        _check(values, targets)
        covariance = np.mean((values - values.mean()) * (targets - targets.mean()))
        spread = values.var() + targets.var() + (values.mean() - targets.mean()) ** 2
        return float(2 * covariance / spread) if spread else 1.0


class PearsonCorrelation:
    """Pearson's correlation; 0 if the predicted or the true values are constant.

    Example:
        >>> round(PearsonCorrelation()(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0])), 4)
        1.0
    """

    reads = "values"
    higher_is_better = True

    def __call__(self, values: Values, targets: Values) -> float:
        """Return the correlation; arguments and errors as `ConcordanceCorrelation`."""
        _check(values, targets)
        spread = values.std() * targets.std()
        covariance = np.mean((values - values.mean()) * (targets - targets.mean()))
        return float(covariance / spread) if spread else 0.0


class RootMeanSquaredError:
    """Root of the mean squared error, in the unit of the target dimension.

    Example:
        >>> RootMeanSquaredError()(np.array([1.0, 2.0]), np.array([4.0, 5.0]))
        3.0
    """

    reads = "values"
    higher_is_better = False

    def __call__(self, values: Values, targets: Values) -> float:
        """Return the error; arguments and errors as `ConcordanceCorrelation`."""
        _check(values, targets)
        return float(np.sqrt(np.mean((values - targets) ** 2)))


def _check(values: Values, targets: Values) -> None:
    if len(values) == 0:
        raise PredictionError("there is no utterance with a known value to score")
    if not (np.isfinite(values).all() and np.isfinite(targets).all()):
        raise PredictionError(
            "a predicted or true value is not finite",
            hint="lower the learning rate, or use trainer.precision=32",
        )
