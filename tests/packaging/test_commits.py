"""Subjects of new commits: imperative, and short enough for `git log --oneline`."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NUM_CHECKED = 30
MAX_LENGTH = 72
IMPERATIVE_IN_S = (
    "Address",
    "Bypass",
    "Compress",
    "Discuss",
    "Express",
    "Focus",
    "Pass",
    "Process",
)


def subjects() -> list[str]:
    command = ["git", "log", f"-{NUM_CHECKED}", "--no-merges", "--format=%s"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def test_subjects_are_short_and_imperative():
    if not (found := subjects()):
        pytest.skip("not a git checkout")
    for subject in found:
        verb = subject.split()[0]
        assert len(subject) <= MAX_LENGTH, subject
        assert verb[0].isupper(), subject
        assert not subject.endswith("."), subject
        assert not verb.endswith(("ed", "ing")) or verb in ("Need", "Feed", "Speed", "Bring"), (
            subject
        )
        assert not verb.endswith("s") or verb in IMPERATIVE_IN_S, subject
