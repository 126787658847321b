"""The stored features of a corpus: id to an array in a file, not in memory.

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
    """Utterance id to its features, which are read from their file on access.

    It can be pickled, and is then small: a worker process opens the files itself.

    `entries` are the positions by utterance id, `shards` the data files that they number.
    """

    def __init__(
        self, entries: Mapping[str, StoreEntry], shards: list[Path], dtype: str, feature_size: int
    ) -> None:
        self._rows = {utterance_id: row for row, utterance_id in enumerate(entries)}
        self._entries = np.array(list(entries.values()), dtype=np.int64).reshape(-1, 3)
        self._shards, self._dtype, self.feature_size = shards, dtype, feature_size

    def __getitem__(self, utterance_id: str) -> npt.NDArray[Any]:
        shard, offset, num_rows = self._entries[self._rows[utterance_id]].tolist()
        shape = (num_rows, self.feature_size)
        return read_values(self._shards[shard], offset, shape, dtype=self._dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def num_bytes(self) -> int:
        """Size of the features in their files."""
        width = self.feature_size * stored_type(self._dtype).itemsize
        return int(self._entries[:, 2].sum()) * width


def read_values(path: Path, offset: int, shape: tuple[int, int], *, dtype: str) -> npt.NDArray[Any]:
    """Return values `[time, feature]` of a file, mapped and read-only; a copy for bfloat16.

    They begin at the byte `offset`; `dtype` is the type of the stored values.

    Raises:
        DataError: The file is gone, or shorter than before.
    """
    kind, count = stored_type(dtype), shape[0] * shape[1]
    end = offset + count * kind.itemsize
    try:
        content = _map(str(path))
        if len(content) < end:  # it has grown since
            _map.cache_clear()
            content = _map(str(path))
        values = np.frombuffer(content, dtype=kind, count=count, offset=offset)
    except (OSError, ValueError) as error:
        raise DataError(
            f"stored features in {path} cannot be read: {error}",
            hint="run again: missing features are computed again",
        ) from error
    return decoded(values.reshape(shape), dtype)


@functools.lru_cache(maxsize=MAX_MAPS)
def _map(path: str) -> mmap.mmap:
    # Arrays keep their map alive when it leaves this cache.
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
