"""Files that are whole or not there, and what they hold."""

import hashlib
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Generator[Path]:
    """Give a temporary path to write to, which replaces the file at the end.

    So nobody ever reads half of it: not another process, and nobody after a kill. If the body
    fails, the file stays as it was.

    Args:
        path: The file; its folder must exist.

    Yields:
        Where to write, with the same suffix.

    Raises:
        OSError: The file cannot be written or replaced.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_write(Path(folder, "a.txt")) as tmp_path:
        ...         _ = tmp_path.write_text("whole")
        ...     Path(folder, "a.txt").read_text()
        'whole'
    """
    tmp_path = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    try:
        yield tmp_path
        tmp_path.replace(path)
    finally:
        tmp_path.unlink(missing_ok=True)


def atomic_write_text(path: Path, text: str) -> None:
    """Write a text file atomically: a kill leaves the old one.

    Args:
        path: The file; its folder must exist.
        text: Its content.

    Raises:
        OSError: The file cannot be written; what stood there before still does.
    """
    with atomic_write(path) as tmp_path, tmp_path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
