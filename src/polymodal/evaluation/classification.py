"""Scores of a whole set of predictions at once, over the declared classes.

A class without an utterance counts with recall and F1 of 0 and is named by `absent_classes`: a mean
over the classes that happen to occur would rise when a class goes missing. No score is a mean of
scores of batches, so the batch size and the number of devices do not move it.

Legend: utterance = rows, class = declared classes.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from polymodal.errors import PredictionError
from polymodal.evaluation.confusion import confusion_matrix, recalls


@runtime_checkable
class Score(Protocol):
    """One number for a set of predictions.

    An attribute `reads` says of what: `classes` (the default), `values` (one value at a time, with
    its targets, both `[utterance]`) or `labels` (logits and yes or no, `[utterance, label]`).
    """

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is the better one."""

    def __call__(self, logits: Any, targets: Any, /) -> float:
        """Returns the score.

        Args:
            logits: One logit a declared class, `[utterance, class]`.
            targets: Index of the true class, `[utterance]`.

        Returns:
            The score.
        """


class Accuracy:
    """Share of the utterances whose class was recognised (weighted accuracy in speech emotion).

    Example:
        >>> Accuracy()(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]))
        0.5
    """

    higher_is_better = True

    def __call__(
        self, logits: Float[np.ndarray, "utterance class"], targets: Int[np.ndarray, " utterance"]
    ) -> float:
        """Returns the accuracy, as `Score` describes."""
        matrix = _matrix(logits, targets)
        return float(np.trace(matrix) / matrix.sum())


class UnweightedAverageRecall:
    """Mean recall of the declared classes (UAR; Schuller et al., INTERSPEECH 2009 challenge).

    Example:
        >>> UnweightedAverageRecall()(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]))
        0.25
    """

    higher_is_better = True

    def __call__(
        self, logits: Float[np.ndarray, "utterance class"], targets: Int[np.ndarray, " utterance"]
    ) -> float:
        """Returns the mean recall, as `Score` describes."""
        return float(recalls(_matrix(logits, targets)).mean())


class MacroF1:
    """Mean F1 of the declared classes: each the harmonic mean of its precision and recall.

    Example:
        >>> round(MacroF1()(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0])), 4)
        0.3333
    """

    higher_is_better = True

    def __call__(
        self, logits: Float[np.ndarray, "utterance class"], targets: Int[np.ndarray, " utterance"]
    ) -> float:
        """Returns the mean F1, as `Score` describes."""
        return float(_f1(_matrix(logits, targets)).mean())


class WeightedF1:
    """Mean F1 of the classes, weighted by their number of utterances.

    Example:
        >>> round(WeightedF1()(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0])), 4)
        0.6667
    """

    higher_is_better = True

    def __call__(
        self, logits: Float[np.ndarray, "utterance class"], targets: Int[np.ndarray, " utterance"]
    ) -> float:
        """Returns the weighted F1, as `Score` describes."""
        matrix = _matrix(logits, targets)
        return float(np.average(_f1(matrix), weights=matrix.sum(axis=1)))


class ExpectedCalibrationError:
    """Mean distance of confidence from accuracy over bins of equal width (Guo et al., ICML 2017).

    Args:
        num_bins: Number of bins of the confidence, the softmax of the class that was said.

    Example:
        >>> round(ExpectedCalibrationError()(np.array([[9.0, -9.0]]), np.array([1])), 4)
        1.0
    """

    higher_is_better = False

    def __init__(self, num_bins: int = 15) -> None:
        self.num_bins = num_bins

    def __call__(
        self, logits: Float[np.ndarray, "utterance class"], targets: Int[np.ndarray, " utterance"]
    ) -> float:
        """Returns the calibration error, as `Score` describes."""
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

    def __call__(
        self, logits: Float[np.ndarray, "utterance class"], targets: Int[np.ndarray, " utterance"]
    ) -> float:
        """Returns the cross-entropy, as `Score` describes."""
        _check(logits, targets)
        return float(-log_softmax(logits)[np.arange(len(targets)), targets].mean())


def log_softmax(
    logits: Float[np.ndarray, "utterance class"],
) -> Float[np.ndarray, "utterance class"]:
    """Returns the logarithms of the probabilities, in double precision.

    Args:
        logits: Logits, `[utterance, class]`.

    Returns:
        Logarithms, float64 `[utterance, class]`.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def absent_classes(
    targets: Int[np.ndarray, " utterance"], classes: Sequence[str]
) -> tuple[str, ...]:
    """Returns the declared classes that no utterance has, whose recall and F1 count as 0.

    Args:
        targets: Index of the true class, `[utterance]`; -1 where there is none.
        classes: The declared classes.

    Returns:
        Their names, in the order of `classes`.

    Example:
        >>> absent_classes(np.array([0, 2, -1]), ["anger", "fear", "joy"])
        ('fear',)
    """
    present = set(targets.tolist())
    return tuple(name for index, name in enumerate(classes) if index not in present)


def _f1(matrix: Int[np.ndarray, "true said"]) -> Float[np.ndarray, " true"]:
    hits = np.diagonal(matrix).astype(float)
    return np.asarray(2 * hits / np.maximum(matrix.sum(axis=0) + matrix.sum(axis=1), 1))


def _matrix(
    logits: Float[np.ndarray, "utterance class"], targets: Int[np.ndarray, " utterance"]
) -> Int[np.ndarray, "class said"]:
    _check(logits, targets)
    return confusion_matrix(logits.argmax(axis=1), targets, logits.shape[1])


def _check(
    logits: Float[np.ndarray, "utterance class"], targets: Int[np.ndarray, " utterance"]
) -> None:
    if len(targets) == 0:
        raise PredictionError("there is no labelled utterance to score")
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if wrong.size:
        raise PredictionError(
            f"the logits of {wrong.size} of {len(logits)} utterances are not finite, "
            f"the first in row {wrong[0]}",
            hint="lower the learning rate, or use trainer.precision=32",
        )
    if not 0 <= targets.min() <= targets.max() < logits.shape[1]:
        raise PredictionError(
            f"a target is {targets.min()} or {targets.max()}",
            expected=f"class indices from 0 to {logits.shape[1] - 1}",
            hint="leave unlabelled rows out, and declare every class",
        )
