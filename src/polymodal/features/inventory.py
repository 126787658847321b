"""What lies in a feature store, how long it was not used, and its removal."""

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
    """The features of one extractor.

    Args:
        folder: Where they are.
        identity: What made them; `?` where that cannot be read.
        dtype: Numbers that they are stored as.
        version: Of the store's format; None where that cannot be read.
        num_entries: Number of utterances, those stored twice counted twice.
        num_bytes: Size of the files.
        unused_s: Seconds since they were opened last.
    """

    folder: Path
    identity: str
    dtype: str
    version: int | None
    num_entries: int
    num_bytes: int
    unused_s: float

    @property
    def is_readable(self) -> bool:
        """Whether this version of polymodal reads them."""
        return self.version == FORMAT_VERSION


def list_stored(store: Path) -> list[StoredCollection]:
    """Lists a store.

    Args:
        store: Its folder.

    Returns:
        One for each extractor, the one used last first; empty where there is no store.

    Raises:
        DataError: The folder is no store: it holds other things.
    """
    if not store.exists():
        return []
    folders = [path for path in _contents(store) if not path.name.startswith(REMOVED)]
    return sorted((_stored(folder) for folder in folders), key=lambda one: one.unused_s)


def remove(stored: StoredCollection) -> None:
    """Removes the features of one extractor; a process that reads them goes on reading.

    Args:
        stored: What `list_stored` returned.

    Raises:
        DataError: They cannot be removed.
    """
    # Renamed first, so that nobody opens what is half removed.
    removed = stored.folder.with_name(f"{REMOVED}{secrets.token_hex(4)}")
    try:
        stored.folder.rename(removed)
        for left in stored.folder.parent.glob(f"{REMOVED}*"):  # of a removal that was killed, too
            shutil.rmtree(left)
    except OSError as error:
        raise DataError(
            f"{stored.folder} cannot be removed: {error.strerror}",
            hint="remove the folder as its owner",
        ) from None


def _contents(store: Path) -> list[Path]:
    try:
        found = sorted(store.iterdir())
    except OSError as error:
        raise DataError(
            f"the feature store {store} cannot be read: {error.strerror}",
            hint="name its folder with --store",
        ) from None
    others = [one.name for one in found if not one.name.startswith(("v", REMOVED))]
    if others:
        raise DataError(
            f"{store} holds {others[0]!r}",
            expected="a feature store, which holds folders such as v1-0123456789abcdef",
            hint="name its folder with --store (paths.store in the configuration)",
        )
    return found


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
