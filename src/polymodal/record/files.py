"""Files that are whole or not there."""

import os
from pathlib import Path

from polymodal.safety.files import replacing

LAST = "last"  # beside the run folders: the id of the run that the last command made


def write_whole(path: Path, text: str) -> None:
    """Writes a text file beside its target, then renames it, so that a kill leaves the old one.

    Args:
        path: The file; its folder must exist.
        text: Its content.

    Raises:
        OSError: The file cannot be written; what stood there before still does.
    """
    with replacing(path) as beside, beside.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
