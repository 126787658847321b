"""Say what a command is doing where it would be silent for long."""

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

AFTER_S = 3.0  # a shorter silence needs no explanation


@contextmanager
def say_if_slow(what: str, after_s: float = AFTER_S) -> Generator[None]:
    """Print what is being done on standard error, if it takes longer than `after_s` seconds.

    Example:
        >>> with say_if_slow("reading the corpus"):
        ...     pass
    """
    timer = threading.Timer(after_s, lambda: print(f"{what} …", file=sys.stderr, flush=True))
    timer.daemon = True
    if os.environ.get("LOCAL_RANK", "0") == "0":  # the other processes do the same
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
