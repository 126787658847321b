"""Cache one small file of each of many folders in a single index, for fast listing.

The small files are the truth. The index keeps the stamp of each (times, size, inode); what is new,
changed or gone is read again. A missing, broken or outdated index costs time, never an answer. It
is replaced whole, so any number of processes may write it at once without a lock: the last one
wins, and what it did not know is read again.
"""

import contextlib
import functools
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.security.files import atomic_write_text

MIN_FOLDERS_TO_INDEX = 50  # folders; fewer are read as fast one by one
# Coarsest tick of file systems: a file written that recently may change without a trace.
FS_TIMESTAMP_RESOLUTION_NS = 2_000_000_000
Stamp = list[int]
Values = Mapping[str, Any]


def file_system_time_ns(folder: Path) -> int:
    """Return the time where the files are, which may be another machine; 0 if unknown."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return 0


@dataclass
class IndexContent:
    """The content of the index."""

    shared: list[Any] = field(default_factory=list)  # values that many entries have
    # folder to stamp, own values, and indices of shared values by key
    entries: dict[str, list[Any]] = field(default_factory=dict)

    def values(self, name: str) -> dict[str, Any]:
        """Return what the index holds of a folder."""
        _, own, index_of = self.entries[name]
        return {**own, **{key: self.shared[index] for key, index in index_of.items()}}


@dataclass(frozen=True)
class IndexCache:
    """The index of one file of each folder."""

    path: Path  # file of the index
    source: str  # name of the file in each folder
    layout: str  # version of the content; an index of another layout is not used
    is_shared: Callable[[str], bool]  # whether folders share the values of a key
    clock: Callable[[Path], int] = file_system_time_ns  # the time where a folder is

    def read(
        self, names: Iterable[str], read: Callable[[Path], Values | None]
    ) -> dict[str, Values | None]:
        """Return the values of folders beside the index; folders in the index are not read.

        Args:
            names: Folders.
            read: Reads the values of a folder, as JSON types; None if it cannot.

        Returns:
            Folder to values. They share values: change none in place.
        """
        root, content = self.path.parent, self._load()
        stamps = {name: _stamp(f"{root}/{name}/{self.source}") for name in names}
        result: dict[str, Values | None] = {}
        unknown = []
        for name, stamp in stamps.items():
            entry = content.entries.get(name)
            if entry is not None and entry[0] == stamp:
                result[name] = content.values(name)
            else:
                result[name] = None
                unknown.append(name)
        time_ns = self.clock(root) if unknown and len(stamps) >= MIN_FOLDERS_TO_INDEX else 0
        result.update((name, read(root / name)) for name in unknown)
        settled = {
            name: (stamp, values)
            for name in unknown
            if (values := result[name]) is not None
            and (stamp := stamps[name])
            and max(stamp[:2]) < time_ns - FS_TIMESTAMP_RESOLUTION_NS
        }
        if settled:
            here = {name for name in content.entries if name in stamps or (root / name).is_dir()}
            self._save(_merged(content, here - {*unknown}, settled, self.is_shared))
        return result

    def _load(self) -> IndexContent:
        try:
            head, _, body = self.path.read_bytes().partition(b"\n")
            if json.loads(head) != self._head(body):
                return IndexContent()
            with _no_collection():
                return IndexContent(**json.loads(body))
        except (OSError, ValueError, TypeError, RecursionError):
            return IndexContent()

    def _save(self, content: IndexContent) -> None:
        body = json.dumps(vars(content), separators=(",", ":"))
        head = json.dumps(self._head(body.encode()))
        with contextlib.suppress(OSError):  # such as a disk that is full or cannot be written
            atomic_write_text(self.path, f"{head}\n{body}")

    def _head(self, body: bytes) -> dict[str, Any]:
        return {"layout": self.layout, "crc32": zlib.crc32(body)}


def _merged(
    previous: IndexContent,
    staying: Collection[str],
    settled: Mapping[str, tuple[Stamp, Values]],
    is_shared: Callable[[str], bool],
) -> IndexContent:
    content, index_of = IndexContent(), dict[str, int]()

    def place(value: Any) -> int:
        text = json.dumps(value)
        if text not in index_of:
            index_of[text] = len(content.shared)
            content.shared.append(value)
        return index_of[text]

    moved = functools.cache(lambda before: place(previous.shared[before]))
    for name in staying:
        stamp, own, shared = previous.entries[name]
        content.entries[name] = [stamp, own, {key: moved(index) for key, index in shared.items()}]
    for name, (stamp, values) in settled.items():
        own = {key: value for key, value in values.items() if not is_shared(key)}
        shared = {key: place(value) for key, value in values.items() if is_shared(key)}
        content.entries[name] = [stamp, own, shared]
    return content


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]


@contextmanager
def _no_collection() -> Generator[None]:
    """Pause the garbage collector, which would walk all that is read for nothing."""
    import gc

    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
