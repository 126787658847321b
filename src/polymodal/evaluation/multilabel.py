"""Scores for utterances with several labels each.

Legend: utterance = rows of a prediction table, label = declared labels.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from polymodal.errors import PredictionError

Logits = Float[np.ndarray, "utterance label"]
Truth = Bool[np.ndarray, "utterance label"]


class LabelF1:
    """F1 of yes or no for each label: `macro` is the mean over all declared labels.

    `micro` pools all decisions first. A label that nobody has and nobody said counts as 0 in the
    macro mean, as with classes: a mean over the labels that happen to occur would rise when one
    goes missing.

    Args:
        average: `macro` or `micro`.
        threshold: Probability from which a label is said.

    Example:
        >>> LabelF1()(np.array([[2.0, -1.0], [1.0, 3.0]]), np.array([[True, False], [False, True]]))
        0.8333333333333333
    """

    reads = "labels"
    higher_is_better = True

    def __init__(
        self, average: Literal["macro", "micro"] = "macro", threshold: float = 0.5
    ) -> None:
        self.average, self.threshold = average, threshold

    def __call__(self, logits: Logits, targets: Truth) -> float:
        """Returns the score.

        Args:
            logits: `[utterance, label]`.
            targets: Which labels an utterance has, `[utterance, label]`.

        Returns:
            From 0 to 1.

        Raises:
            PredictionError: There is no utterance, or a logit is not finite.
        """
        _check(logits)
        said = 1 / (1 + np.exp(-logits)) >= self.threshold
        hits, total = (said & targets).sum(axis=0), said.sum(axis=0) + targets.sum(axis=0)
        if self.average == "micro":
            hits, total = hits.sum(keepdims=True), total.sum(keepdims=True)
        return float(np.mean(2 * hits / np.maximum(total, 1)))


class MeanAveragePrecision:
    """Mean over the labels of the average precision: how high its utterances are ranked.

    The average precision of a label is the mean of the precisions at each of its utterances, equal
    logits counted together. A label that nobody has cannot be ranked and stays out of the mean.

    Example:
        >>> truth = np.array([[True], [False], [True]])
        >>> MeanAveragePrecision()(np.array([[3.0], [2.0], [1.0]]), truth)
        0.8333333333333333
    """

    reads = "labels"
    higher_is_better = True

    def __call__(self, logits: Logits, targets: Truth) -> float:
        """Returns the score, with arguments and errors of `LabelF1`."""
        _check(logits)
        present = [place for place in range(logits.shape[1]) if targets[:, place].any()]
        each = [_average_precision(logits[:, place], targets[:, place]) for place in present]
        return float(np.mean(each)) if each else 0.0


def _average_precision(
    logits: Float[np.ndarray, " utterance"], targets: Bool[np.ndarray, " utterance"]
) -> float:
    order = np.argsort(-logits, kind="stable")
    ranked, hits = logits[order], np.cumsum(targets[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of each run of equals
    precision = hits[last] / (last + 1)
    recalled = np.diff(hits[last], prepend=0)
    return float((precision * recalled).sum() / hits[-1])


def _check(logits: Logits) -> None:
    if len(logits) == 0:
        raise PredictionError("there is no labelled utterance to score")
    if not np.isfinite(logits).all():
        raise PredictionError(
            "a logit is not finite",
            hint="lower the learning rate, or use trainer.precision=32",
        )
