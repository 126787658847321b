"""`polymodal runs --delete`, `--archive` and `--restore`: only what was meant, only where it is."""

import json
import os
import pty
import tarfile

import pytest

from polymodal.tracking import archive
from polymodal.tracking.environment import host


@pytest.fixture
def runs(workplace):
    """A run that a test, a vote and a study rest on, and one that nobody needs."""

    def put(name, **fields):
        folder = workplace / "runs" / name
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "last.ckpt").write_bytes(b"x" * 5000)
        values = {"run_id": name, "status": "finished", **fields}
        (folder / "run.json").write_text(json.dumps(values))
        return folder

    put("base")
    put("alone", status="failed")
    put("tested", parent="base", kind="test")
    put("voted", kind="vote", data={"members": ["base", "tested"]})
    study = put("studied", kind="study")
    (study / "study.json").write_text(json.dumps({"runs": ["base"]}))
    return workplace / "runs"


def left(runs):
    return {path.name for path in runs.iterdir() if path.is_dir()}


EVERY = {"base", "alone", "tested", "voted", "studied"}


def test_what_goes_and_who_needs_it_is_said_before(polymodal, runs):
    code, out, error = polymodal("runs", "base", "--delete")
    assert code == 2
    assert "cannot prompt" in error
    assert "base  5." in out.replace(str(runs) + "/", "")
    assert "kB" in out
    assert "base is needed by" in out
    for name in ("tested (test)", "voted (vote)", "studied (study)"):
        assert name in out
    assert left(runs) == EVERY


def test_only_what_is_listed_is_deleted(polymodal, runs):
    code, out, error = polymodal("runs", "status=failed", "--delete", "--yes")
    assert (code, error) == (0, "")
    assert "needed" not in out
    assert "deleted 1, 5." in out
    assert left(runs) == EVERY - {"alone"}


@pytest.mark.parametrize(
    ("answer", "gone"), [("y\n", {"alone"}), ("\n", set()), ("no\n", set()), ("\x04", set())]
)
def test_it_is_asked(polymodal, runs, monkeypatch, answer, gone):
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    with os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        assert polymodal("runs", "alone", "--delete")[0] == 0
    os.close(ours)
    assert left(runs) == EVERY - gone


def test_everything_is_never_meant(polymodal, runs):
    empty = ["", "--delete", "--yes"]  # of a variable that is not set
    both = ["alone", "--delete", "--archive"]
    for words in (["--delete", "--yes"], ["--archive"], both, empty, [*empty, "alone"]):
        code, _, error = polymodal("runs", *words)
        assert code == 2, words
        assert (
            "no runs are selected" in error or "one of them" in error or "empty argument" in error
        )
    assert left(runs) == EVERY


@pytest.mark.parametrize("option", ["--delete", "--archive"])
def test_what_runs_stays_and_so_do_all_others(polymodal, runs, option):
    for here in (host(), {"name": "elsewhere", "pid": 1}):
        record = {"run_id": "base", "status": "running", "host": here}
        (runs / "base" / "run.json").write_text(json.dumps(record))
        code, _, error = polymodal("runs", "base", "alone", option, "--yes")
        assert code == 2
        assert f"base is running on {here['name']}" in error
        assert left(runs) == EVERY


def test_no_link_is_followed(polymodal, runs, workplace):
    outside = workplace / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x" * 9_000_000)
    (runs / "alone" / "link").symlink_to(outside)
    (runs / "alone" / "file").symlink_to(outside / "precious")
    (workplace / "elsewhere").mkdir()
    (runs / "voted").rename(workplace / "elsewhere" / "voted")
    (runs / "linked").symlink_to(workplace / "elsewhere" / "voted")
    code, _, error = polymodal("runs", "linked", "--delete", "--yes")
    assert code == 2
    assert "is a link" in error
    code, out, _ = polymodal("runs", "alone", "--delete", "--yes")
    assert code == 0
    assert "MB" not in out
    assert (outside / "precious").stat().st_size == 9_000_000
    assert (workplace / "elsewhere" / "voted" / "run.json").is_file()


