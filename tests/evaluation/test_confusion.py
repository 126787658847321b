import numpy as np
import pytest

from polymodal.errors import PredictionError
from polymodal.evaluation.confusion import confusion_matrix, recalls


def test_rows_are_true_and_columns_said():
    matrix = confusion_matrix(np.array([1, 1, 2, 0]), np.array([0, 1, 2, 0]), 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert recalls(matrix).tolist() == [0.5, 1, 1, 0]


@pytest.mark.parametrize(
    ("predicted", "targets", "message"),
    [([0], [-1], "target"), ([3], [0], "prediction is 3")],
)
def test_wrong_indices_are_rejected(predicted, targets, message):
    with pytest.raises(PredictionError, match=message):
        confusion_matrix(np.array(predicted), np.array(targets), 3)
