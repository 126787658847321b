"""The types of stored features.

Legend: time = vectors an utterance has, feature = width.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from polymodal.errors import ConfigError, DataError, nearest

# NumPy has no bfloat16: its bits are stored as uint16.
ON_DISK: Mapping[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
}


def stored_type(dtype: str) -> np.dtype[Any]:
    """Return the NumPy type in the files for `float32`, `float16` or `bfloat16`.

    Raises:
        ConfigError: The name is unknown.
    """
    if dtype not in ON_DISK:
        raise ConfigError(f"data.store_dtype={dtype}", hint=nearest(dtype, ON_DISK))
    return ON_DISK[dtype]


def encoded(values: Float32[np.ndarray, "time feature"], dtype: str) -> npt.NDArray[Any]:
    """Return float32 features as they are stored, in `stored_type(dtype)`.

    Raises:
        DataError: A value is beyond the range of the type.
    """
    if dtype == "bfloat16":
        import torch  # here, as only this type needs it

        half = torch.from_numpy(np.array(values)).to(torch.bfloat16)
        stored: npt.NDArray[Any] = half.view(torch.uint16).numpy()
        overflows = bool((torch.isinf(half).numpy() & np.isfinite(values)).any())
    else:
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(values, dtype=stored_type(dtype))
        overflows = bool((np.isinf(stored) & np.isfinite(values)).any())
    if overflows:
        largest = float(np.abs(values[np.isfinite(values)]).max())
        hint = "use data.store_dtype=float32, or bfloat16 for its range at less precision"
        raise DataError(f"a feature of {largest:g} is beyond {dtype}", hint=hint)
    return stored


def decoded(stored: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """Return stored values as features: the same array, or a float32 copy of bfloat16."""
    if dtype != "bfloat16":
        return stored
    import torch

    return torch.from_numpy(np.array(stored)).view(torch.bfloat16).float().numpy()
