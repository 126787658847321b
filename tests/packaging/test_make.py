"""The Makefile and its tools: a second call installs nothing, failures are named."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

LOCKS = ["build.txt", "cpu.txt", "cuda.txt"]


@pytest.fixture
def made(repository_root, tmp_path) -> Path:
    """A copy of what make reads, with a stamp as after `make venv`."""
    (tmp_path / "requirements").mkdir()
    for name in ["Makefile", "pyproject.toml", *(f"requirements/{lock}" for lock in LOCKS)]:
        shutil.copy2(repository_root / name, tmp_path / name)
    shutil.copytree(repository_root / "tools", tmp_path / "tools")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "installed").write_text("requirements/cpu.txt\n")
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs make in a folder, without what an outer make passes on."""
    inner = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=inner, capture_output=True, text=True, check=False
    )


def stage(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs tools/stage.py of a folder."""
    return subprocess.run(
        [sys.executable, "tools/stage.py", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        input="typed",
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_second_make_venv_runs_nothing(made):
    # `false` as Python: any step would fail.
    assert make(made, "venv", "PYTHON=false").returncode == 0
    assert make(made, "--question", "venv").returncode == 0


@pytest.mark.parametrize("name", ["pyproject.toml", *(f"requirements/{lock}" for lock in LOCKS)])
def test_a_changed_lock_or_project_file_installs_again(made, name):
    later = time.time() + 5
    os.utime(made / name, (later, later))
    assert make(made, "--question", "venv").returncode == 1


def test_make_alone_lists_every_target(made):
    printed = make(made).stdout
    phony = next(line for line in (made / "Makefile").read_text().splitlines() if ".PHONY" in line)
    for target in phony.removeprefix(".PHONY:").split():
        assert f"make {target} " in printed


def test_a_stage_says_its_name_its_time_and_its_exit_code(made):
    done = stage("run", "greet", "--", sys.executable, "-c", "print('hello')", folder=made)
    assert done.returncode == 0
    assert "==> greet: done, " in done.stdout
    failed = stage("run", "die", "--", sys.executable, "-c", "raise SystemExit(3)", folder=made)
    assert failed.returncode == 3
    assert "==> die: FAILED with exit code 3, " in failed.stdout
    assert stage("run", "gone", "--", "./no-such-program", folder=made).returncode == 127


def test_stages_stop_at_the_first_that_fails(made):
    (made / "Makefile").write_text("good:\n\t@echo one\nbad:\n\t@false\nnever:\n\t@echo three\n")
    failed = stage("all", "good", "bad", "never", folder=made)
    assert failed.returncode != 0
    assert "FAILED at bad (2 of 3)" in failed.stdout
    assert "three" not in failed.stdout
    passed = stage("all", "good", "never", folder=made)
    assert passed.returncode == 0
    assert "all 2 stages passed" in passed.stdout.splitlines()[-1]


def test_a_stage_has_no_standard_input_on_ci(made):
    read = ["run", "read", "--", sys.executable, "-c", "import sys; print([sys.stdin.read()])"]
    assert "['']" in stage(*read, folder=made, CI="true").stdout
    assert "['typed']" in stage(*read, folder=made, CI="").stdout


def test_ci_calls_make_test_and_nothing_else(repository_root):
    script = repository_root / ".ci" / "run"
    assert script.read_text().splitlines()[1:] == ["exec make test"]
    assert os.access(script, os.X_OK)


def test_an_environment_without_the_cpu_build_gets_the_cuda_lock(made):
    # No index and no folder to look in: the CPU build cannot be had.
    (made / ".venv" / "bin").mkdir()
    (made / ".venv" / "bin" / "python").symlink_to(sys.executable)
    ask = "import make_environment as m; print(m.choose_lock('auto'), m.choose_lock('cpu'))"
    asked = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=made,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(made / "tools"),
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.splitlines()[-1] == "requirements/cuda.txt requirements/cpu.txt"


def test_a_python_too_old_is_refused_with_the_way_out(made):
    ask = (
        "import sys; sys.version_info = (3, 10, 0); import make_environment as m;"
        "m.make_empty_environment()"
    )
    refused = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=made,
        env={**os.environ, "PYTHONPATH": str(made / "tools")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "needs 3.11 to 3.13" in refused.stderr
    assert "PYTHON=" in refused.stderr
