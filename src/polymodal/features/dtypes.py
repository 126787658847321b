"""The kinds of numbers that features are stored as.

Legend: time = vectors an utterance has, feature = width.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from polymodal.errors import ConfigError, DataError, nearest

# NumPy has no bfloat16: its bits are kept as uint16.
ON_DISK: Mapping[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
}


def stored_type(dtype: str) -> np.dtype[Any]:
    """Returns the numbers that lie in the files.

    Args:
        dtype: `float32`, `float16` or `bfloat16`.

    Returns:
        The type of NumPy.

    Raises:
        ConfigError: The name is unknown.
    """
    if dtype not in ON_DISK:
        raise ConfigError(f"data.store_dtype={dtype}", hint=nearest(dtype, ON_DISK))
    return ON_DISK[dtype]


def encoded(values: Float32[np.ndarray, "time feature"], dtype: str) -> npt.NDArray[Any]:
    """Returns features as they are stored.

    Args:
        values: Float32 `[time, feature]`.
        dtype: `float32`, `float16` or `bfloat16`.

    Returns:
        The same shape, in `stored_type(dtype)`.

    Raises:
        DataError: A number is beyond what the type can hold.
    """
    if dtype == "bfloat16":
        import torch  # here, as only these numbers need it

        kept = torch.from_numpy(np.array(values)).to(torch.bfloat16)
        numbers: npt.NDArray[Any] = kept.view(torch.uint16).numpy()
        is_beyond = bool((torch.isinf(kept).numpy() & np.isfinite(values)).any())
    else:
        with np.errstate(over="ignore"):
            numbers = np.ascontiguousarray(values, dtype=stored_type(dtype))
        is_beyond = bool((np.isinf(numbers) & np.isfinite(values)).any())
    if is_beyond:
        largest = float(np.abs(values[np.isfinite(values)]).max())
        raise DataError(
            f"a feature of {largest:g} is beyond {dtype}",
            hint="use data.store_dtype=float32, or bfloat16 for its range at less precision",
        )
    return numbers


def decoded(numbers: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """Returns stored numbers as features.

    Args:
        numbers: As they lie in the file, `[time, feature]`.
        dtype: `float32`, `float16` or `bfloat16`.

    Returns:
        The same array; a float32 copy for bfloat16.
    """
    if dtype != "bfloat16":
        return numbers
    import torch

    return torch.from_numpy(np.array(numbers)).view(torch.bfloat16).float().numpy()
