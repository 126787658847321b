"""How often each class was taken for which.

Legend: utterance = rows of a prediction table, true = declared classes, said = the same classes.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from rich.table import Table

from polymodal.errors import PredictionError


def confusion_matrix(
    predicted: Int[np.ndarray, " utterance"],
    targets: Int[np.ndarray, " utterance"],
    num_classes: int,
) -> Int[np.ndarray, "true said"]:
    """Counts the utterances of each class by what was said of them.

    Args:
        predicted: Index of the class that was said, `[utterance]`.
        targets: Index of the true class, `[utterance]`.
        num_classes: Number of declared classes.

    Returns:
        Counts, int64: a row a true class, a column a class that was said.

    Raises:
        PredictionError: An index is no class.

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


def recalls(matrix: Int[np.ndarray, "true said"]) -> Float[np.ndarray, " true"]:
    """Returns the share of each class that was recognised; 0 for a class without an utterance.

    Args:
        matrix: What `confusion_matrix` returned.

    Returns:
        Recalls, `[true]`.
    """
    hits = np.diagonal(matrix).astype(float)
    return np.asarray(hits / np.maximum(matrix.sum(axis=1), 1))


def confusion_text(matrix: Int[np.ndarray, "true said"], classes: Sequence[str]) -> str:
    """Returns the matrix as plain text: a row a true class, a column a class that was said.

    Args:
        matrix: What `confusion_matrix` returned.
        classes: Names of the classes, in its order.

    Returns:
        Lines of equal width.

    Example:
        >>> print(confusion_text(np.array([[3, 1], [0, 2]]), ["joy", "anger"]))
        true / said  joy  anger  recall
        joy            3      1    .750
        anger          0      2   1.000
    """
    table = _cells(matrix, classes)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for name, *others in table:
        cells = [one.rjust(width) for one, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells]))
    return "\n".join(lines)


def confusion_table(matrix: Int[np.ndarray, "true said"], classes: Sequence[str]) -> Table:
    """Returns the matrix as a table for `rich`, hits in bold.

    Args:
        matrix: What `confusion_matrix` returned.
        classes: Names of the classes, in its order.

    Returns:
        The table.
    """
    header, *rows = _cells(matrix, classes)
    table = Table(header[0], title="confusion")
    for name in header[1:]:
        table.add_column(name, justify="right")
    for index, row in enumerate(rows):
        row[index + 1] = f"[bold]{row[index + 1]}[/bold]"
        table.add_row(*row)
    return table


def _cells(matrix: Int[np.ndarray, "true said"], classes: Sequence[str]) -> list[list[str]]:
    shares = [f"{recall:.3f}".removeprefix("0") for recall in recalls(matrix)]
    rows = [
        [name, *map(str, counts), share]
        for name, counts, share in zip(classes, matrix.tolist(), shares, strict=True)
    ]
    return [["true / said", *classes, "recall"], *rows]
