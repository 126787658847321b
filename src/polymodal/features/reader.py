"""Stored features of a corpus: id to an array that lies in a file, not in memory.

Legend: time = vectors an utterance has, feature = width.
"""

import functools
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polymodal.errors import DataError
from polymodal.features.dtypes import decoded, stored_type
from polymodal.features.shards import StoreEntry

# Each open map holds a file handle, of which a process may have about a thousand.
MAX_MAPS = 64


class FeatureReader(Mapping[str, npt.NDArray[Any]]):
    """Utterance id to its features, read from their file when they are asked for.

    It can be pickled, and is then small: a worker process opens the files itself.

    Args:
        places: Utterance id to where its features are.
        shards: Data files, in the order of `Entry.shard`.
        dtype: What they are stored as.
        feature_size: Width of a vector.
    """

    def __init__(
        self, places: Mapping[str, StoreEntry], shards: list[Path], dtype: str, feature_size: int
    ) -> None:
        self._rows = {utterance_id: row for row, utterance_id in enumerate(places)}
        self._places = np.array(list(places.values()), dtype=np.int64).reshape(-1, 3)
        self._shards, self._dtype, self.feature_size = shards, dtype, feature_size

    def __getitem__(self, utterance_id: str) -> npt.NDArray[Any]:
        shard, offset, num_rows = self._places[self._rows[utterance_id]].tolist()
        return read_values(
            self._shards[shard], offset, (num_rows, self.feature_size), dtype=self._dtype
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def num_bytes(self) -> int:
        """How large the features are in their files."""
        width = self.feature_size * stored_type(self._dtype).itemsize
        return int(self._places[:, 2].sum()) * width


def read_values(path: Path, offset: int, shape: tuple[int, int], *, dtype: str) -> npt.NDArray[Any]:
    """Returns values that lie in a file, mapped and read-only.

    Args:
        path: The data file.
        offset: First byte.
        shape: Number of vectors, and their width.
        dtype: What they are stored as.

    Returns:
        `[time, feature]`; a copy for bfloat16.

    Raises:
        DataError: The file is gone, or shorter than it was.
    """
    kind, count = stored_type(dtype), shape[0] * shape[1]
    end = offset + count * kind.itemsize
    try:
        whole = _map(str(path))
        if len(whole) < end:  # it has grown since
            _map.cache_clear()
            whole = _map(str(path))
        numbers = np.frombuffer(whole, dtype=kind, count=count, offset=offset)
    except (OSError, ValueError) as error:
        raise DataError(
            f"stored features in {path} cannot be read: {error}",
            hint="run again: features that are gone are computed anew",
        ) from error
    return decoded(numbers.reshape(shape), dtype)


@functools.lru_cache(maxsize=MAX_MAPS)
def _map(path: str) -> mmap.mmap:
    # Arrays keep their map alive when it leaves this cache.
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
