"""Processes of the server, started on request: reports, comparisons, trackio."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from polymodal.errors import RunError

LIMIT_S = 900.0
START_S = 60.0  # until trackio answers
LOOPBACK = "127.0.0.1"
SHOW_TRACKIO = (
    "import sys, trackio; trackio.show(host='127.0.0.1', server_port=int(sys.argv[1]),"
    " open_browser=False, share=False, mcp_server=False)"
)
ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID")


class Subprocesses:
    """Processes that serve the page; all of them end with it."""

    def __init__(self) -> None:
        self._lock, self._trackio_lock = threading.Lock(), threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._reports: dict[Path, threading.Thread] = {}
        self._failed: dict[Path, str] = {}
        self._trackio: dict[Path, tuple[subprocess.Popen[str], str]] = {}
        self._closed = False

    def report(self, folder: Path) -> bool:
        """Make the page of a run or study if it is missing or older than the record.

        Returns:
            Whether it exists; False while it is being made.

        Raises:
            RunError: It could not be made.
        """
        if _is_fresh(folder):
            return True
        with self._lock:
            if (message := self._failed.pop(folder, None)) is not None:
                raise RunError(message)
            maker = self._reports.get(folder)
            if maker is None or not maker.is_alive():
                maker = threading.Thread(target=self._make, args=(folder,), daemon=True)
                self._reports[folder] = maker
                maker.start()
        maker.join(timeout=0.5)
        return False

    def compare(self, folders: Sequence[Path], score: str | None) -> Any:
        """Compare runs as `polymodal compare` does; without a score by their own monitor.

        Raises:
            RunError: They cannot be compared.
        """
        options = ["--json", *([f"--score={score}"] if score else [])]
        return json.loads(self._polymodal(["compare", *map(str, folders), *options]))

    def trackio(self, database: Path) -> str:
        """Start trackio's own page, once per database, and return its address.

        Raises:
            RunError: It does not start.
        """
        with self._trackio_lock:
            process, address = self._trackio.get(database, (None, ""))
            if process is not None and process.poll() is None:
                return address
            with socket.socket() as server:  # a free port
                server.bind((LOOPBACK, 0))
                port = int(server.getsockname()[1])
            environ = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
            with tempfile.TemporaryFile("w+") as log:
                process = self._start(
                    [sys.executable, "-c", SHOW_TRACKIO, str(port)],
                    {**environ, "TRACKIO_DIR": str(database)},
                    log,
                )
                _until_it_answers(process, port, log)
            address = f"http://{LOOPBACK}:{port}/"
            self._trackio[database] = process, address
            return address

    def close(self) -> None:
        """Stop all processes."""
        self._closed = True
        for process in [*self._running]:
            process.terminate()
        for process in [*self._running]:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _make(self, folder: Path) -> None:
        try:
            self._polymodal(["report", str(folder)])
        except RunError as error:
            self._failed[folder] = error.message

    def _polymodal(self, arguments: Sequence[str]) -> str:
        process = self._start([sys.executable, "-m", "polymodal", *arguments], os.environ)
        try:
            out, errors = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = process.communicate()
        finally:
            self._running.discard(process)
        if process.returncode != 0:
            last_lines = errors.strip().splitlines()[-3:] or [f"exit code {process.returncode}"]
            raise RunError("\n".join(last_lines).removeprefix("polymodal: "))
        return out

    def _start(
        self, command: list[str], environment: Mapping[str, str], log: IO[str] | None = None
    ) -> subprocess.Popen[str]:
        if self._closed:
            raise RunError("the server is ending")
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if log is None else log,
            stderr=subprocess.PIPE if log is None else log,
            text=True,
            env=environment,
            start_new_session=True,  # ctrl-C in the terminal is the server's: it ends them
        )
        self._running.add(process)
        return process


def _is_fresh(folder: Path) -> bool:
    """Return whether the page is newer than its sources."""
    try:
        made_ns = (folder / "report.html").stat().st_mtime_ns
        sources = [folder / name for name in ("run.json", "study.json")]
        return all(made_ns >= source.stat().st_mtime_ns for source in sources if source.exists())
    except OSError:
        return False


def _until_it_answers(process: subprocess.Popen[str], port: int, log: IO[str]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    process.kill()
    process.wait()
    log.seek(0)
    last = log.read().strip().splitlines()[-1:] or ["it did not answer"]
    raise RunError(f"trackio's page did not start: {last[0]}")
