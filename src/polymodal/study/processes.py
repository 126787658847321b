"""Processes that run a command of polymodal; the libraries are imported once for all of them."""

import importlib
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

# What a run imports, so that a new process finds it loaded.
PRELOADED = ["polymodal.study.jobs", "polymodal.cli.run", "polymodal.report.load"]


def start_command(
    arguments: Sequence[str], environ: Mapping[str, str], log: Path | None = None
) -> BaseProcess:
    """Start `polymodal ARGUMENTS` in a process of its own, without the time to import PyTorch.

    On Linux a server process imports the libraries once, and every command is forked from it. With
    CUDA, which does not survive a fork, and on other systems each process imports them itself.

    Args:
        arguments: A command and its arguments.
        environ: Environment variables of the process.
        log: File that its output is appended to; None for the streams of this process.
    """
    import torch  # not above: a new process sets its environment before that

    is_forked = sys.platform == "linux" and not torch.cuda.is_available()
    context: Any = multiprocessing.get_context("forkserver" if is_forked else "spawn")
    if is_forked:
        context.set_forkserver_preload(PRELOADED)
    sys.stdout.flush()
    streams = None if log else (_Stream(1), _Stream(2))
    target = (tuple(arguments), dict(environ), str(Path.cwd()), log, streams)
    process: BaseProcess = context.Process(target=_run, args=target)
    process.start()
    return process


class _Stream:
    """A file descriptor of this process that the new one gets a copy of."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self.descriptor),)


def _received(copy: Any) -> int:
    return int(copy.detach())


def _run(
    arguments: tuple[str, ...],
    environ: dict[str, str],
    folder: str,
    log: Path | None,
    streams: tuple[int, int] | None,
) -> None:
    """Run a command in this new process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    _redirect(log, streams)
    main = importlib.import_module("polymodal.__main__")
    sys.modules["__main__"] = main  # Lightning starts further ranks by its name
    sys.argv = [str(main.__file__), *arguments]
    if "torch" in sys.modules and (num_threads := environ.get("OMP_NUM_THREADS")):
        # It was imported under another environment.
        sys.modules["torch"].set_num_threads(int(num_threads))
    sys.exit(importlib.import_module("polymodal.cli.main").main(arguments))


def _end_with_parent() -> None:
    """End this process as by a signal when the one that asked for it has gone, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _redirect(log: Path | None, streams: tuple[int, int] | None) -> None:
    if log is not None:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        streams = (descriptor, descriptor)
    assert streams is not None
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(streams[0], 1)
    os.dup2(streams[1], 2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
