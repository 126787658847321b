"""The ignore rule `runs/` once hid `src/polymodal/runs` from git and from ruff."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_git_ignores_no_source_file():
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "src", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    assert [name for name in done.stdout.splitlines() if name.endswith(".py")] == []
