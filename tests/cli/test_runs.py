"""`polymodal runs`: a table for people, JSON for scripts."""

import csv
import json
import os
import re
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
        values["higher_is_better"] = {"uar": True, "ece": False}
        folder = workplace / "runs" / name
        folder.mkdir(parents=True)
        text = json.dumps({**values, "started": started.isoformat(), **fields})
        (folder / "run.json").write_text(text)

    def configure(name, text):
        (workplace / "runs" / name / "config.yaml").write_text(text)

    put("a", 50, "emodb/egemaps", "finished", {"test/uar": 0.71234, "val/ece": 0.3}, seed=1)
    put("b", 4, "emodb/compare", "finished", {"test/uar": 0.85, "val/ece": 0.1}, duration_s=200)
    put("c", 3, "emodb/compare", "failed", {"test/uar": None})
    put("d", 2, "sample/text", "interrupted", {"val/ece": 0.2}, kind="test")
    put("e", 1, "sample/[red]text\x1b[31m", "running", {})
    configure("a", "optimizer: {lr: 0.2}\n")
    configure("b", "optimizer: {lr: 0.1}\n")
    configure("c", "optimizer: [")
    return workplace / "runs"


def table(out):
    return [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]


def ids(out):
    return "".join(record["run_id"] for record in json.loads(out))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "edcba"),
        (["-n", "2"], "ed"),
        (["--status", "finished"], "ba"),
        (["status=finished", "--sort", "test/uar", "since=1d"], "b"),
        (["--sort", "test/uar", "test/uar>0.7"], "ba"),
        (["optimizer.lr=0.1"], "b"),
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


@pytest.mark.parametrize(
    ("score", "higher", "expected"),
    [("error_rate", False, "ab"), ("maestro", True, "ba"), ("unheard_of", None, "ba")],
)
def test_runs_are_sorted_as_their_scores_say(polymodal, workplace, score, higher, expected):
    for name, value in {"a": 0.1, "b": 0.9}.items():
        record = {"run_id": name, "scores": {f"test/{score}": value}}
        record["higher_is_better"] = {} if higher is None else {score: higher}
        (workplace / "runs" / name).mkdir(parents=True)
        (workplace / "runs" / name / "run.json").write_text(json.dumps(record))
    code, out, error = polymodal("runs", "--json", "--sort", f"test/{score}")
    assert (code, ids(out)) == (0, expected)
    assert ("no run records" in error) == (higher is None)


def test_runs_that_contradict_one_another_are_not_sorted(polymodal, workplace):
    for name, higher in {"a": True, "b": False}.items():
        record = {"run_id": name, "scores": {"test/x": 0.1}, "higher_is_better": {"x": higher}}
        (workplace / "runs" / name).mkdir(parents=True)
        (workplace / "runs" / name / "run.json").write_text(json.dumps(record))
    assert polymodal("runs", "--sort", "test/x")[0] == 2


def test_csv_is_exact_and_has_the_columns_that_are_asked_for(polymodal, runs):
    code, out, _ = polymodal("runs", "--csv", "--columns", "optimizer.lr,name", "corpus=emodb")
    assert code == 0
    head, *rows = csv.reader(out.splitlines())
    assert [row[0] for row in rows] == list("cba")
    a = dict(zip(head, rows[-1], strict=True))
    assert (a["test/uar"], a["optimizer.lr"], a["name"]) == ("0.71234", "0.2", "a")
    assert dict(zip(head, rows[0], strict=True))["optimizer.lr"] == ""


def test_further_columns_stand_in_the_table(polymodal, runs):
    _, out, _ = polymodal("runs", "--columns", "optimizer.lr", "status=finished")
    assert [cells[-1] for cells in table(out)[2:]] == ["0.1", "0.2"]


