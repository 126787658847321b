"""Ten thousand run folders: listing them, filtering by score and by configuration, and memory."""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rows import Row, row
from polymodal.tracking.environment import versions
from polymodal.tracking.index_cache import FS_TIMESTAMP_RESOLUTION_NS

NUM_RUNS = 10_000
VERSIONS = versions()
ALL = ["runs"]
FILTERED = ["runs", "status=failed", "corpus=sample", "test/uar>0.7", "optimizer.lr<0.001"]
DIFFERING = ["runs", "--differ", "-n", "1000", "--csv"]


def runs_index() -> list[Row]:
    """Seconds and memory of `polymodal runs` over 10,000 run folders."""
    with tempfile.TemporaryDirectory() as folder:
        _generate(Path(folder))
        time.sleep(FS_TIMESTAMP_RESOLUTION_NS / 1e9 + 0.1)  # until every record counts as settled
        rows = [
            _timed(folder, "first time, the index is made", ALL, 10.0),
            _timed(folder, "afterwards", ALL, 1.0, times=5),
            _timed(folder, "filtered by configuration, first time", FILTERED, 60.0),
            _timed(folder, "the same again", FILTERED, 1.0, times=5),
            _timed(folder, "what differs between the newest 1,000", DIFFERING, 1.0, times=5),
        ]
        _write(Path(folder), NUM_RUNS)
        time.sleep(FS_TIMESTAMP_RESOLUTION_NS / 1e9 + 0.1)
        rows.append(_timed(folder, "one run more, the index is written anew", ALL, 1.0))
        peaks = [_peak_mb(folder, words) for words in (ALL, DIFFERING)]
        sizes = sum(path.stat().st_size for path in Path(folder).glob(".*.json"))
        rows.append(row("both index files", sizes / 1e6, 50.0, "MB"))
        rows.append(row("peak memory", max(peaks), 500.0, "MB"))
    return rows


def _generate(folder: Path) -> None:
    for number in range(NUM_RUNS):
        _write(folder, number)


def _write(folder: Path, number: int) -> None:
    """A run with what a real one holds: its record has 2 kB, its configuration 140 lines."""
    draw = random.Random(number)
    path = folder / f"202601{1 + number % 28:02d}-{number:06d}-sample-text-{number:04x}"
    path.mkdir()
    scores = ("uar", "accuracy", "macro_f1", "weighted_f1", "ece")
    record = {
        "run_id": path.name,
        "name": "sample/text",
        "experiment": "sample/text",
        "status": draw.choice(["finished", "finished", "failed"]),
        "seed": number % 5,
        "scores": {f"{part}/{name}": draw.random() for part in ("test", "val") for name in scores},
        "started": f"2026-01-{1 + number % 28:02d}T00:00:00.{number:06d}+00:00",
        "duration_s": draw.uniform(1, 1000),
        "command": ["polymodal", "run", "experiment=sample/text", f"seed={number % 5}"],
        "host": {"name": "here", "pid": number, "platform": "x" * 45, "cores": 2},
        "versions": VERSIONS,
        "code": {"commit": f"{number % 20:040x}", "dirty": False},
        "data": {"fingerprint": "0" * 64, "rows": 660, "classes": {"joy": 330, "calm": 330}},
        "notes": {"stage_s": {"fit": draw.random(), "test": draw.random()}, "more": "x" * 300},
    }
    (path / "run.json").write_text(json.dumps(record, indent=1))
    sections = {f"section_{one}": {f"option_{n}": n * one for n in range(6)} for one in range(18)}
    lines = [f"optimizer:\n  lr: {10 ** draw.uniform(-5, -1):.3g}", f"seed: {number % 5}"]
    for name, options in sections.items():
        lines += [f"{name}:", *(f"  {key}: {value}" for key, value in options.items())]
    (path / "config.yaml").write_text("\n".join(lines))


def _timed(folder: str, what: str, words: list[str], goal_s: float, *, times: int = 1) -> Row:
    seconds = min(_seconds(folder, words) for _ in range(times))
    return row(f"`{' '.join(words)}` over {NUM_RUNS:,} runs: {what}", seconds, goal_s, "s")


def _seconds(folder: str, words: list[str]) -> float:
    """Seconds of a processor that a command uses: other work beside it counts less so."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "polymodal", *words]
    environment = {**os.environ, "POLYMODAL_RUNS": folder}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _peak_mb(folder: str, words: list[str]) -> float:
    """Peak memory of one command, as Linux tells it of the process itself."""
    code = (
        "import sys; from polymodal.cli.main import main; main(sys.argv[1:]); "
        "print(open('/proc/self/status').read(), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *words, "--runs", folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = dict(line.split(":", 1) for line in done.stderr.splitlines() if ":" in line)
    return float(told["VmHWM"].split()[0]) / 1e3
