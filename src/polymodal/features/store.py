"""A store of features, keyed by the content of utterances.

    STORE/v1-<hash of identity and dtype>/meta.json      the extractor of the features
                                          used           touched when it is opened
                                          <random>.data  values, one utterance after another
                                          <random>.index position of each

Legend: time = vectors an utterance has, feature = width.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
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

# Part of the folder's name: collections of other versions are never read.
FORMAT_VERSION = 1
META, USED = "meta.json", "used"


class FeatureStore:
    """A folder with the features of any number of extractors, for any number of processes.

    It is created with the first feature. `dtype` is that of the stored values: `float32`, `float16`
    or `bfloat16`.

    Raises:
        ConfigError: The type is unknown.
    """

    def __init__(self, folder: Path, dtype: str = "float32") -> None:
        stored_type(dtype)
        self.folder, self.dtype = folder, dtype

    def open(self, extractor: Extractor) -> "FeatureCollection":
        """Open the features of an extractor; open them again to see those stored since.

        Raises:
            DataError: The folder is damaged, or of another extractor or version.
        """
        identity, size = extractor.identity, extractor.feature_size
        return FeatureCollection(self.folder, identity, size, self.dtype)


class FeatureCollection:
    """The stored features of one extractor; see `FeatureStore.open`."""

    def __init__(self, root: Path, identity: str, feature_size: int, dtype: str) -> None:
        self.meta = {
            "format": FORMAT_VERSION,
            "identity": identity,
            "dtype": dtype,
            "feature_size": feature_size,
        }
        digest = hashlib.sha256(json.dumps(self.meta, sort_keys=True).encode()).hexdigest()
        self.folder = root / f"v{FORMAT_VERSION}-{digest[:16]}"
        self.dtype, self.feature_size = dtype, feature_size
        self.bytes_a_row = feature_size * stored_type(dtype).itemsize
        self._writer: ShardWriter | None = None
        self._new: dict[bytes, StoreEntry] = {}
        self._verified: set[int] = set()
        self._check_meta()
        self._read()

    def __len__(self) -> int:
        return len(self._records) + len(self._new)

    def find(self, key: bytes) -> StoreEntry | None:
        """Return the position of features, or None where they are missing or damaged.

        At their first use in a process their checksum is compared.
        """
        if key in self._new:
            return self._new[key]
        integers = np.frombuffer(key, dtype="<u8")
        position = int(np.searchsorted(self._prefixes, integers[0]))
        while position < len(self._prefixes) and self._prefixes[position] == integers[0]:
            record = self._records[self._order[position]]
            if (record["key"] == integers).all() and self._is_intact(position, record):
                shard, offset = self._shard(position), int(record["offset"])
                return StoreEntry(shard, offset, int(record["num_rows"]))
            position += 1
        return None

    def get(self, key: bytes) -> npt.NDArray[Any] | None:
        """Return features `[time, feature]`, mapped and read-only, or None as of `find`."""
        entry = self.find(key)
        if entry is None:
            return None
        shape = (entry.num_rows, self.feature_size)
        return read_values(self._shards[entry.shard], entry.offset, shape, dtype=self.dtype)

    def put(self, key: bytes, values: Float32[np.ndarray, "time feature"]) -> StoreEntry:
        """Store float32 features, in a shard of this process.

        Raises:
            DataError: The disk is full, the folder cannot be written, or a value is beyond the
                range of the store's type.
        """
        stored = encoded(values, self.dtype)
        # A forked process would write into the files of its parent.
        if self._writer is None or self._writer.process != os.getpid():
            self._make_folder()
            self._writer = ShardWriter(self.folder)
            self._shards.append(self._writer.path)
        content = stored.reshape(-1).view(np.uint8).data
        offset = self._writer.append(key, content, len(stored))
        self._new[key] = StoreEntry(len(self._shards) - 1, offset, len(stored))
        return self._new[key]

    def features(self, entries: Mapping[str, StoreEntry]) -> FeatureReader:
        """Return the reader of the features of a corpus."""
        return FeatureReader(entries, list(self._shards), self.dtype, self.feature_size)

    def close(self) -> None:
        """Close the shard of this process."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / META).exists():
                meta = {**self.meta, "made": datetime.now(UTC).isoformat(timespec="seconds")}
                with atomic_write(self.folder / META) as tmp_path:
                    tmp_path.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
            (self.folder / USED).touch()
        except OSError as error:
            raise not_writable(self.folder, error) from error

    def _check_meta(self) -> None:
        path = self.folder / META
        hint = f"delete {self.folder}, or set paths.store to another folder"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            meta = {name: stored[name] for name in self.meta}
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path} cannot be read: {error!r}",
                expected="the description that polymodal writes next to stored features",
                hint=hint,
            ) from None
        if meta != self.meta:
            raise DataError(f"{path} says {meta}", expected=str(self.meta), hint=hint)

    def _read(self) -> None:
        """Read the records of all shards, and sort them by the first word of their keys."""
        indices = sorted(self.folder.glob(f"*{INDEX}"))
        tables = [read_index(path) for path in indices]
        self._shards = [path.with_suffix(DATA) for path in indices]
        self._ends = np.cumsum([len(table) for table in tables], dtype=np.int64)
        self._records = np.concatenate([np.zeros(0, dtype=RECORD), *tables])
        first = np.ascontiguousarray(self._records["key"][:, 0])
        self._order = np.argsort(first)
        self._prefixes = first[self._order]
        if indices:
            # For `polymodal features --unused`; a folder of another user cannot be touched.
            with suppress(OSError):
                (self.folder / USED).touch()

    def _shard(self, position: int) -> int:
        return int(np.searchsorted(self._ends, self._order[position], side="right"))

    def _is_intact(self, position: int, record: Any) -> bool:
        path = self._shards[self._shard(position)]
        if position in self._verified or is_intact(path, record, self.bytes_a_row):
            self._verified.add(position)
            return True
        return False
