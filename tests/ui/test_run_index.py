"""The runs of several folders: whole, broken, foreign, growing, gone."""

import json
import os
import shutil
import time

import pytest

from polymodal.errors import RunError
from polymodal.ui.run_index import RunIndex


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch):
    monkeypatch.setattr("polymodal.ui.run_index.MIN_RESCAN_S", 0.0)
    monkeypatch.setattr("polymodal.ui.run_index.RESCAN_FACTOR", 0.0)


class Page:
    """What a page knows that asks again and again."""

    def __init__(self, collection):
        self.collection, self.version, self.instance, self.rows = collection, 0, "", {}

    def ask(self):
        told = json.loads(self.collection.changes_since(self.version, self.instance))
        self.version, self.instance = told["version"], told["instance"]
        if told["whole"]:
            self.rows = {}
        for key in told["gone"]:
            self.rows.pop(key, None)
        self.rows |= {row["key"]: row for row in told["rows"]}
        assert len(self.rows) == told["total"]
        return told


def rewrite(folder, **fields):
    path = folder / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, **fields}))


def test_who_asks_again_is_told_what_changed_alone(tmp_path, write_run):
    first = write_run(tmp_path, "a")
    page = Page(RunIndex([tmp_path]))
    assert [row["key"] for row in page.ask()["rows"]] == ["0/a"]
    assert page.ask()["rows"] == []
    write_run(tmp_path, "b", started="2026-02-01T00:00:00+00:00")
    assert [row["key"] for row in page.ask()["rows"]] == ["0/b"]
    rewrite(first, status="failed", error="no")
    assert [(row["key"], row["status"]) for row in page.ask()["rows"]] == [("0/a", "failed")]
    shutil.rmtree(first)
    assert page.ask()["gone"] == ["0/a"]
    assert [*page.rows] == ["0/b"]
    write_run(tmp_path, "a")
    assert [row["key"] for row in page.ask()["rows"]] == ["0/a"]


def test_the_newest_come_first(tmp_path, write_run):
    for month in (2, 3, 1):
        write_run(tmp_path, f"m{month}", started=f"2026-0{month}-01T00:00:00+00:00")
    told = Page(RunIndex([tmp_path])).ask()
    assert [row["run"] for row in told["rows"]] == ["m3", "m2", "m1"]


def test_the_first_rows_may_come_before_the_others(tmp_path, write_run):
    for month in (1, 2, 3):
        write_run(tmp_path, f"m{month}", started=f"2026-0{month}-01T00:00:00+00:00")
    collection = RunIndex([tmp_path])
    told = json.loads(collection.changes_since(0, "", most=2))
    assert [row["run"] for row in told["rows"]] == ["m3", "m2"]
    assert (told["total"], told["rest"]) == (3, 1)
    assert json.loads(collection.changes_since(0, ""))["rest"] == 0


def test_another_server_tells_everything_again(tmp_path, write_run):
    write_run(tmp_path, "a")
    page = Page(RunIndex([tmp_path]))
    page.ask()
    page.collection = RunIndex([tmp_path])
    assert page.ask()["whole"]


def test_runs_of_several_folders_do_not_mix(tmp_path, write_run):
    write_run(tmp_path / "one", "a")
    write_run(tmp_path / "two", "a", status="failed")
    collection = RunIndex([tmp_path / "one", tmp_path / "two", tmp_path / "none"])
    page = Page(collection)
    page.ask()
    assert {key: row["status"] for key, row in page.rows.items()} == {
        "0/a": "finished",
        "1/a": "failed",
    }
    shutil.rmtree(tmp_path / "one" / "a")
    assert page.ask()["gone"] == ["0/a"]
    write_run(tmp_path / "none", "b")
    assert [row["key"] for row in page.ask()["rows"]] == ["2/b"]


def test_what_cannot_be_read_is_named_and_the_others_are_shown(tmp_path, write_run):
    write_run(tmp_path, "good")
    write_run(tmp_path, "future", record_version=99)
    (write_run(tmp_path, "torn") / "run.json").write_text('{"run_id": "to')
    (write_run(tmp_path, "half") / "run.json").unlink()
    (write_run(tmp_path, "list") / "run.json").write_text("[1]")
    (write_run(tmp_path, "bytes") / "run.json").write_bytes(b"\xff\xfe{}")
    (write_run(tmp_path, "folder") / "run.json").unlink()
    (tmp_path / "folder" / "run.json").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "photo.jpg").write_bytes(b"x")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "last").write_text("good")
    told = Page(RunIndex([tmp_path])).ask()
    assert [row["key"] for row in told["rows"]] == ["0/good"]
    broken = "\n".join(told["broken"])
    for name in ("future", "torn", "half", "list", "bytes", "folder"):
        assert name in broken
    assert "version 99" in broken
    assert "foreign" not in broken
    assert len(told["broken"]) == 6


