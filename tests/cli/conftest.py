"""What the tests of the command line share."""

import contextlib
import os
import pty
import re
import subprocess
import sys

import pytest


@pytest.fixture
def terminal(workplace, monkeypatch):
    """The command line in a terminal of so many columns: what it shows, without its colours."""
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def show(columns, *words):
        monkeypatch.setenv("COLUMNS", str(columns))
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "polymodal", *words]
        with subprocess.Popen(command, stdin=theirs, stdout=theirs) as process:
            os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):  # how Linux says that the other end is closed
                while read := os.read(ours, 4096):
                    shown += read
        os.close(ours)
        assert process.returncode == 0
        return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r", "")

    return show
