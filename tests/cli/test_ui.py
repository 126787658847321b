"""`polymodal ui` as it is typed: its address, its end, and what it refuses."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest


@contextlib.contextmanager
def started(*words, cwd, **environment):
    command = [sys.executable, "-m", "polymodal", "ui", "--no-open", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        command, cwd=cwd, text=True, env={**os.environ, **environment}, **pipes
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_it_prints_its_address_and_ends_when_it_is_told_to(tmp_path, sign, code):
    (tmp_path / "runs").mkdir()
    with started("--port", 0, cwd=tmp_path) as process:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{20,}", address)
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert b"polymodal" in answer.read()
        assert process.stdout.readline().strip() == "runs of runs"
        process.send_signal(sign)
        _, said = process.communicate(timeout=20)
        assert process.returncode == code
        assert "Traceback" not in said


def test_several_folders_by_option_and_by_separator(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    both = f"a{os.pathsep}b{os.pathsep}"
    words = ("--port", 0, "--runs", both, "--runs", "c", "--runs", tmp_path / "a")
    with started(*words, cwd=tmp_path) as process:
        lines = [process.stdout.readline().strip() for _ in range(5)]
        assert lines[1:] == ["runs of a", "runs of b", "runs of c", "ctrl-C stops it"]


def test_the_environment_names_the_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with started("--port", 0, cwd=tmp_path, POLYMODAL_RUNS="elsewhere") as process:
        assert "elsewhere" in [process.stdout.readline(), process.stdout.readline()][1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--runs", "nowhere"], "there is no folder nowhere"),
        (["--runs", "file"], "file is not a folder"),
        (["--port", "70000"], "not a port from 0 to 65535"),
        (["--port", "x"], "not a port from 0 to 65535"),
        (["what"], "has no argument what"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, words, told):
    (tmp_path / "file").write_text("")
    with started(*words, cwd=tmp_path) as process:
        out, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert told in said
    assert out == ""


def test_a_taken_port_is_told(tmp_path):
    (tmp_path / "runs").mkdir()
    with started("--port", 0, cwd=tmp_path) as first:
        port = re.search(r":(\d+)/", first.stdout.readline())[1]
        with started("--port", port, cwd=tmp_path) as second:
            _, said = second.communicate(timeout=30)
    assert second.returncode == 2
    assert f"port {port} cannot be used: Address already in use" in said
    assert "--port" in said