def test_a_run_goes_into_the_archive_and_comes_back(polymodal, runs):
    before = {path: path.read_bytes() for path in (runs / "alone").rglob("*") if path.is_file()}
    code, _, error = polymodal("runs", "alone", "--archive", "--yes")
    assert (code, error) == (0, "")
    assert left(runs) == EVERY - {"alone"} | {"archive"}
    names = {path.name for path in (runs / "archive").iterdir()}
    assert names == {"alone.tar.gz", "alone.tar.gz.sha256"}
    assert "alone" not in polymodal("runs")[1]
    assert polymodal("runs", "--archived")[1].startswith("alone  ")
    code, _, error = polymodal("runs", "--restore", "al")
    assert code == 0, error
    assert left(runs) == EVERY | {"archive"}
    assert list((runs / "archive").iterdir()) == []
    assert {path: path.read_bytes() for path in before} == before
    assert "nothing is archived" in polymodal("runs", "--archived")[1]


def test_links_that_lead_out_come_back_as_links(polymodal, runs):
    """Weights & Biases leaves one to an absolute path in every run folder."""
    (runs / "alone" / "log").symlink_to("/nowhere/debug.log")
    assert polymodal("runs", "alone", "--archive", "--yes")[0] == 0
    code, _, error = polymodal("runs", "--restore", "alone")
    assert code == 0, error
    assert os.readlink(runs / "alone" / "log") == "/nowhere/debug.log"


def test_what_was_not_unpacked_whole_leaves_its_archive(polymodal, runs, monkeypatch):
    polymodal("runs", "alone", "--archive", "--yes")
    read = archive.read_record

    def lose(folder):
        (folder / "run.json").rename(folder / "kept")
        (folder / "kept").rename(folder / "run.json")
        (folder / "checkpoints" / "last.ckpt").write_bytes(b"half")
        return read(folder)

    monkeypatch.setattr(archive, "read_record", lose)
    code, _, error = polymodal("runs", "--restore", "alone")
    assert code == 2
    assert "as it is" in error
    assert (runs / "archive" / "alone.tar.gz").is_file()
    assert not (runs / "alone").exists()


def test_unpacking_is_left_alone_by_who_deletes(polymodal, runs):
    (runs / f"{archive.COMING}1").mkdir()
    (runs / f"{archive.GOING}1").mkdir()
    assert polymodal("runs", "alone", "--delete", "--yes")[0] == 0
    assert (runs / f"{archive.COMING}1").is_dir()
    assert not (runs / f"{archive.GOING}1").exists()


def test_a_run_that_was_resumed_while_it_was_asked_stays(polymodal, runs, monkeypatch):
    def resume(question, arguments):
        record = {"run_id": "alone", "status": "running", "host": host()}
        (runs / "alone" / "run.json").write_text(json.dumps(record))
        return True

    monkeypatch.setattr("polymodal.cli.removal.is_confirmed", resume)
    code, _, error = polymodal("runs", "alone", "--delete")
    assert code == 2
    assert "is running" in error
    assert (runs / "alone" / "run.json").is_file()


def test_a_damaged_or_foreign_archive_is_refused_and_stays(polymodal, runs, workplace):
    polymodal("runs", "alone", "--archive", "--yes")
    packed = runs / "archive" / "alone.tar.gz"
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-20])
    assert "does not match its SHA-256" in polymodal("runs", "--restore", "alone")[2]
    (runs / "archive" / "alone.tar.gz.sha256").unlink()
    packed.write_bytes(whole[: len(whole) // 2])
    assert "cannot be unpacked" in polymodal("runs", "--restore", "alone")[2]
    with tarfile.open(packed, "w:gz") as file:
        file.add(runs / "base", "../base2")
    code, _, error = polymodal("runs", "--restore", "alone")
    assert code == 2, error
    assert packed.exists()
    assert not (workplace / "base2").exists()
    assert left(runs) == EVERY - {"alone"} | {"archive"}
    packed.write_bytes(whole)
    assert "did you mean 'alone'" in polymodal("runs", "--restore", "alome")[2]
    assert polymodal("runs", "--restore", "alone")[0] == 0


def test_neither_takes_the_place_of_another(polymodal, runs):
    polymodal("runs", "alone", "--archive", "--yes")
    (runs / "base").rename(runs / "alone")
    assert "already" in polymodal("runs", "--restore", "alone")[2]
    assert "already" in polymodal("runs", "alone", "--archive", "--yes")[2]
    assert (runs / "alone" / "run.json").is_file()


def test_a_kill_on_the_way_leaves_no_half_run(polymodal, runs, monkeypatch):
    def killed(path, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(archive.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            archive.delete(runs / "alone")
    assert "alone" not in polymodal("runs")[1]
    assert len(left(runs)) == len(EVERY)
    assert polymodal("runs", "voted", "--delete", "--yes")[0] == 0
    assert left(runs) == EVERY - {"alone", "voted"}
