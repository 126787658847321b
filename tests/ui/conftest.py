"""Run folders as other processes leave them, a server over them, and a browser that looks at it."""

import http.client
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polymodal.tracking.environment import host
from polymodal.ui.server import Server

CHROMIUM = shutil.which("chromium")
# Without these Chromium would look for its maker's hosts at every start.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-pings",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
]
CONFIG = (
    "corpus:\n  root: ${{paths.data}}/a\noptimizer:\n  lr: {lr}\n  betas: [0.9, 0.99]\nseed: 1\n"
)


def _write_run(runs: Path, run_id: str, /, *, lr: float = 0.001, **fields: Any) -> Path:
    """Writes a run folder: record, configuration, and a journal of three epochs."""
    folder = runs / run_id
    folder.mkdir(parents=True)
    record = {
        "run_id": run_id,
        "name": run_id,
        "experiment": "sample/text",
        "status": "finished",
        "scores": {"test/uar": 0.5, "val/uar": 0.6},
        "started": "2026-01-01T00:00:00+00:00",
        "duration_s": 12.5,
        "host": host(),
        **fields,
    }
    (folder / "config.yaml").write_text(CONFIG.format(lr=lr), encoding="utf-8")
    (folder / "overrides.txt").write_text(f"optimizer.lr={lr}\n", encoding="utf-8")
    lines = [{"epoch": one, "step": 10 * one + 9, "val/uar": 0.3 + 0.1 * one} for one in range(3)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


class Client:
    """Asks a server as the browser does that was given its address."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def ask(
        self, path: str, *, method: str = "GET", cookie: bool = True, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one answer; `_` in a header's name stands for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=120)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if cookie:
            sent["Cookie"] = self.server.access.cookie.partition(";")[0]
        try:
            connection.request(method, path, headers=sent)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        """What a good answer says."""
        status, _, body = self.ask(path)
        assert status == 200, body
        return json.loads(body)


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Writes a run folder: `write_run(runs, run_id, lr=0.01, status="failed")`."""
    return _write_run


@pytest.fixture
def serve(monkeypatch) -> Iterator[Callable[..., Client]]:
    """Starts a server over folders of runs; each look at the folders is a new one."""
    monkeypatch.setattr("polymodal.ui.run_index.MIN_RESCAN_S", 0.0)
    monkeypatch.setattr("polymodal.ui.run_index.RESCAN_FACTOR", 0.0)
    servers: list[Server] = []

    def start(*roots: Path) -> Client:
        server = Server(list(roots), 0)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return Client(server)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium that talks to this machine alone."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium; `make browser` installs it as root")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()
