"""Check the output of an extractor, and describe its failures.

Legend: time = vectors an utterance has, feature = width.
"""

from typing import Any

import numpy as np
from jaxtyping import Float32

from polymodal.encoders.extractor import Extractor
from polymodal.errors import DataError, UserError


def checked(values: Any, extractor: Extractor) -> Float32[np.ndarray, "time feature"]:
    """Return features as float32 if they have the shape that the extractor promises.

    Raises:
        DataError: They have another shape.
    """
    array = np.asarray(values, dtype=np.float32)
    if array.ndim != 2 or len(array) == 0 or array.shape[1] != extractor.feature_size:
        raise DataError(
            f"{extractor.identity} returned features of shape {array.shape}",
            expected=f"[time, {extractor.feature_size}] with at least one vector",
            hint="fix the extractor, or leave out the utterance",
        )
    return array


def unusable(utterance_id: str, extractor: Extractor, error: Exception) -> DataError:
    """Return the error for an utterance that an extractor fails on."""
    reason = error.message if isinstance(error, UserError) else repr(error)
    return DataError(
        f"utterance {utterance_id!r}: {reason}",
        expected=f"something that {extractor.identity} can read",
        hint="listen to the file or read the text; leave it out if it is damaged",
    )
