"""The benchmarks of the spine: start-up, the demo, memory, padding, and recording."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import (
    corpora,
    extraction,
    fusion,
    heads,
    loop,
    prefix,
    preflight,
    recording,
    runs_index,
    store,
    ui,
    verdict,
    votes,
)
from benchmarks.rows import Row, row
from polymodal.data.samplers import LengthBucketSampler
from polymodal.tracking.environment import versions

RESULTS = Path(__file__).parent / "results"


def start() -> list[Row]:
    """Seconds until `--help` answers."""
    commands = [["--help"], ["run", "--help"], ["show", "--help"], ["corpus", "--help"]]
    rows = []
    for words in commands:
        seconds = statistics.median(_seconds(words) for _ in range(5))
        rows.append(row(f"polymodal {' '.join(words)}", seconds, 0.5, "s"))
    return rows


def demo() -> list[Row]:
    """Seconds and memory of the demo: four models trained, voted over and compared."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "POLYMODAL_CACHE": folder, "POLYMODAL_RUNS": f"{folder}/runs"}
        seconds = _seconds(["study", "study=sample/fusion_vs_voting"], environment)
        records = [json.loads(path.read_text()) for path in Path(folder).glob("runs/*/run.json")]
    peak_mb = max(record["notes"]["peak_memory_mb"] for record in records)
    process_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    return [
        row("make demo, sample generated", seconds, 120.0, "s"),
        row("peak memory of its process", max(peak_mb, process_mb), 1500.0, "MB"),
    ]


def padding() -> list[Row]:
    """Share of a batch that is padding, log-normal lengths with a median of 3 s."""
    lengths = np.random.default_rng(0).lognormal(np.log(3), 0.6, 10_000)
    sampler = LengthBucketSampler(lengths.tolist(), budget=120, max_utterances=64, shuffle=True)
    padded = sum(lengths[batch].max() * len(batch) for batch in sampler)
    cut = np.minimum(lengths, 5)
    line = row(
        "length buckets against all padded to 5 s", 1 - lengths.sum() / padded, 0.05, "share"
    )
    return [{**line, "peer": round(float(1 - cut.mean() / 5), 4)}]


BENCHMARKS: Mapping[str, Callable[[], list[Row]]] = {
    "start": start,
    "demo": demo,
    "padding": padding,
    "runs": runs_index.runs_index,
    "manifests": corpora.manifests,
    "kemdy": corpora.kemdy,
    "check": corpora.check,
    "verdict": verdict.verdict,
    "heads": heads.heads,
    "loop": loop.loop,
    "fusion": fusion.fusion,
    "votes": votes.votes,
    "store": store.store,
    "extraction": extraction.extraction,
    "prefix": prefix.prefix,
    "preflight": preflight.preflight,
    "recording": recording.recording,
    "ui": ui.ui,
}
ON_GPU = ("extraction", "prefix", "fusion")


def report(name: str, rows: list[Row]) -> None:
    """Prints a benchmark's rows and writes them to `benchmarks/results`.

    Args:
        name: Name of the benchmark.
        rows: What it measured.
    """
    result = {
        "name": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
        "versions": versions(),
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    table = Table("what", "ours", "peer", "unit", "goal", "goal / ours", title=name)
    for line in rows:
        cells = (line[key] for key in ("what", "ours", "peer", "unit", "goal", "ratio"))
        table.add_row(*("" if cell is None else str(cell) for cell in cells))
    Console().print(table)


def _seconds(words: list[str], environment: Mapping[str, str] | None = None) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "polymodal", *words]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - began
