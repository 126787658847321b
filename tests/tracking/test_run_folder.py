"""The run folder: one for each run, never half written, readable by others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polymodal.errors import RunError
from polymodal.schemas.run_record import RunRecord
from polymodal.security import files
from polymodal.security.files import atomic_write_text
from polymodal.tracking import run_folder
from polymodal.tracking.environment import host
from polymodal.tracking.processes import process_started
from polymodal.tracking.run_folder import RunFolder, slug, write_record

# Two letters and a clock that stands still: two processes often want the same name.
COLLIDING = """
import sys
from datetime import datetime
from pathlib import Path
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking import run_folder as folder

class Stopped(datetime):
    @classmethod
    def now(cls, zone=None):
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone)

folder.datetime = Stopped
folder.string.ascii_lowercase = "ab"
for _ in range(2):
    made = folder.RunFolder.create(Path(sys.argv[1]), RunRecord("", "emodb", experiment="emodb/x"))
    made.update(notes={"process": sys.argv[2]})
"""


def make(runs: Path, **fields) -> RunFolder:
    return RunFolder.create(runs, RunRecord("", "sample", experiment="sample/text", **fields))


def on_disk(run: RunFolder) -> dict:
    return json.loads((run.path / "run.json").read_text())


def test_six_processes_in_one_second_make_twelve_folders(tmp_path):
    started = [
        subprocess.Popen([sys.executable, "-c", COLLIDING, str(tmp_path / "runs"), str(number)])
        for number in range(6)
    ]
    assert [process.wait(60) for process in started] == [0] * 6
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/run.json")]
    writers = sorted(record["notes"]["process"] for record in records)
    assert writers == sorted("012345" * 2)
    assert len({record["run_id"] for record in records}) == 12
    assert (tmp_path / "runs" / "last").read_text() in {record["run_id"] for record in records}


def test_when_every_name_is_taken_nothing_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder.string, "ascii_lowercase", "a")
    monkeypatch.setattr(run_folder, "slug", lambda name: "x")

    class Stopped(run_folder.datetime):
        @classmethod
        def now(cls, zone=None):
            return run_folder.datetime(2026, 1, 1, tzinfo=zone)

    monkeypatch.setattr(run_folder, "datetime", Stopped)
    make(tmp_path)
    with pytest.raises(RunError, match="100 names"):
        make(tmp_path)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def test_a_run_goes_from_running_to_its_end(tmp_path):
    run = make(tmp_path, seed=3)
    assert on_disk(run)["status"] == "running"
    assert run.path.name == run.record.run_id == (tmp_path / "last").read_text()
    assert "-sample-text-" in run.path.name
    run.finish("failed", scores={"val/uar": 0.5, "val/loss": float("inf")}, error="ValueError: x")
    record = on_disk(run)
    assert record["status"] == "failed"
    assert record["scores"] == {"val/uar": 0.5, "val/loss": None}
    assert record["error"] == "ValueError: x"
    assert record["seed"] == 3
    assert record["duration_s"] >= 0
    assert record["started"] <= record["ended"]
    assert RunRecord.read(run.path / "run.json").to_dict() == record


@pytest.mark.parametrize("kind", ["run", "study"])
def test_the_last_run_is_one_that_trains_and_no_fold_or_job(tmp_path, kind):
    make(tmp_path)
    trained = make(tmp_path, kind=kind)
    make(tmp_path, fold=0)
    for other in ("test", "predict", "vote"):
        make(tmp_path, kind=other)
    assert (tmp_path / "last").read_text() == trained.record.run_id


def test_going_on_keeps_the_record_and_takes_it_over(tmp_path):
    run = make(tmp_path, seed=3)
    run.finish("failed", scores={"val/uar": 0.5}, error="x")
    again = RunFolder.open(run.path)
    record = on_disk(again)
    assert (record["status"], record["error"], record["ended"]) == ("running", None, None)
    assert (record["seed"], record["scores"]) == (3, {"val/uar": 0.5})
    assert record["host"]["pid"] == os.getpid()


def test_a_run_that_goes_on_elsewhere_is_not_taken_over(tmp_path):
    waiting = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", waiting], stdin=subprocess.PIPE) as other:
        theirs = host() | {"pid": other.pid}
        theirs["process_started"] = process_started(other.pid)
        run = make(tmp_path, host=theirs)
        with pytest.raises(RunError, match=f"process {other.pid}"):
            RunFolder.open(run.path)
        other.stdin.close()
    assert RunFolder.open(run.path).record.status == "running"


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", '{"run_id": 3}', '{"run_id": "r", "host": 1}']
)
def test_a_damaged_record_is_refused_and_left_as_it_is(tmp_path, text):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json") as caught:
        RunFolder.open(tmp_path)
    assert caught.value.exit_code == 2
    assert [path.read_text() for path in tmp_path.iterdir()] == ([] if text is None else [text])


def test_a_run_that_cannot_be_written_is_not_gone_on_with(tmp_path, monkeypatch):
    run = make(tmp_path)
    run.finish("finished")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        RunFolder.open(run.path)
    assert on_disk(run)["status"] == "finished"


def test_how_a_foreign_run_ended_is_written_all_the_same(tmp_path):
    run = RunFolder(tmp_path, RunRecord("theirs", "theirs", started="yesterday"))
    run.finish("finished")
    assert on_disk(run)["status"] == "finished"
    assert on_disk(run)["duration_s"] is None


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_where_no_folder_can_be_made_is_said(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"paths\.runs") as caught:
        make(tmp_path / place)
    assert caught.value.exit_code == 2


def test_a_full_disk_leaves_no_folder(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        make(tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    atomic_write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_colleague_can_read_what_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        run = make(tmp_path)
    finally:
        os.umask(before)
    assert (run.path / "run.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("emodb/egemaps", "emodb-egemaps"),
        ("../../etc/passwd", "etc-passwd"),
        ("a\nb\x00c\x1b[31m", "a-b-c-31m"),
        ("감정", "run"),
        ("", "run"),
        (".", "run"),
        ("x" * 59 + "-y", "x" * 59),
        ("C:\\runs", "C-runs"),
    ],
)
def test_a_slug_is_safe(name, safe):
    assert slug(name) == safe


def test_records_are_strict_json(tmp_path):
    record = RunRecord("r", "r", notes={"deep": [{"share": float("nan")}], "path": Path("x")})
    write_record(tmp_path / "run.json", record)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    values = json.loads((tmp_path / "run.json").read_text(), parse_constant=refuse)
    assert values["notes"] == {"deep": [{"share": None}], "path": "x"}


def test_every_part_has_its_place(tmp_path):
    run = make(tmp_path)
    names = "config overrides environment code_diff log metrics predictions checkpoints figures"
    places = {getattr(run, name).relative_to(run.path).as_posix() for name in names.split()}
    assert places == {
        *("config.yaml", "overrides.txt", "environment.txt", "code.diff", "log.txt"),
        *("metrics.jsonl", "predictions", "checkpoints", "figures"),
    }
    assert all(path.is_dir() for path in (run.predictions, run.checkpoints, run.figures))
