"""What stands in many small files, kept in one beside them, so that thousands list in a moment.

The small files are the truth. Of each the stamp is compared (times, size, place on the disk), and
what is new, changed or gone is read anew; a file that is missing, broken or of another version
costs time, never an answer. It takes another's place whole, so that any number of processes may
write it at once without a lock: the last one wins, and what it did not know is read again.
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
# Some file systems count in steps of so long: what was written that recently may change unseen.
FS_TIMESTAMP_RESOLUTION_NS = 2_000_000_000
Stamp = list[int]
Values = Mapping[str, Any]


@dataclass
class IndexContent:
    """What stands in the file.

    Args:
        shared: Values that many entries have.
        entries: Folder to stamp, own values, and the places of those that are shared.
    """

    shared: list[Any] = field(default_factory=list)
    entries: dict[str, list[Any]] = field(default_factory=dict)

    def values(self, name: str) -> dict[str, Any]:
        """Return what the index holds of a folder."""
        _, own, index_of = self.entries[name]
        return {**own, **{key: self.shared[index] for key, index in index_of.items()}}


@dataclass(frozen=True)
class IndexCache:
    """The file that keeps what stands in one file of each folder.

    Args:
        path: Where it is kept.
        source: Name of the file in each folder.
        layout: What is kept and how; a file of another layout is not used.
        shares: Tells which keys have values that many folders share.
    """

    path: Path
    source: str
    layout: str
    shares: Callable[[str], bool]

    def read(
        self, names: Iterable[str], read: Callable[[Path], Values | None]
    ) -> dict[str, Values | None]:
        """Return the values of folders; those that are known are not read.

        Args:
            names: Folders beside the file.
            read: Reads the values of one, as JSON knows them; None where it cannot.

        Returns:
            Folder to values. They share parts: change none in place.
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
        now_ns = _now_ns(root) if unknown and len(stamps) >= MIN_FOLDERS_TO_INDEX else 0
        result.update((name, read(root / name)) for name in unknown)
        settled = {
            name: (stamp, values)
            for name in unknown
            if (values := result[name]) is not None
            and (stamp := stamps[name])
            and max(stamp[:2]) < now_ns - FS_TIMESTAMP_RESOLUTION_NS
        }
        if settled:
            here = {name for name in content.entries if name in stamps or (root / name).is_dir()}
            self._save(_merged(content, here - {*unknown}, settled, self.shares))
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
    shares: Callable[[str], bool],
) -> IndexContent:
    """What is kept from now on, each shared value once."""
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
        content.entries[name] = [stamp, own, {key: moved(one) for key, one in shared.items()}]
    for name, (stamp, values) in settled.items():
        own = {key: value for key, value in values.items() if not shares(key)}
        shared = {key: place(value) for key, value in values.items() if shares(key)}
        content.entries[name] = [stamp, own, shared]
    return content


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]


def _now_ns(folder: Path) -> int:
    """What time it is where the files lie, which may be another machine; 0 where none tells."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return 0


@contextmanager
def _no_collection() -> Generator[None]:
    """Reading makes much and throws nothing away: the collector would look at it for nothing."""
    import gc

    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
