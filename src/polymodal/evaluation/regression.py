"""Scores of predicted numbers, such as valence and arousal, each for one value at a time.

Legend: utterance = rows of a prediction table where the value is known.
"""

import numpy as np
from jaxtyping import Float

from polymodal.errors import PredictionError

Values = Float[np.ndarray, " utterance"]


class ConcordanceCorrelation:
    """Concordance correlation coefficient (CCC; Lin, Biometrics 1989): agreement, 1 at best.

    Unlike Pearson's it falls when the mean or the scale is off. Two constants agree if they are
    equal (1), otherwise not at all (0).

    Example:
        >>> ccc = ConcordanceCorrelation()
        >>> round(ccc(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0])), 4)
        0.5714
    """

    reads = "values"
    higher_is_better = True

    def __call__(self, values: Values, targets: Values) -> float:
        """Returns the coefficient.

        Args:
            values: What was predicted, `[utterance]`.
            targets: What is true, `[utterance]`.

        Returns:
            From -1 to 1.

        Raises:
            PredictionError: There is no utterance, or a number is not finite.
        """
        _check(values, targets)
        covariance = np.mean((values - values.mean()) * (targets - targets.mean()))
        spread = values.var() + targets.var() + (values.mean() - targets.mean()) ** 2
        return float(2 * covariance / spread) if spread else 1.0


class PearsonCorrelation:
    """Pearson's correlation; 0 where one side is constant.

    Example:
        >>> round(PearsonCorrelation()(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0])), 4)
        1.0
    """

    reads = "values"
    higher_is_better = True

    def __call__(self, values: Values, targets: Values) -> float:
        """Returns the correlation, with arguments and errors of `ConcordanceCorrelation`."""
        _check(values, targets)
        spread = values.std() * targets.std()
        covariance = np.mean((values - values.mean()) * (targets - targets.mean()))
        return float(covariance / spread) if spread else 0.0


class RootMeanSquaredError:
    """Root of the mean squared error, in the unit of the value.

    Example:
        >>> RootMeanSquaredError()(np.array([1.0, 2.0]), np.array([4.0, 5.0]))
        3.0
    """

    reads = "values"
    higher_is_better = False

    def __call__(self, values: Values, targets: Values) -> float:
        """Returns the error, with arguments and errors of `ConcordanceCorrelation`."""
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
