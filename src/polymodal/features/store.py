"""A store of features, each found by the content that it was made of.

    STORE/v1-<hash of identity and numbers>/meta.json      who made the features
                                            used           touched when it is opened
                                            <random>.data  values, one utterance after another
                                            <random>.index where each is

Legend: time = vectors an utterance has, feature = width.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from polymodal.encoders.extractor import Extractor
from polymodal.errors import DataError
from polymodal.features.dtypes import encoded, stored_type
from polymodal.features.reader import FeatureReader, read_values
from polymodal.features.shards import (
    DATA,
    INDEX,
    RECORD,
    ShardWriter,
    StoreEntry,
    is_intact,
    not_writable,
    read_index,
)
from polymodal.security.files import atomic_write

# Part of the folder's name: stores of other versions lie beside, and are never read.
FORMAT_VERSION = 1
META, USED = "meta.json", "used"


class FeatureStore:
    """A folder with the features of any number of extractors, for any number of processes.

    Args:
        folder: Where they are; it is made when the first feature is written.
        dtype: Numbers that values are stored as: `float32`, `float16` or `bfloat16`.

    Raises:
        ConfigError: The numbers are unknown.
    """

    def __init__(self, folder: Path, dtype: str = "float32") -> None:
        stored_type(dtype)
        self.folder, self.dtype = folder, dtype

    def open(self, extractor: Extractor) -> "FeatureCollection":
        """Opens what one extractor has made so far, by any process.

        Args:
            extractor: What makes the features: its identity and options decide.

        Returns:
            The collection; open it again to see what others have written since.

        Raises:
            DataError: The folder is damaged, or of another extractor or version.
        """
        return FeatureCollection(
            self.folder, extractor.identity, extractor.feature_size, self.dtype
        )


class FeatureCollection:
    """The features that one extractor has made; see `FeatureStore.open`.

    Args:
        root: Folder of the store.
        identity: Everything that changes the output of the extractor.
        feature_size: Width of its vectors.
        dtype: Numbers that values are stored as.

    Raises:
        DataError: The folder is damaged, or of another extractor or version.
    """

    def __init__(self, root: Path, identity: str, feature_size: int, dtype: str) -> None:
        self.meta = {
            "format": FORMAT_VERSION,
            "identity": identity,
            "dtype": dtype,
            "feature_size": feature_size,
        }
        self.folder = root / folder_name(self.meta)
        self.dtype, self.feature_size = dtype, feature_size
        self.bytes_a_row = feature_size * stored_type(dtype).itemsize
        self._writer: ShardWriter | None = None
        self._own: dict[bytes, StoreEntry] = {}
        self._verified: set[int] = set()
        self._check_meta()
        self._read()

    def __len__(self) -> int:
        return len(self._records) + len(self._own)

    def find(self, key: bytes) -> StoreEntry | None:
        """Finds features; at their first use in a process their checksum is compared.

        Args:
            key: What `content_key` returned.

        Returns:
            Where they are, or None where they are missing or damaged.
        """
        if key in self._own:
            return self._own[key]
        words = np.frombuffer(key, dtype="<u8")
        place = int(np.searchsorted(self._prefixes, words[0]))
        while place < len(self._prefixes) and self._prefixes[place] == words[0]:
            record = self._records[self._order[place]]
            if (record["key"] == words).all() and self._is_intact(place, record):
                return StoreEntry(
                    self._shard(place), int(record["offset"]), int(record["num_rows"])
                )
            place += 1
        return None

    def get(self, key: bytes) -> npt.NDArray[Any] | None:
        """Returns stored features, mapped and read-only.

        Args:
            key: What `content_key` returned.

        Returns:
            `[time, feature]`, or None where they are missing or damaged.
        """
        entry = self.find(key)
        if entry is None:
            return None
        shape = (entry.num_rows, self.feature_size)
        return read_values(self._shards[entry.shard], entry.offset, shape, dtype=self.dtype)

    def put(self, key: bytes, values: Float32[np.ndarray, "time feature"]) -> StoreEntry:
        """Stores features, in a shard of this process.

        Args:
            key: What `content_key` returned.
            values: Float32 `[time, feature]`.

        Returns:
            Where they are.

        Raises:
            DataError: There is no room, the folder cannot be written, or a value is beyond the
                numbers of the store.
        """
        numbers = encoded(values, self.dtype)
        writer = self._own_writer()
        content = numbers.reshape(-1).view(np.uint8).data
        offset = writer.append(key, content, len(numbers))
        entry = StoreEntry(len(self._shards) - 1, offset, len(numbers))
        self._own[key] = entry
        return entry

    def features(self, entries: Mapping[str, StoreEntry]) -> FeatureReader:
        """Returns what reads the features of a corpus.

        Args:
            entries: Utterance id to where its features are.

        Returns:
            Utterance id to features.
        """
        return FeatureReader(entries, list(self._shards), self.dtype, self.feature_size)

    def close(self) -> None:
        """Ends the shard of this process."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _own_writer(self) -> ShardWriter:
        # A forked process shares the files, and would write into those of its parent.
        if self._writer is None or self._writer.process != os.getpid():
            self._make_folder()
            self._writer = ShardWriter(self.folder)
            self._shards.append(self._writer.path)
        return self._writer

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / META).exists():
                made = {**self.meta, "made": datetime.now(UTC).isoformat(timespec="seconds")}
                with atomic_write(self.folder / META) as beside:
                    beside.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
            (self.folder / USED).touch()
        except OSError as error:
            raise not_writable(self.folder, error) from error

    def _check_meta(self) -> None:
        path = self.folder / META
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            known = {name: found[name] for name in self.meta}
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path} cannot be read: {error!r}",
                expected="what polymodal writes beside stored features",
                hint=f"delete {self.folder}, or set paths.store to another folder",
            ) from None
        if known != self.meta:
            raise DataError(
                f"{path} says {known}",
                expected=str(self.meta),
                hint=f"delete {self.folder}, or set paths.store to another folder",
            )

    def _read(self) -> None:
        """Reads the records of all shards, and sorts them by the first word of their keys."""
        indices = sorted(self.folder.glob(f"*{INDEX}"))
        tables = [read_index(path) for path in indices]
        self._shards = [path.with_suffix(DATA) for path in indices]
        self._ends = np.cumsum([len(table) for table in tables], dtype=np.int64)
        self._records = np.concatenate([np.zeros(0, dtype=RECORD), *tables])
        first = np.ascontiguousarray(self._records["key"][:, 0])
        self._order = np.argsort(first)
        self._prefixes = first[self._order]
        if indices:
            mark_used(self.folder)

    def _shard(self, place: int) -> int:
        return int(np.searchsorted(self._ends, self._order[place], side="right"))

    def _is_intact(self, place: int, record: Any) -> bool:
        if place in self._verified:
            return True
        if not is_intact(self._shards[self._shard(place)], record, self.bytes_a_row):
            return False
        self._verified.add(place)
        return True


def folder_name(meta: Mapping[str, Any]) -> str:
    """Returns the folder of an extractor in a store.

    Args:
        meta: Format, identity, numbers and width.

    Returns:
        The version of the format, and 16 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
    return f"v{meta['format']}-{digest[:16]}"


def mark_used(folder: Path) -> None:
    """Notes that features are still used, which `polymodal features --unused` asks.

    Args:
        folder: The collection; nothing happens where it cannot be written.
    """
    try:
        (folder / USED).touch()
    except OSError:
        return