def test_json_holds_whole_records(polymodal, runs):
    (record,) = json.loads(polymodal("runs", "--json", "--experiment", "egemaps")[1])
    assert record["scores"] == {"test/uar": 0.71234, "val/ece": 0.3}
    assert record["seed"] == 1
    assert record["record_version"] == 1


def test_the_table_says_how_each_run_went(polymodal, runs):
    code, out, _ = polymodal("runs")
    assert code == 0
    rows = {cells[0]: cells[1:] for cells in table(out)[2:]}
    assert list(rows) == list("edcba")
    assert rows["a"] == ["emodb/egemaps", "run", "finished", "0.712", "1", "2 d"]
    assert rows["b"] == ["emodb/compare", "run", "finished", "0.850", "3 min", "4 h"]
    assert rows["c"][:3] == ["emodb/compare", "run", "failed"]
    assert rows["d"][:3] == ["sample/text", "test", "interrupted"]
    assert rows["e"][0] == "sample/[red]text?[31m"
    assert "\x1b" not in out


@pytest.mark.parametrize("columns", [80, 160])
def test_a_terminal_shows_whole_ids_and_no_line_too_long(runs, terminal, columns):
    run_id = "20261123-072629-sample-physiology-zpie"
    (runs / "a").rename(runs / run_id)
    record = json.loads((runs / run_id / "run.json").read_text()) | {"run_id": run_id}
    (runs / run_id / "run.json").write_text(json.dumps(record))
    lines = terminal(columns, "runs").splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) == 7  # nothing is folded
    assert [line for line in lines if run_id in line and "finished" in line and "0.712" in line]
    assert ("emodb/egemaps" in "".join(lines)) is (columns == 160)


def test_where_even_the_id_is_too_wide_it_is_folded_not_cut(runs, terminal):
    long = "Q" * 40
    (runs / "c").rename(runs / long)
    record = json.loads((runs / long / "run.json").read_text()) | {"run_id": long}
    (runs / long / "run.json").write_text(json.dumps(record))
    out = terminal(30, "runs", "--status", "failed")
    assert out.count("Q") == 40
    assert "…" not in out


def test_in_a_pipe_no_line_is_folded(polymodal, runs):
    long = "x" * 300
    record = {"run_id": "z", "experiment": long, "started": "2026-01-01T00:00:00+00:00"}
    (runs / "z").mkdir()
    (runs / "z" / "run.json").write_text(json.dumps(record))
    assert any(cells[:2] == ["z", long] for cells in table(polymodal("runs")[1]))


def test_runs_without_the_usual_scores_show_the_first_they_have(polymodal, runs):
    out = polymodal("runs", "--experiment", "sample")[1]
    assert "val/ece" in out
    assert "test/uar" not in out


def test_a_score_that_no_run_has_gets_the_nearest(polymodal, runs):
    code, out, error = polymodal("runs", "--sort", "test/uarr")
    assert (code, out) == (2, "")
    assert "did you mean 'test/uar'?" in error


@pytest.mark.parametrize("number", ["0", "-3", "many"])
def test_a_senseless_number_is_refused(polymodal, runs, number):
    code, _, error = polymodal("runs", "-n", number)
    assert code == 2
    assert "not a positive number" in error or number == "-3"


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("run.json", "{", "skipped f: "),
        ("run.json", '{"run_id": "f", "record_version": 2}', "version 2"),
        ("config.yaml", "seed: 0", "without its run.json"),
    ],
)
def test_a_folder_that_cannot_be_read_is_named_beside_the_others(
    polymodal, runs, file, text, words
):
    (runs / "f").mkdir()
    (runs / "f" / file).write_text(text)
    code, out, error = polymodal("runs")
    assert code == 0
    assert words in error
    assert error.count("\n") == 1
    assert "0.712" in out
    code, out, error = polymodal("runs", "--json")
    assert (code, ids(out)) == (0, "edcba")
    assert words in error


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


