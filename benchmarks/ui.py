"""The page over 10,000 run folders: how soon it shows, what its server holds; and its pictures.

`python -m benchmarks ui` measures, `python -m benchmarks.ui` makes the pictures of the docs anew.
"""

import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.rows import Row, row
from benchmarks.ui_runs import write_runs

NUM_RUNS = 10_000
NUM_LOOKS = 5
LARGEST_BYTES = 195_000  # of a picture; a larger one gets a palette
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
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def ui() -> list[Row]:
    """Seconds until the table of 10,000 runs is seen, and memory of the server (needs Chromium)."""
    with tempfile.TemporaryDirectory() as folder:
        write_runs(Path(folder), NUM_RUNS, epochs=3)
        starts = []
        for _ in range(2):  # the first one writes the index of runs
            began = time.perf_counter()
            with serving(Path(folder)):
                starts.append(time.perf_counter() - began)
        with serving(Path(folder)) as (address, pid):
            whole = statistics.median(_answer_s(address, "/api/runs") for _ in range(NUM_LOOKS))
            seen = _looks(address)
            _options(address)
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            held, most = (int(re.search(rf"{one}:\s+(\d+)", status)[1]) for one in ("RSS", "HWM"))
    return [
        row("polymodal ui, until it prints its address, first time", starts[0], 5.0, "s"),
        row("the same, later", starts[1], 2.0, "s"),
        row("the table's JSON", whole, 0.5, "s"),
        row("from the address to rows in the browser", statistics.median(seen["rows"]), 1.5, "s"),
        row("CPU time of server and browser until then", statistics.median(seen["cpu"]), 1.5, "s"),
        row("first contentful paint", statistics.median(seen["paint"]), 1.5, "s"),
        row("the longest time to rows", max(seen["rows"]), 1.5, "s"),
        row("memory of the server, all options read", held / 1e3, 500.0, "MB"),
        row("its peak", most / 1e3, 500.0, "MB"),
    ]


@contextmanager
def serving(folder: Path) -> Generator[tuple[str, int]]:
    """Runs `polymodal ui` over a folder.

    Args:
        folder: Of runs.

    Yields:
        Its address, and the number of its process.
    """
    words = ["ui", "--no-open", "--port", "0", "--runs", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "polymodal", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


@contextmanager
def browser() -> Generator[Any]:
    """Starts a headless Chromium that talks to this machine alone."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        started = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield started
        started.close()


def _answer_s(address: str, path: str) -> float:
    began = time.perf_counter()
    with urllib.request.urlopen(address.replace("/?", f"{path}?")) as answer:
        answer.read()
    return time.perf_counter() - began


def _looks(address: str) -> dict[str, list[float]]:
    """Each look with nothing in the browser's cache."""
    found: dict[str, list[float]] = {"rows": [], "paint": [], "cpu": []}
    with browser() as started:
        for _ in range(NUM_LOOKS):
            page = started.new_context(viewport={"width": 1280, "height": 800}).new_page()
            began, worked = time.perf_counter(), _cpu_s()
            page.goto(address, wait_until="commit")
            page.wait_for_selector(".tabulator-row")
            found["rows"].append(time.perf_counter() - began)
            found["cpu"].append(_cpu_s() - worked)
            paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            found["paint"].append(page.evaluate(paint) / 1e3)
            page.context.close()
    return found


def _cpu_s() -> float:
    """CPU time of all processes that this one started: server, browser and what drives it."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            words = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            parents[path.parent.name] = words[1]
            ticks[path.parent.name] = int(words[11]) + int(words[12])

    def ours(pid: str) -> bool:
        return pid in parents and (parents[pid] == str(os.getpid()) or ours(parents[pid]))

    return sum(num for pid, num in ticks.items() if ours(pid)) / os.sysconf("SC_CLK_TCK")


def _options(address: str) -> None:
    """Waits until the configurations of all runs are read."""
    while True:
        with urllib.request.urlopen(address.replace("/?", "/api/options?")) as answer:
            if f'"done": {NUM_RUNS}' in answer.read().decode():
                return
        time.sleep(0.2)


def pictures(folder: Path = IMAGES) -> None:
    """Makes the pictures of the docs from generated runs.

    Args:
        folder: Where they are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, browser() as started:
        runs = Path(place) / "runs"
        write_runs(runs, 240)
        with serving(runs) as (address, _):
            light, dark = (_page(started, address, scheme) for scheme in ("light", "dark"))
            light.get_by_role("button", name="test/uar").click()
            for number in (0, 1, 4, 7, 12):
                light.locator("#table input").nth(number).check()
            _take(light, folder / "ui-table.png")
            light.click("#tab-parallel")
            _take(light, folder / "ui-options.png")
            for number in (2, 3, 5, 7, 11):
                dark.locator("#table input").nth(number).check()
            dark.click("#tab-curves")
            _take(dark, folder / "ui-curves-dark.png")


def _page(started: Any, address: str, scheme: str) -> Any:
    size = {"width": 1280, "height": 760}
    page = started.new_context(viewport=size, color_scheme=scheme).new_page()
    page.goto(address)
    page.wait_for_selector(".tabulator-row")
    return page


def _take(page: Any, path: Path) -> None:
    page.mouse.move(1, 1)
    page.wait_for_timeout(1500)
    # The folder is a temporary one: readers are spared its name.
    page.evaluate("document.querySelector('#roots').textContent = 'runs'")
    page.screenshot(path=path)
    if path.stat().st_size > LARGEST_BYTES:
        small = Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    pictures()
