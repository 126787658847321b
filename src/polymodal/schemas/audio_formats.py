"""Audio that libsndfile cannot read, and the command that converts it; messages of its decoders."""

import os
import shlex
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

UNREADABLE = (".m4a", ".aac", ".mp4", ".m4b", ".mov", ".3gp", ".amr", ".wma", ".webm", ".mka")
ADTS = (b"\xff\xf1", b"\xff\xf9")  # raw AAC
# How messages of libmpg123 begin, which it writes to standard error by itself.
DECODER_MESSAGES = (b"[src/libmpg123/", b"Warning: ", b"Note: ", b"\n")
MATROSKA, WINDOWS_MEDIA, AMR = b"\x1aE\xdf\xa3", b"0&\xb2u", b"#!AMR"


def conversion(path: Path) -> str:
    """Return the command that converts a file of a format that cannot be read, or nothing.

    The format is told by the name and by the first bytes: an M4A may be called `.wav`.

    Example:
        >>> conversion(Path("clips/a.m4a"))
        'ffmpeg -i clips/a.m4a clips/a.wav'
    """
    if path.suffix.lower() not in UNREADABLE and not _is_unreadable(path):
        return ""
    target = path.with_suffix(".wav")
    target = path.with_suffix(".converted.wav") if target == path else target
    return f"ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(target))}"


def _is_unreadable(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except (OSError, ValueError):
        return False
    return start[4:8] == b"ftyp" or start.startswith((*ADTS, MATROSKA, WINDOWS_MEDIA, AMR))


_standard_error = threading.Lock()


@contextmanager
def without_decoder_messages(path: Path) -> Generator[None]:
    """Keep what libmpg123 says of an MP3 off standard error; what others write follows at the end.

    What is wrong with a file shows in its samples, which are checked.
    """
    if path.suffix.lower() != ".mp3":
        yield
        return
    with _standard_error, tempfile.TemporaryFile() as written:
        before = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            written.seek(0)
            if others := [line for line in written if not line.startswith(DECODER_MESSAGES)]:
                os.write(2, b"".join(others))
