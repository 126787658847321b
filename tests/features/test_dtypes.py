import numpy as np
import pytest
import torch

from polymodal.errors import ConfigError, DataError
from polymodal.features.dtypes import decoded, encoded, stored_type

VALUES = np.array([[1.0, -3.1415927], [65504.0, np.nan], [np.inf, 1e-3]], dtype=np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_numbers_come_back_as_torch_rounds_them(dtype):
    stored = encoded(VALUES, dtype)
    assert stored.dtype == stored_type(dtype)
    back = np.asarray(decoded(stored, dtype), dtype=np.float32)
    expected = torch.from_numpy(VALUES).to(getattr(torch, dtype)).float().numpy()
    np.testing.assert_array_equal(back, expected)


def test_half_a_number_takes_half_the_room():
    sizes = {name: encoded(VALUES, name).nbytes for name in ("float32", "float16", "bfloat16")}
    assert sizes == {"float32": 24, "float16": 12, "bfloat16": 12}


@pytest.mark.parametrize(("dtype", "beyond"), [("float16", 70000.0), ("bfloat16", 3.4028235e38)])
def test_a_number_beyond_the_type_is_refused_and_not_infinite(dtype, beyond):
    with pytest.raises(DataError, match=rf"beyond {dtype}(?s:.*)float32"):
        encoded(np.array([[1.0, -beyond]], dtype=np.float32), dtype)


def test_an_unknown_type_is_refused():
    with pytest.raises(ConfigError, match=r"store_dtype=float61(?s:.*)'float16'"):
        stored_type("float61")
