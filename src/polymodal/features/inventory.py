"""List and remove the features in a store."""

import json
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from polymodal.errors import DataError
from polymodal.features.shards import DATA, INDEX, RECORD
from polymodal.features.store import FORMAT_VERSION, META, USED

UNKNOWN = "?"
REMOVED = ".removed-"


@dataclass(frozen=True)
class StoredCollection:
    """The stored features of one extractor."""

    folder: Path
    identity: str  # of the extractor; `?` if it cannot be read
    dtype: str  # of the stored values
    version: int | None  # of the store's format; None if it cannot be read
    num_entries: int  # number of utterances, those stored twice counted twice
    num_bytes: int  # size of the files
    unused_s: float  # seconds since they were opened last

    @property
    def is_readable(self) -> bool:
        """Whether this version of polymodal reads them."""
        return self.version == FORMAT_VERSION


def list_stored(store: Path) -> list[StoredCollection]:
    """List the collections of a store, the last used first; none where there is no store.

    Raises:
        DataError: The folder holds other things than a store.
    """
    if not store.exists():
        return []
    folders = [path for path in _contents(store) if not path.name.startswith(REMOVED)]
    return sorted((_stored(folder) for folder in folders), key=lambda stored: stored.unused_s)


def remove(stored: StoredCollection) -> None:
    """Remove the features of one extractor; a process that reads them can continue.

    Raises:
        DataError: They cannot be removed.
    """
    # Renamed first, so that no process opens a half-removed folder.
    removed = stored.folder.with_name(f"{REMOVED}{secrets.token_hex(4)}")
    try:
        stored.folder.rename(removed)
        for path in stored.folder.parent.glob(f"{REMOVED}*"):  # also of a killed removal
            shutil.rmtree(path)
    except OSError as error:
        raise DataError(
            f"{stored.folder} cannot be removed: {error.strerror}",
            hint="remove the folder as its owner",
        ) from None


def _contents(store: Path) -> list[Path]:
    try:
        paths = sorted(store.iterdir())
    except OSError as error:
        raise DataError(
            f"the feature store {store} cannot be read: {error.strerror}",
            hint="name its folder with --store",
        ) from None
    others = [path.name for path in paths if not path.name.startswith(("v", REMOVED))]
    if others:
        raise DataError(
            f"{store} holds {others[0]!r}",
            expected="a feature store, which holds folders such as v1-0123456789abcdef",
            hint="name its folder with --store (paths.store in the configuration)",
        )
    return paths


def _stored(folder: Path) -> StoredCollection:
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        identity, dtype, version = str(meta["identity"]), str(meta["dtype"]), int(meta["format"])
    except (OSError, ValueError, KeyError, TypeError):
        identity, dtype, version = UNKNOWN, UNKNOWN, None
    sizes = {path: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    records = sum(size for path, size in sizes.items() if path.suffix == INDEX)
    times = [path.stat().st_mtime for path in sizes if path.name == USED or path.suffix == DATA]
    return StoredCollection(
        folder,
        identity,
        dtype,
        version,
        records // RECORD.itemsize,
        sum(sizes.values()),
        max(0.0, time.time() - max(times, default=folder.stat().st_mtime)),
    )
