"""What a run ran on: told without importing it."""

import hashlib
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from polymodal.tracking import environment
from polymodal.tracking.environment import code_state, environment_text, host, versions
from polymodal.tracking.processes import has_exited, is_running, process_started

HEAVY = ("torch", "pytorch_lightning", "hydra", "omegaconf", "trackio", "wandb", "polars")
WITHOUT_HEAVY = """
import sys
from pathlib import Path
import polymodal.cli.runs, polymodal.cli.show
import polymodal.tracking.run_folder, polymodal.tracking.index, polymodal.tracking.run_writer
import polymodal.tracking.trackers.trackio, polymodal.tracking.trackers.wandb
from polymodal.tracking.environment import code_state, environment_text, host, versions
versions(), host(), environment_text(), code_state(Path.cwd())
print(*[name for name in sys.argv[1:] if name in sys.modules])
"""


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", *names, "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "model.py").write_text("width = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_the_room_imports_nothing_heavy(workplace):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HEAVY, *HEAVY],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_versions_are_those_installed():
    found = versions()
    assert found["torch"] == metadata.version("torch")
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "resemblyzer-of-another-world" not in found
    assert f"torch=={found['torch']}" in environment_text().splitlines()


def test_a_clean_commit(repository):
    state, difference = code_state(repository)
    assert state["commit"] == git(repository, "rev-parse", "HEAD").strip()
    assert state["dirty"] is False
    assert difference == ""


def test_changes_and_new_sources_are_in_the_difference(repository):
    (repository / "model.py").write_text("width = 2\n")
    (repository / "감정 말뭉치.yaml").write_text("a: 1\n")
    (repository / "notes.txt").write_text("no source")
    below = repository / "deep" / "er"
    below.mkdir(parents=True)
    state, difference = code_state(below)
    assert state["dirty"] is True
    assert "+width = 2" in difference
    digest = hashlib.sha256(b"a: 1\n").hexdigest()
    assert f"untracked 감정 말뭉치.yaml sha256:{digest}" in difference
    assert "notes.txt" not in difference
    assert state["diff_sha256"] == hashlib.sha256(difference.encode()).hexdigest()
    before = state["diff_sha256"]
    (repository / "감정 말뭉치.yaml").write_text("a: 2\n")
    assert code_state(repository)[0]["diff_sha256"] != before


def test_before_the_first_commit_every_source_is_named_by_its_hash(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("a = 1\n")
    (tmp_path / "b.py").write_text("b = 1\n")
    git(tmp_path, "add", "a.py")
    state, difference = code_state(tmp_path)
    assert state["commit"] is None
    assert state["dirty"] is True
    assert [line.split()[1] for line in difference.splitlines()] == ["a.py", "b.py"]


def test_outside_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code_state(tmp_path) == ({"commit": None}, "")
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert code_state(tmp_path) == ({"commit": None}, "")


def test_a_long_difference_is_cut_but_hashed_whole(repository, monkeypatch):
    monkeypatch.setattr(environment, "MAX_DIFF", 200)
    hashes = set()
    for last in "ab":
        (repository / "model.py").write_text("x\n" * 400 + last)
        state, difference = code_state(repository)
        assert len(difference) < 300
        assert "more characters" in difference
        hashes.add(state["diff_sha256"])
    assert len(hashes) == 2


def test_the_git_settings_of_a_folder_run_nothing(repository):
    spy = repository / "spy.sh"
    spy.write_text(f"#!/bin/sh\ntouch {repository}/ran\n")
    spy.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(spy))
    git(repository, "config", "diff.external", str(spy))
    (repository / "model.py").write_text("width = 2\n")
    assert "+width = 2" in code_state(repository)[1]
    assert not (repository / "ran").exists()


def test_this_process_goes_on_and_a_later_one_of_its_number_is_another():
    here = host()
    assert here["pid"] == os.getpid()
    assert not has_exited(here)
    assert has_exited(here | {"process_started": "another boot:1"})
    assert not has_exited(here | {"name": "another machine", "process_started": "x"})
    assert not has_exited(here | {"process_started": None})
    assert not has_exited({})
    assert not is_running(here)  # it is this very one


def test_a_process_is_told_from_its_end():
    waiting = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE) as other:
        theirs = host() | {"pid": other.pid, "process_started": process_started(other.pid)}
        assert is_running(theirs)
        assert not has_exited(theirs)
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, nobody has asked after it
        assert has_exited(theirs)
    assert has_exited(theirs)
    assert not is_running(theirs)


def test_where_proc_hides_a_process_a_signal_tells_that_it_goes_on(monkeypatch):
    def refuse(pid: int, signum: int) -> None:
        raise PermissionError

    monkeypatch.setattr("polymodal.tracking.processes.os.kill", refuse)
    theirs = host() | {"pid": 2**22 + 1, "process_started": "then"}
    assert not has_exited(theirs)
    assert has_exited(theirs | {"pid": os.getpid()})  # seen, and a later one of its number


def test_without_proc_the_system_is_asked_by_ps(monkeypatch, tmp_path):
    monkeypatch.setattr("polymodal.tracking.processes.PROC", tmp_path)
    started = process_started(os.getpid())
    assert started == process_started(os.getpid())
    assert process_started(2**22 + 1) is None
    if started is not None:  # where ps is installed
        assert started[-4:].isdigit()