def test_a_run_that_was_half_copied_appears_when_it_is_whole(tmp_path, write_run):
    folder = write_run(tmp_path, "a")
    text = (folder / "run.json").read_text()
    (folder / "run.json").unlink()
    page = Page(RunIndex([tmp_path]))
    assert len(page.ask()["broken"]) == 1
    (folder / "run.json").write_text(text[: len(text) // 2])
    told = page.ask()
    assert (told["rows"], len(told["broken"])) == ([], 1)
    (folder / "run.json").write_text(text)
    told = page.ask()
    assert ([row["key"] for row in told["rows"]], told["broken"]) == (["0/a"], [])
    (folder / "run.json").write_text("{")
    told = page.ask()
    assert (told["gone"], len(told["broken"])) == (["0/a"], 1)
    shutil.rmtree(folder)
    assert page.ask()["broken"] == []


def test_a_copy_of_a_folder_is_a_run_of_its_own(tmp_path, write_run):
    folder = write_run(tmp_path, "a")
    shutil.copytree(folder, tmp_path / "copy")
    rewrite(tmp_path / "copy", status="failed")
    page = Page(RunIndex([tmp_path]))
    page.ask()
    assert {key: row["status"] for key, row in page.rows.items()} == {
        "0/a": "finished",
        "0/copy": "failed",
    }


def test_a_run_that_goes_on_says_how_far_it_is(tmp_path, write_run):
    folder = write_run(tmp_path, "a", status="running", scores={}, duration_s=None)
    collection = RunIndex([tmp_path])
    first = json.loads(collection.changes_since(0, "", most=1))
    assert first["rows"][0]["values"]["epoch"] == 2
    page = Page(collection)
    page.ask()
    assert page.ask()["rows"] == []
    assert page.rows["0/a"]["values"] == {"epoch": 2, "step": 29, "val/uar": pytest.approx(0.5)}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 3, "step": 39, "val/uar": 0.7}) + '\n{"epoch": 4, "st')
    (row,) = page.ask()["rows"]
    assert row["values"] == {"epoch": 3, "step": 39, "val/uar": 0.7}


def test_a_journal_that_leads_elsewhere_is_not_read(tmp_path, write_run):
    outside = tmp_path.parent / "outside.jsonl"
    outside.write_text('{"step": 1, "secret": 1}\n')
    folder = write_run(tmp_path, "a", status="running")
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").symlink_to(outside)
    page = Page(RunIndex([tmp_path]))
    page.ask()
    assert "values" not in page.rows["0/a"]


def test_a_run_whose_process_is_gone_shows_as_killed(tmp_path, write_run):
    folder = write_run(tmp_path, "a", status="running")
    page = Page(RunIndex([tmp_path]))
    page.ask()
    assert page.rows["0/a"]["status"] == "running"
    host = json.loads((folder / "run.json").read_text())["host"]
    page.collection.runs["0/a"].record.host = {**host, "process_started": "another boot:1"}
    (row,) = page.ask()["rows"]
    assert row["status"] == "killed"
    assert json.loads((folder / "run.json").read_text())["status"] == "running"


def test_numbers_that_json_lacks_do_not_break_the_page(tmp_path, write_run):
    text = '{"run_id": "a", "scores": {"x": 1e999, "y": NaN, "z": 1}, "duration_s": -1e999}'
    (write_run(tmp_path, "a") / "run.json").write_text(text)
    (row,) = Page(RunIndex([tmp_path])).ask()["rows"]
    assert row["scores"] == {"x": None, "y": None, "z": 1}


def test_long_texts_and_many_scores_are_cut(tmp_path, write_run):
    scores = {f"test/{number:05d}": 0.5 for number in range(5000)}
    write_run(tmp_path, "a", status="x" * 5000, scores=scores, error="y" * 100_000)
    (row,) = Page(RunIndex([tmp_path])).ask()["rows"]
    assert len(json.dumps(row)) < 10_000


def test_a_name_that_is_no_unicode_is_left_out(tmp_path, write_run):
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    except OSError:
        pytest.skip("this file system takes no such name")
    (tmp_path / os.fsdecode(b"\xff") / "run.json").write_text('{"run_id": "x"}')
    write_run(tmp_path, "a")
    page = Page(RunIndex([tmp_path]))
    page.ask()
    page.ask()
    assert [*page.rows] == ["0/a"]


def test_a_folder_that_is_looked_at_again_and_again_gets_a_rest(tmp_path, write_run, monkeypatch):
    monkeypatch.setattr("polymodal.ui.run_index.MIN_RESCAN_S", 60.0)
    page = Page(RunIndex([tmp_path]))
    page.ask()
    write_run(tmp_path, "a")
    page.collection.rescan()
    assert page.collection.runs == {}
    page.collection._rested = time.monotonic()
    assert len(page.ask()["rows"]) == 1


def test_a_run_that_was_not_listed_cannot_be_asked_for(tmp_path):
    with pytest.raises(RunError, match="no run"):
        RunIndex([tmp_path]).find("0/../etc")
