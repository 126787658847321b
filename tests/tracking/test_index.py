"""The index: what is there is found, what is broken is named, what died is shown as killed."""

import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.errors import RunError
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.index import find_run, find_runs, read_record
from polymodal.tracking.run_folder import RunFolder

DYING = """
import sys
from pathlib import Path
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.environment import host
from polymodal.tracking.run_folder import RunFolder
run = RunFolder.create(Path(sys.argv[1]), RunRecord("", "x", host=host()))
print(run.record.run_id, flush=True)
sys.stdin.read()
"""


def put(runs, run_id, **fields):
    """Writes a run folder by hand."""
    folder = runs / run_id
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"run_id": run_id, **fields}))
    return folder


@pytest.fixture
def runs(tmp_path):
    for day in ("01", "02", "03"):
        name, started = f"202601{day}-000000-emodb-abcd", f"2026-01-{day}T00:00:00+00:00"
        put(tmp_path / "runs", name, started=started)
    return tmp_path / "runs"


def test_the_newest_comes_first(runs):
    put(runs, "0-renamed-by-hand", started="2027-01-01T00:00:00+00:00")
    listed, broken = find_runs(runs)
    records = [run.record for run in listed]
    names = ["0-renamed-by-hand", *(f"202601{day}-000000-emodb-abcd" for day in ("03", "02", "01"))]
    assert [record.run_id for record in records] == names
    assert broken == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '"run"',
        "[" * 100_000,
        "{}",
        '{"run_id": 3}',
        '{"run_id": "a", "started": null}',
        '{"run_id": "a", "scores": [1]}',
        '{"run_id": "a", "scores": {"test/uar": "high"}}',
        '{"run_id": "a", "host": "here"}',
        '{"run_id": "a", "duration_s": "long"}',
        "\udcff",
    ],
)
def test_a_broken_record_is_named_and_the_others_are_listed(runs, content):
    folder = runs / "broken"
    folder.mkdir()
    (folder / "run.json").write_bytes(content.encode(errors="surrogateescape"))
    listed, broken = find_runs(runs)
    records = [run.record for run in listed]
    assert len(records) == 3
    assert len(broken) == 1
    assert broken[0].startswith("broken: ")
    with pytest.raises(RunError, match=r"run\.json"):
        read_record(folder)


def test_folders_of_others_do_no_harm_and_unknown_fields_are_ignored(runs):
    (runs / "notes" / "deep").mkdir(parents=True)
    (runs / ".trackio").mkdir()
    (runs / "file").write_text("x")
    put(runs, "richer", started="2028", new_field={"a": 1})
    listed, broken = find_runs(runs)
    records = [run.record for run in listed]
    assert (len(records), broken) == (4, [])


def test_half_copied_and_later_runs_are_named_not_listed(runs):
    put(runs, "later", record_version=9)
    (runs / "half" / "checkpoints").mkdir(parents=True)
    (runs / "dangling").mkdir()
    (runs / "dangling" / "run.json").symlink_to("gone")
    listed, broken = find_runs(runs)
    records = [run.record for run in listed]
    assert len(records) == 3
    assert sorted(line.partition(":")[0] for line in broken) == ["dangling", "half", "later"]
    assert "version 9" in "".join(broken)
    assert "half: a run folder without its run.json" in broken
    with pytest.raises(RunError, match="no run 'half'"):
        find_run(runs, "half")
    assert find_run(runs, "later") == runs / "later"
    with pytest.raises(RunError, match="update polymodal"):
        read_record(runs / "later")


def test_without_a_folder_there_are_no_runs(tmp_path):
    assert find_runs(tmp_path / "none") == ([], [])


def test_a_run_is_found_by_id_beginning_path_and_last(runs, monkeypatch):
    run = runs / "20260102-000000-emodb-abcd"
    (runs / "last").write_text(run.name)
    put(run / "folds", "0")
    monkeypatch.chdir(runs.parent)
    for name in (run.name, "20260102", "last", str(run), os.path.relpath(run)):
        assert find_run(runs, name).resolve() == run
    assert find_run(runs, f"{run.name}/folds/0") == run / "folds" / "0"


def test_a_whole_id_wins_over_longer_ones(runs):
    put(runs, "20260102")
    assert find_run(runs, "20260102") == runs / "20260102"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("2026", ["3 runs begin with '2026'", "20260103-000000-emodb-abcd"]),
        ("20260102-000000-emodb-abce", ["did you mean '20260102-000000-emodb-abcd'?"]),
        ("emodb", ["no run 'emodb'", "polymodal runs"]),
        ("", ["no run ''"]),
        ("last", ["no last run"]),
        ("../elsewhere", ["no run '../elsewhere'"]),
        ("x" * 5000, ["no run"]),
        ("a\0b", ["no run"]),
    ],
)
def test_what_is_not_found_is_said_with_the_way_on(runs, name, words):
    with pytest.raises(RunError) as caught:
        find_run(runs, name)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_of_many_runs_the_nearest_is_named(runs):
    for number in range(600):
        (runs / f"20270101-{number:06}-emodb-abcd").mkdir()
        (runs / f"20270101-{number:06}-emodb-abcd" / "run.json").write_text("{}")
    with pytest.raises(RunError, match="did you mean '20260101-000000-emodb-abcd'"):
        find_run(runs, "20260101-000000-emodb-abc2")


@settings(max_examples=40)
@given(st.text(max_size=30))
def test_any_name_is_found_or_refused(tmp_path_factory, name):
    runs = tmp_path_factory.mktemp("runs")
    with pytest.raises(RunError):
        find_run(runs, name)


@pytest.mark.parametrize("pointer", ["gone", "../outside", "", "a\nb", "/"])
def test_a_pointer_to_nowhere_is_refused(runs, pointer):
    put(runs.parent, "outside")
    (runs / "last").write_text(pointer)
    with pytest.raises(RunError, match="no last run"):
        find_run(runs, "last")


def test_a_killed_run_is_shown_as_killed_and_nothing_is_written(tmp_path):
    command = [sys.executable, "-c", DYING, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        run_id = process.stdout.readline().strip()
        assert [run.record.status for run in find_runs(tmp_path)[0]] == ["running"]
        os.kill(process.pid, signal.SIGKILL)
    assert [run.record.status for run in find_runs(tmp_path)[0]] == ["killed"]
    assert read_record(tmp_path / run_id).status == "running"
    again = RunFolder.open(tmp_path / run_id)  # ours to write: it goes on
    assert [run.record.status for run in find_runs(tmp_path)[0]] == ["running"]
    again.finish("finished")
    assert [run.record.status for run in find_runs(tmp_path)[0]] == ["finished"]


def test_the_run_of_another_machine_is_left_as_it_says(tmp_path):
    host = {"name": "elsewhere", "pid": 1, "process_started": "then"}
    run = RunFolder.create(tmp_path, RunRecord("", "x", host=host))
    assert [run.record.status for run in find_runs(tmp_path)[0]] == ["running"]
    run.finish("finished")
    assert [run.record.status for run in find_runs(tmp_path)[0]] == ["finished"]
