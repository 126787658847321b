"""Scores of utterances with several labels each.

Legend: utterance = rows of a prediction table, label = declared labels.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from polymodal.errors import PredictionError

Logits = Float[np.ndarray, "utterance label"]
Truth = Bool[np.ndarray, "utterance label"]


class LabelF1:
    """F1 of the binary decisions, one for each label.

    A label that neither occurs nor is predicted counts as 0 in the macro mean, as a class does: a
    mean over the labels that occur would rise when one goes missing.

    `average` is `macro`, the mean over all declared labels, or `micro`, which pools all decisions
    first. A label is predicted from the probability `threshold` on.

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
        """Return the F1, from 0 to 1.

        Raises:
            PredictionError: There is no utterance, or a logit is not finite.
        """
        _check(logits)
        predicted = 1 / (1 + np.exp(-logits)) >= self.threshold
        hits, total = (predicted & targets).sum(axis=0), predicted.sum(axis=0) + targets.sum(axis=0)
        if self.average == "micro":
            hits, total = hits.sum(keepdims=True), total.sum(keepdims=True)
        return float(np.mean(2 * hits / np.maximum(total, 1)))


class MeanAveragePrecision:
    """Mean over the labels of their average precision (mAP).

    The average precision of a label is the mean of the precisions at each of its utterances, equal
    logits counted together. Labels without an utterance cannot be ranked and are left out.

    Example:
        >>> truth = np.array([[True], [False], [True]])
        >>> MeanAveragePrecision()(np.array([[3.0], [2.0], [1.0]]), truth)
        0.8333333333333333
    """

    reads = "labels"
    higher_is_better = True

    def __call__(self, logits: Logits, targets: Truth) -> float:
        """Return the mean; arguments and errors as `LabelF1`."""
        _check(logits)
        present = np.flatnonzero(targets.any(axis=0))
        precisions = [_average_precision(logits[:, i], targets[:, i]) for i in present]
        return float(np.mean(precisions)) if precisions else 0.0


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
            "a logit is not finite", hint="lower the learning rate, or use trainer.precision=32"
        )
