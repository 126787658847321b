"""What a check costs beside the import of the libraries that it needs."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, row
from polymodal.config.compose import available_choices

EXPERIMENTS = ("sample/fusion", "emodb/egemaps", "emotiontts_ko/fusion", "kemdy20/fusion")
NUM_ROUNDS = 3

# Parts 1 to 4 of the check of an experiment, in a process of its own; prints what it imported.
CHECK = """
import json, sys
from pathlib import Path
from polymodal.cli._bootstrap import prepare
prepare()
from polymodal.preflight.check import Report, check_fast
from polymodal.preflight.compose_all import compose_all
from polymodal.preflight.rules.data import check_data
composed, faults = compose_all(["experiment=" + sys.argv[1]])
report = Report(faults)
context = check_fast(composed, report)
report.add(check_data(context, full=False), context.origins)
names = [name for name, one in sys.modules.items() if getattr(one, "__spec__", None)]
ours = ("polymodal", "__main__")
print(json.dumps([name for name in names if name.partition(".")[0] not in ours]))
"""

# Without collecting garbage, as our own start does: the harder rival by a quarter.
IMPORTS = """
import contextlib, gc, importlib, json, sys
gc.disable()
for name in json.loads(sys.stdin.read()):
    with contextlib.suppress(Exception):  # parts that only their package can import
        importlib.import_module(name)
"""

# The fast part as `run` meets it: with all that the run needs imported already.
FAST = """
import json, sys, time
import polymodal.runs.train
from polymodal.config.compose import compose
from polymodal.preflight.check import Report, check_fast
took = {}
for name in ["sample/fusion", *sys.argv[1:]]:
    composed = compose(["experiment=" + name])
    began = time.perf_counter()
    check_fast(composed, Report())
    took.setdefault(name, time.perf_counter() - began)
print(json.dumps(took))
"""


def preflight() -> list[Row]:
    """Seconds of a check over the bare import of its libraries, and of its part within `run`."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [line for name in EXPERIMENTS for line in _against_imports(name, folder)]
        took = json.loads(_run(FAST, folder, available_choices("experiment"))[1])
    first = took["sample/fusion"]  # has the imports of the check itself
    rows.append(row("within run, first experiment of a process", first, 0.5, "s"))
    slowest = max(took, key=lambda name: float(took[name]))
    rows.append(row(f"within run, slowest of {len(took)}: {slowest}", took[slowest], 0.5, "s"))
    return rows


def _against_imports(name: str, folder: str) -> list[Row]:
    _, imported = _run(CHECK, folder, [name])
    pairs = [
        (_run(CHECK, folder, [name])[0], _run(IMPORTS, folder, [], imported)[0])
        for _ in range(NUM_ROUNDS)
    ]
    ratio = statistics.median(checked / bare for checked, bare in pairs)
    seconds = statistics.median(checked for checked, _ in pairs)
    return [
        {**row(f"check of {name}, parts 1 to 4", seconds, 10, "s"), "goal": None, "ratio": None},
        row(f"check of {name} over the imports", ratio, 1.3, "x"),
    ]


def _run(code: str, folder: str, words: list[str], given: str = "") -> tuple[float, str]:
    """Returns the seconds of a process, and the last line that it prints."""
    paths = [str(Path.cwd() / "src"), os.environ.get("PYTHONPATH", "")]
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        input=given,
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return time.perf_counter() - began, (done.stdout.splitlines() or [""])[-1]
