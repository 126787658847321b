"""Confusion matrices: how often each class is predicted as which.

Legend: utterance = rows of a prediction table, true = declared classes, predicted = the same.
"""

import numpy as np
from jaxtyping import Float, Int

from polymodal.errors import PredictionError

Matrix = Int[np.ndarray, "true predicted"]


def confusion_matrix(
    predicted: Int[np.ndarray, " utterance"],
    targets: Int[np.ndarray, " utterance"],
    num_classes: int,
) -> Matrix:
    """Count the utterances by true class (row) and predicted class (column), as int64.

    Raises:
        PredictionError: An index is not a class.

    Example:
        >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    for name, values in (("prediction", predicted), ("target", targets)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise PredictionError(
                f"a {name} is {values.min()} or {values.max()}",
                expected=f"class indices from 0 to {num_classes - 1}",
                hint="leave unlabelled rows out, and declare every class",
            )
    cells = targets.astype(np.int64) * num_classes + predicted
    counts = np.bincount(cells, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes)


def recalls(matrix: Matrix) -> Float[np.ndarray, " true"]:
    """Return the recall of each class; 0 for a class without an utterance.

    Example:
        >>> recalls(np.array([[3, 1], [0, 0]])).tolist()
        [0.75, 0.0]
    """
    hits = np.diagonal(matrix).astype(float)
    return np.asarray(hits / np.maximum(matrix.sum(axis=1), 1))
