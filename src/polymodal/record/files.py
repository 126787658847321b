"""Files that are whole or not there."""

import os
import secrets
from pathlib import Path

LAST = "last"  # beside the run folders: the id of the run that the last command made


def write_whole(path: Path, text: str) -> None:
    """Writes a text file beside its target, then renames it, so that a kill leaves the old one.

    Args:
        path: The file; its folder must exist.
        text: Its content.

    Raises:
        OSError: The file cannot be written; what stood there before still does.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
