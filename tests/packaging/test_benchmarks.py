"""The benchmarks of a GPU take its way, with tiny models, before there is one."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def benchmarks(*words):
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["extraction", "prefix", "fusion"])
def test_the_way_of_a_gpu_is_free(name):
    pytest.importorskip("transformers")
    results = ROOT / "benchmarks" / "results" / f"{name}.json"
    before = results.read_bytes()
    done = benchmarks(name, "--rehearse")
    assert done.returncode == 0, done.stderr
    assert f"{name}: the way of a GPU is free; nothing was measured" in done.stdout
    assert results.read_bytes() == before


@pytest.mark.slow
def test_an_unknown_benchmark_is_named():
    done = benchmarks("extracton")
    assert done.returncode == 2
    assert "there is no benchmark 'extracton'" in done.stdout
