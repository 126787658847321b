"""Confusion matrices: how often each class is predicted as which.

Legend: utterance = rows of a prediction table, true = declared classes, predicted = the same.
"""

import numpy as np
from jaxtyping import Float, Int

from polymodal.errors import PredictionError

Indices = Int[np.ndarray, " utterance"]
Matrix = Int[np.ndarray, "true predicted"]


def confusion_matrix(predicted: Indices, targets: Indices, num_classes: int) -> Matrix:
    """Count the utterances by true class (row) and predicted class (column), as int64.

    Raises:
        PredictionError: An index is not a class.

    Example:
        >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    check_indices("prediction", predicted, num_classes)
    check_indices("target", targets, num_classes)
    cells = targets.astype(np.int64) * num_classes + predicted
    counts = np.bincount(cells, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes)


def check_indices(name: str, indices: Indices, num_classes: int) -> None:
    """Check that indices are those of classes.

    Raises:
        PredictionError: One is not.
    """
    if indices.size and not 0 <= indices.min() <= indices.max() < num_classes:
        raise PredictionError(
            f"a {name} is {indices.min()} or {indices.max()}",
            expected=f"class indices from 0 to {num_classes - 1}",
            hint="leave unlabelled rows out, and declare every class",
        )


def recalls(matrix: Matrix) -> Float[np.ndarray, " true"]:
    """Return the recall of each class; 0 for a class without an utterance.

    Example:
        >>> recalls(np.array([[3, 1], [0, 0]])).tolist()
        [0.75, 0.0]
    """
    hits = np.diagonal(matrix).astype(float)
    return np.asarray(hits / np.maximum(matrix.sum(axis=1), 1))
