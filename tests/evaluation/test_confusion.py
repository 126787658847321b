import io

import numpy as np
import pytest
from rich.console import Console

from polymodal.errors import PredictionError
from polymodal.evaluation.confusion import (
    confusion_matrix,
    confusion_table,
    confusion_text,
    recalls,
)


def test_rows_are_true_and_columns_said():
    matrix = confusion_matrix(np.array([1, 1, 2, 0]), np.array([0, 1, 2, 0]), 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert recalls(matrix).tolist() == [0.5, 1, 1, 0]


def test_text_and_rich_show_the_same_cells():
    matrix = np.array([[10, 0], [3, 1]])
    lines = confusion_text(matrix, ["neutral", "joy"]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].split() == ["joy", "3", "1", ".250"]
    console = Console(file=io.StringIO(), width=80)
    console.print(confusion_table(matrix, ["neutral", "joy"]))
    shown = console.file.getvalue()
    assert all(word in shown for word in ("neutral", "10", "3", ".250"))


@pytest.mark.parametrize(
    ("predicted", "targets", "message"),
    [([0], [-1], "target"), ([3], [0], "prediction is 3")],
)
def test_wrong_indices_are_rejected(predicted, targets, message):
    with pytest.raises(PredictionError, match=message):
        confusion_matrix(np.array(predicted), np.array(targets), 3)
