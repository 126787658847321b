"""The files of a feature store: values in one file, a fixed-width record of each in another.

A shard has one writer, the process that created it, and any number of readers. The values of an
utterance are written before its record, so whatever a killed process leaves behind has no record
and is ignored.
"""

import io
import os
import secrets
import shutil
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from polymodal.errors import DataError

DATA, INDEX = ".data", ".index"
RECORD: np.dtype[Any] = np.dtype(
    [("key", "<u8", 4), ("offset", "<u8"), ("num_rows", "<u4"), ("crc32", "<u4"), ("check", "<u8")]
)
# The XOR of the integers of a record: a record of zeros is invalid.
CHECK = 0x706F6C796D6F6461


class StoreEntry(NamedTuple):
    """Position of the values of an utterance."""

    shard: int  # number of the shard
    offset: int  # first byte in its data file
    num_rows: int  # number of vectors


class ShardWriter:
    """Append to a new shard in a folder, which no other process writes to.

    Raises:
        DataError: Its files cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.process = folder, os.getpid()
        name = secrets.token_hex(8)
        self.path = folder / f"{name}{DATA}"
        try:
            self._data = self.path.open("xb", buffering=0)
            self._index = (folder / f"{name}{INDEX}").open("xb", buffering=0)
        except OSError as error:
            raise not_writable(folder, error) from error
        self._num_bytes = self._num_index_bytes = 0

    def append(self, key: bytes, content: bytes | memoryview, num_rows: int) -> int:
        """Write the values of `num_rows` vectors, then their record; return the first byte.

        Raises:
            DataError: The disk is full, or the folder cannot be written; nothing is left behind.
        """
        offset = self._num_bytes
        record = _record(key, offset, num_rows, zlib.crc32(content))
        try:
            _write_all(self._data, content)
            _write_all(self._index, record)
        except OSError as error:
            # Remove what was half written, so that the next values begin at its position.
            for file, size in ((self._data, self._num_bytes), (self._index, self._num_index_bytes)):
                file.truncate(size)
                file.seek(size)
            raise not_writable(self.folder, error, len(content) + len(record)) from error
        self._num_bytes += len(content)
        self._num_index_bytes += len(record)
        return offset

    def close(self) -> None:
        """Close the files; the shard is not written to again."""
        self._data.close()
        self._index.close()


def read_index(path: Path) -> npt.NDArray[Any]:
    """Read the complete records of a shard, without a torn end and damaged ones."""
    try:
        records = np.fromfile(path, dtype=RECORD)
    except FileNotFoundError:  # another process is removing the store
        return np.zeros(0, dtype=RECORD)
    integers = records.view("<u8").reshape(len(records), RECORD.itemsize // 8)
    is_valid = np.bitwise_xor.reduce(integers, axis=1) == CHECK
    return records if is_valid.all() else records[is_valid]


def is_intact(path: Path, record: Any, bytes_a_row: int) -> bool:
    """Return whether values are unchanged since they were written, and can be read."""
    size = int(record["num_rows"]) * bytes_a_row
    try:
        with path.open("rb", buffering=0) as file:
            content = os.pread(file.fileno(), size, int(record["offset"]))
    except OSError:
        return False
    return len(content) == size and zlib.crc32(content) == int(record["crc32"])


def not_writable(folder: Path, error: OSError, num_needed: int = 0) -> DataError:
    """Return the error for a store that cannot be written, with the free space."""
    existing = next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))
    free = shutil.disk_usage(existing).free
    needed = f"; {num_needed:,} bytes were to be written" if num_needed else ""
    return DataError(
        f"the feature store {folder} cannot be written: {error.strerror}{needed}, "
        f"{free:,} bytes are free",
        hint="free some space (polymodal features --remove --unused 30d), or set paths.store to "
        "another folder; stored features stay",
    )


def _record(key: bytes, offset: int, num_rows: int, crc32: int) -> bytes:
    record = np.zeros(1, dtype=RECORD)
    record["key"] = np.frombuffer(key, dtype="<u8")
    record["offset"], record["num_rows"], record["crc32"] = offset, num_rows, crc32
    record["check"] = np.bitwise_xor.reduce(record.view("<u8")) ^ np.uint64(CHECK)
    return record.tobytes()


def _write_all(file: io.FileIO, content: bytes | memoryview) -> None:
    # A nearly full disk writes only the first bytes, and raises at the next call.
    left = memoryview(content).cast("B")
    while left:
        left = left[file.write(left) :]
