"""The embeddings of one modality: one vector an utterance, or one a frame or token.

Legend: row = utterances (of a fold), vector = vectors of all of them, feature = width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float32, Int64

ROW_SCHEMA = {"utterance_id": pl.String, "fold": pl.Int64, "split": pl.String}


@dataclass(frozen=True)
class Embeddings:
    """The embeddings that one encoder computes for some utterances.

    Args:
        modality: Name of the encoder in its run.
        rows: A row an utterance, or one an utterance and fold: `utterance_id`; `fold`, whose
            weights computed it, null for an encoder that no fold has trained; `split`, where the
            fold of the weights had the utterance (`train`, `val`, `test`), null where it did not.
        values: The vectors of all rows, one after the other, float32 `[vector, feature]`.
        offsets: Vectors `offsets[i]` to `offsets[i + 1]` belong to row `i`.
        is_pooled: Whether each row is one vector for the whole utterance.

    Example:
        >>> rows = pl.DataFrame({"utterance_id": ["u"], "fold": [0], "split": ["test"]})
        >>> one = Embeddings("text", rows, np.ones((2, 3), np.float32), np.array([0, 2]))
        >>> one.of_row(0).shape
        (2, 3)
    """

    modality: str
    rows: pl.DataFrame
    values: Float32[np.ndarray, "vector feature"]
    offsets: Int64[np.ndarray, "_rows_and_one"]
    is_pooled: bool = False

    def of_row(self, row: int) -> Float32[np.ndarray, "_vector feature"]:
        """Return the vectors of a row, `[vector, feature]`.

        Args:
            row: Its number.
        """
        return self.values[self.offsets[row] : self.offsets[row + 1]]


def join_embeddings(tables: Sequence[Embeddings]) -> Embeddings:
    """Return the embeddings of several folds of one modality as one.

    Args:
        tables: Those of each fold, at least one, all of one width.
    """
    lengths = np.concatenate([np.diff(table.offsets) for table in tables])
    return Embeddings(
        tables[0].modality,
        pl.concat([table.rows for table in tables]),
        np.concatenate([table.values for table in tables]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        tables[0].is_pooled,
    )
