"""`polymodal runs`: a table for people, JSON for scripts."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

CALLED = """
import contextlib, sys
from polymodal.cli.main import main
with contextlib.suppress(SystemExit):  # --help ends so
    assert main(sys.argv[1:]) == 0
heavy = ("torch", "pytorch_lightning", "hydra", "omegaconf", "polars", "numpy", "trackio")
print([name for name in heavy if name in sys.modules])
"""


@pytest.fixture
def runs(workplace):
    """Five runs, the newest first: e, d, c, b, a."""

    def put(name, hours, experiment, status, scores, **fields):
        started = datetime.now(UTC) - timedelta(hours=hours)
        values = {"run_id": name, "experiment": experiment, "status": status, "scores": scores}
        folder = workplace / "runs" / name
        folder.mkdir(parents=True)
        text = json.dumps({**values, "started": started.isoformat(), **fields})
        (folder / "run.json").write_text(text)

    put("a", 50, "emodb/egemaps", "finished", {"test/uar": 0.71234, "val/ece": 0.3}, seed=1)
    put("b", 4, "emodb/compare", "finished", {"test/uar": 0.85, "val/ece": 0.1}, duration_s=200)
    put("c", 3, "emodb/compare", "failed", {"test/uar": None})
    put("d", 2, "sample/text", "interrupted", {"val/ece": 0.2}, kind="test")
    put("e", 1, "sample/[red]text\x1b[31m", "running", {})
    return workplace / "runs"


def ids(out):
    return "".join(record["run_id"] for record in json.loads(out))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "edcba"),
        (["-n", "2"], "ed"),
        (["--status", "finished"], "ba"),
        (["--experiment", "emodb"], "cba"),
        (["--sort", "test/uar"], "baedc"),
        (["--sort", "val/ece"], "bdaec"),
        (["--sort", "test/uar", "--status", "finished", "-n", "1"], "b"),
        (["--status", "killed", "--sort", "test/uar"], ""),
    ],
)
def test_json_is_a_list_of_records_and_nothing_else(polymodal, runs, words, expected):
    code, out, error = polymodal("runs", "--json", *words)
    assert (code, ids(out), error) == (0, expected, "")


def test_json_holds_whole_records(polymodal, runs):
    (record,) = json.loads(polymodal("runs", "--json", "--experiment", "egemaps")[1])
    assert record["scores"] == {"test/uar": 0.71234, "val/ece": 0.3}
    assert record["seed"] == 1
    assert record["record_version"] == 1


def test_the_table_says_how_each_run_went(polymodal, runs):
    code, out, _ = polymodal("runs")
    assert code == 0
    rows = [[cell.strip() for cell in line.split("│")] for line in out.splitlines()]
    rows = {cells[1]: cells for cells in rows if len(cells) > 2}
    assert list(rows) == list("edcba")
    assert {"emodb/egemaps", "finished", "0.712", "1", "2 d"} <= set(rows["a"])
    assert {"3 min", "4 h"} <= set(rows["b"])
    assert {"failed"} <= set(rows["c"])
    assert {"test", "interrupted"} <= set(rows["d"])
    assert "sample/[red]text?[31m" in rows["e"]
    assert "\x1b" not in out


def test_runs_without_the_usual_scores_show_the_first_they_have(polymodal, runs):
    out = polymodal("runs", "--experiment", "sample")[1]
    assert "val/ece" in out
    assert "test/uar" not in out


def test_a_score_that_no_run_has_gets_the_nearest(polymodal, runs):
    code, out, error = polymodal("runs", "--sort", "test/uarr")
    assert (code, out) == (2, "")
    assert "did you mean 'test/uar'?" in error


@pytest.mark.parametrize("number", ["0", "-3", "many"])
def test_a_senseless_number_is_refused(polymodal, runs, number, capsys):
    with pytest.raises(SystemExit) as stopped:
        polymodal("runs", "-n", number)
    assert stopped.value.code == 2
    assert "no number from 1 on" in capsys.readouterr().err or number == "-3"


def test_a_broken_record_is_named_beside_the_table(polymodal, runs):
    (runs / "f").mkdir()
    (runs / "f" / "run.json").write_text("{")
    code, out, error = polymodal("runs")
    assert code == 0
    assert "skipped f: " in error
    assert "0.712" in out


def test_no_run_yet_is_no_error(polymodal):
    code, out, _ = polymodal("runs")
    assert code == 0
    assert "no run here yet" in out
    assert polymodal("runs", "--json")[:2] == (0, "[]\n")


def test_the_folder_comes_from_the_option_or_the_environment(polymodal, runs, monkeypatch):
    elsewhere = runs.rename(runs.parent / "elsewhere")
    assert ids(polymodal("runs", "--json", "--runs", "elsewhere")[1]) == "edcba"
    monkeypatch.setenv("POLYMODAL_RUNS", str(elsewhere))
    assert ids(polymodal("runs", "--json")[1]) == "edcba"


@pytest.mark.parametrize(
    "command", [["runs"], ["show", "a"], ["runs", "--help"], ["show", "--help"]]
)
def test_nothing_heavy_is_imported(runs, command):
    words = [sys.executable, "-c", CALLED, *command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_leaves_is_no_error(runs, process):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "polymodal", "runs", "--json"],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert b"Traceback" not in done.stderr