def test_several_folders_are_one_list(polymodal, runs, monkeypatch):
    """The newest pointer, ids, filters and columns go through all of them."""
    other = runs.parent / "other"
    other.mkdir()
    for name in "ab":
        (runs / name).rename(other / name)
    assert ids(polymodal("runs", "--json", "--runs", "runs", "--runs", "other")[1]) == "edcba"
    monkeypatch.setenv("POLYMODAL_RUNS", os.pathsep.join([str(runs), str(other)]))
    assert ids(polymodal("runs", "--json", "optimizer.lr=0.1")[1]) == "b"
    assert ids(polymodal("runs", "--json", "--runs", "other")[1]) == "ba"
    rows = {cells[0]: cells[-1] for cells in table(polymodal("runs")[1])[2:]}
    assert (rows["a"], rows["e"]) == (str(other), str(runs))
    (other / "last").write_text("b")
    assert json.loads(polymodal("show", "last", "--json")[1])["path"] == str(other / "b")
    assert json.loads(polymodal("show", "a", "--json")[1])["path"] == str(other / "a")


def test_new_runs_go_to_the_first_of_several_folders(polymodal, workplace, monkeypatch):
    monkeypatch.setenv("POLYMODAL_RUNS", os.pathsep.join(["new", "old"]))
    words = ["experiment=sample/text", "trainer.max_epochs=1", "tracker=none"]
    small = ["corpus.num_speakers=6", "corpus.num_utterances=8", "split.val=0.3"]
    code, _, error = polymodal("run", *words, *small)
    assert code == 0, error
    assert len(list((workplace / "new").glob("*/run.json"))) == 1
    (workplace / "new").rename(workplace / "old")
    code, _, error = polymodal("test", "last")
    assert code == 0, error
    assert len(list((workplace / "new").glob("*/run.json"))) == 1


def test_runs_are_named_by_the_beginning_of_their_id(polymodal, runs):
    assert ids(polymodal("runs", "--json", "a", "c")[1]) == "ca"
    assert ids(polymodal("runs", "--json", "a", "c", "status=failed")[1]) == "c"
    code, out, error = polymodal("runs", "status:failed")
    assert (code, out) == (2, "")
    assert "no run id starts with 'status:failed'" in error
    assert "KEY=VALUE" in error


def test_columns_without_room_in_a_terminal_are_named(terminal, runs):
    for name in "ab":
        options = "".join(f"o{number}: {name}{'x' * 20}\n" for number in range(9))
        (runs / name / "config.yaml").write_text(options)
    lines = terminal(100, "runs", "status=finished", "--differ").splitlines()
    assert max(map(len, lines)) <= 100
    assert "o0" in lines[0]
    assert "no room for o" in lines[-1]
    assert "--columns" in lines[-1]


def test_what_differs_between_the_listed_is_a_column_each(polymodal, runs):
    (runs / "a" / "config.yaml").write_text("optimizer: {lr: 0.2, beta: 1}\npaths: {runs: x}\n")
    (runs / "b" / "config.yaml").write_text("optimizer: {lr: 0.1, beta: 1}\npaths: {runs: y}\n")
    rows = table(polymodal("runs", "status=finished", "--differ")[1])
    assert rows[0][-1] == "optimizer.lr"
    assert [cells[-1] for cells in rows[2:]] == ["0.1", "0.2"]
    assert "beta" not in polymodal("runs", "status=finished", "--differ", "--csv")[1]
    assert "optimizer" not in polymodal("runs", "a", "--differ", "--csv")[1]


def test_a_terminal_shows_the_first_ones_a_pipe_all(runs, terminal, polymodal):
    for number in range(250):
        (runs / f"z{number}").mkdir()
        (runs / f"z{number}" / "run.json").write_text(json.dumps({"run_id": f"z{number}"}))
    assert "200 of 255; add filters, or pipe the output to get all" in terminal(100, "runs")
    assert len(table(polymodal("runs")[1])) == 257
