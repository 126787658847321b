"""The benchmarks of corpora: large manifests, reading KEMDy trees, checking audio."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import soundfile

from benchmarks.kemdy_tree import write_kemdy19
from benchmarks.rows import Row, row
from polymodal.schemas.manifest import Manifest

# The peak of this process alone: getrusage would count what its parent had before.
PEAK = """
import re, sys, time
def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) / 1e3
bare_mb = peak_mb()
"""
SPLIT = """
began = time.perf_counter()
from polymodal.corpora.manifest import read_manifest
from polymodal.data.splits import k_fold
manifest = read_manifest(sys.argv[1], root=".")
folds = k_fold(manifest, num_folds=5, val=0.0)
sizes = [int((fold.split_of_rows(manifest.frame) == "test").sum()) for fold in folds]
assert sum(sizes) == len(manifest), sizes
print(time.perf_counter() - began, peak_mb() - bare_mb)
"""
KEMDY = """
from polymodal.corpora.kemdy import read_kemdy19
bare_mb = peak_mb()
began = time.perf_counter()
manifest = read_kemdy19(sys.argv[1], prepared=sys.argv[2])
print(time.perf_counter() - began, peak_mb() - bare_mb)
"""


def manifests() -> list[Row]:
    """Seconds and memory to open a manifest and part it by speaker into 5 folds."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for num in (10_000, 100_000, 1_000_000):
            path = Path(folder) / f"{num}.parquet"
            _manifest(num).write(path)
            seconds, peak_mb = _measured(SPLIT, str(path))
            rows.append(row(f"open and split {num:,} rows", seconds, 10.0, "s"))
            rows.append(row(f"memory above the interpreter, {num:,} rows", peak_mb, 1000.0, "MB"))
    return rows


def kemdy() -> list[Row]:
    """Seconds and memory to read generated KEMDy19 trees, signals cut and cut before."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for utterances in (10, 100):
            parent = Path(folder) / str(utterances)
            parent.mkdir()
            root = write_kemdy19(parent, sessions=20, utterances=utterances)
            num = f"{20 * 10 * utterances:,} utterances"
            for state in ("signals cut", "signals cut before"):
                seconds, peak_mb = _measured(KEMDY, str(root), str(parent / "prepared"))
                rows.append(row(f"{num}, {state}", seconds, 60.0, "s"))
            rows.append(row(f"{num}, memory above the imports", peak_mb, 1000.0, "MB"))
    return rows


def check() -> list[Row]:
    """How many times faster than real time `corpus check` reads, on one thread and on all."""
    from polymodal.corpora.table import read_table
    from polymodal.corpora.validation.inspection import inspect_manifest

    rows = []
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("wav", "flac"):
            root = Path(folder) / kind
            root.mkdir()
            lines = ["audio,speaker"]
            for number in range(2000):
                samples = rng.normal(0, 0.1, int(16_000 * rng.uniform(3, 6)))
                soundfile.write(root / f"{number}.{kind}", samples, 16_000, subtype="PCM_16")
                lines.append(f"{number}.{kind},s{number % 9}")
            (root / "manifest.csv").write_text("\n".join(lines) + "\n")
            manifest = read_table(str(root))
            for threads in (1, os.cpu_count() or 1):
                seen = inspect_manifest(manifest, num_workers=threads)
                speed = seen.seconds / seen.wall_s
                what = f"{kind}, {threads} thread{'s' * (threads > 1)}"
                rows.append(row(what, speed, 1500.0, "x real time", more_is_better=True))
    return rows


def _manifest(num: int) -> Manifest:
    speakers = [f"s{number % 5000:04d}" for number in range(num)]
    frame = pl.DataFrame(
        {
            "utterance_id": [f"u{number:07d}" for number in range(num)],
            "speaker": speakers,
            "dialogue": [f"{speaker}-{n % 7}" for n, speaker in enumerate(speakers)],
            "audio": [f"wav/{speaker}/u{n:07d}.wav" for n, speaker in enumerate(speakers)],
            "duration_s": [1.0 + number % 7 for number in range(num)],
            "text": [f"words {number} that are said by one of many" for number in range(num)],
            "label": ["abcd"[number % 4] for number in range(num)],
        }
    )
    return Manifest(frame, Path())


def _measured(code: str, *arguments: str) -> tuple[float, float]:
    """Seconds and megabytes that a process of its own prints."""
    command = [sys.executable, "-c", PEAK + code, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak_mb = done.stdout.split()
    return float(seconds), float(peak_mb)
