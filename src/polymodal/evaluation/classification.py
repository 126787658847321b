"""Scores of class predictions, each computed once over all rows and over the declared classes.

A class without an utterance counts with a recall and an F1 of 0: a mean over the classes that occur
would rise when a class goes missing. No score is a mean over batches, so neither the batch size nor
the number of devices moves it.

Legend: utterance = rows, class = declared classes; draw = confusion matrices, of which the row is
the true and the column the predicted class.
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from polymodal.errors import PredictionError
from polymodal.evaluation.confusion import check_indices, confusion_matrix

Logits = Float[np.ndarray, "utterance class"]
Targets = Int[np.ndarray, " utterance"]
Matrices = Float[np.ndarray, "draw true predicted"]


@runtime_checkable
class Score(Protocol):
    """A function of predictions and targets to one number.

    An attribute `reads` names its inputs: `classes` (the default: logits `[utterance, class]` and
    indices `[utterance]`), `values` (predicted and true values of one target dimension, both
    `[utterance]`) or `labels` (logits and booleans, both `[utterance, label]`).
    """

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is the better one."""

    def __call__(self, logits: Any, targets: Any, /) -> float:
        """Return the score of all rows."""


class MatrixScore(ABC):
    """A score of the confusion matrix."""

    higher_is_better = True

    def __call__(self, logits: Logits, targets: Targets) -> float:
        """Return the score of all rows.

        Raises:
            PredictionError: There is no row, a logit is not finite, or a target is not a class.
        """
        _check(logits, targets)
        matrix = confusion_matrix(logits.argmax(axis=1), targets, logits.shape[1])
        return float(self.of_matrices(matrix[None].astype(np.float64))[0])

    @abstractmethod
    def of_matrices(self, matrices: Matrices) -> Float[np.ndarray, " draw"]:
        """Return the score of each confusion matrix."""


class Accuracy(MatrixScore):
    """Fraction of the utterances whose class is predicted (weighted accuracy in speech emotion).

    Example:
        >>> Accuracy()(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]))
        0.5
    """

    def of_matrices(self, matrices: Matrices) -> Float[np.ndarray, " draw"]:
        """Return the accuracies."""
        return np.asarray(_hits(matrices).sum(axis=1) / matrices.sum(axis=(1, 2)))


class UnweightedAverageRecall(MatrixScore):
    r"""Mean recall of the declared classes (UAR; Schuller et al., INTERSPEECH 2009 challenge).

    .. math:: \frac{1}{K} \sum_{k=1}^{K} \frac{TP_k}{TP_k + FN_k}

    Example:
        >>> UnweightedAverageRecall()(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]))
        0.25
    """

    def of_matrices(self, matrices: Matrices) -> Float[np.ndarray, " draw"]:
        """Return the mean recalls."""
        return np.asarray(np.mean(_hits(matrices) / np.maximum(matrices.sum(axis=2), 1), axis=1))


class MacroF1(MatrixScore):
    r"""Mean F1 of the declared classes.

    .. math:: \frac{1}{K} \sum_{k=1}^{K} \frac{2 TP_k}{2 TP_k + FP_k + FN_k}

    Example:
        >>> round(MacroF1()(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0])), 4)
        0.3333
    """

    def of_matrices(self, matrices: Matrices) -> Float[np.ndarray, " draw"]:
        """Return the mean F1s."""
        return np.asarray(np.mean(_f1s(matrices), axis=1))


class WeightedF1(MatrixScore):
    """Mean F1 of the classes, weighted by their number of utterances.

    Example:
        >>> round(WeightedF1()(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0])), 4)
        0.6667
    """

    def of_matrices(self, matrices: Matrices) -> Float[np.ndarray, " draw"]:
        """Return the weighted F1s."""
        return np.asarray(np.average(_f1s(matrices), axis=1, weights=matrices.sum(axis=2)))


class ExpectedCalibrationError:
    r"""Mean distance of confidence from accuracy (ECE; Guo et al., ICML 2017, arXiv 1706.04599).

    .. math:: \sum_b \frac{n_b}{n} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

    The confidence, the largest probability, is divided into `num_bins` bins of equal width.

    Example:
        >>> round(ExpectedCalibrationError()(np.array([[9.0, -9.0]]), np.array([1])), 4)
        1.0
    """

    higher_is_better = False

    def __init__(self, num_bins: int = 15) -> None:
        self.num_bins = num_bins

    def __call__(self, logits: Logits, targets: Targets) -> float:
        """Return the calibration error."""
        _check(logits, targets)
        confidence = np.exp(log_softmax(logits).max(axis=1))
        gaps = confidence - (logits.argmax(axis=1) == targets)
        bins = np.minimum((confidence * self.num_bins).astype(np.int64), self.num_bins - 1)
        return float(np.abs(np.bincount(bins, weights=gaps)).sum() / len(targets))


class CrossEntropy:
    """Mean negative log probability of the true class, in nats.

    Example:
        >>> round(CrossEntropy()(np.array([[1.0, 1.0]]), np.array([0])), 4)
        0.6931
    """

    higher_is_better = False

    def __call__(self, logits: Logits, targets: Targets) -> float:
        """Return the cross-entropy."""
        _check(logits, targets)
        return float(-log_softmax(logits)[np.arange(len(targets)), targets].mean())


def log_softmax(logits: Logits) -> Logits:
    """Return the log probabilities, `[utterance, class]`, in double precision.

    Example:
        >>> np.exp(log_softmax(np.log(np.array([[1.0, 3.0]])))).round(2).tolist()
        [[0.25, 0.75]]
    """
    return np.asarray(special.log_softmax(logits.astype(np.float64), axis=1))


def _hits(matrices: Matrices) -> Float[np.ndarray, "draw true"]:
    return np.diagonal(matrices, axis1=1, axis2=2)


def _f1s(matrices: Matrices) -> Float[np.ndarray, "draw true"]:
    either = matrices.sum(axis=1) + matrices.sum(axis=2)
    return np.asarray(2 * _hits(matrices) / np.maximum(either, 1))


def _check(logits: Logits, targets: Targets) -> None:
    if len(targets) == 0:
        raise PredictionError("there is no labelled utterance to score")
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if wrong.size:
        raise PredictionError(
            f"the logits of {wrong.size} of {len(logits)} utterances are not finite, "
            f"the first in row {wrong[0]}",
            hint="lower the learning rate, or use trainer.precision=32",
        )
    check_indices("target", targets, logits.shape[1])
