"""Reports, comparisons and trackio's page: made when they are asked for, gone with the server."""

import json
import os
import sqlite3
import time
import urllib.error
import urllib.request

import pytest

from polymodal.errors import RunError
from polymodal.ui.subprocesses import Subprocesses


@pytest.fixture
def programs():
    made = Subprocesses()
    yield made
    made.close()
    assert all(one.poll() is not None for one in made._running)


def until_made(ask):
    """Asks as the browser does, until the page is no more being made."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        status, headers, body = ask()
        if "Refresh" not in headers:
            return status, body
        time.sleep(0.2)
    raise AssertionError("the report was not made")


@pytest.mark.slow
def test_the_report_of_a_study_is_made_when_it_is_asked_for(serve, tmp_path, write_run):
    folder = write_run(tmp_path, "20260101-study", kind="study")
    summary = {"study": "x", "name": "the name", "status": "finished", "members": {}}
    (folder / "study.json").write_text(json.dumps(summary))
    client = serve(tmp_path)
    path = "/report/0/20260101-study/report.html"
    first = client.ask(path)
    assert b"is being made" in first[2]
    status, body = until_made(lambda: client.ask(path))
    assert status == 200
    assert b"Study: the name" in body
    later = time.time() + 10
    os.utime(folder / "study.json", (later, later))
    assert "Refresh" in client.ask(path)[1], "a report that is older than its record is made anew"
    until_made(lambda: client.ask(path))


def test_a_report_that_cannot_be_made_says_why(serve, tmp_path, write_run):
    folder = write_run(tmp_path, "20260101-a", name="<b>run</b>")
    (folder / "study.json").write_text("{")
    client = serve(tmp_path)
    status, body = until_made(lambda: client.ask("/report/0/20260101-a/report.html"))
    assert status == 500
    assert b"could not be made" in body
    assert b"study.json" in body
    assert b"<b>run</b>" not in body


def test_what_compare_says_is_passed_on(serve, tmp_path, write_run, monkeypatch):
    for name in ("a", "--help"):
        write_run(tmp_path, name)
    client, asked = serve(tmp_path), []
    programs = client.server.routes.programs
    found = [{"verdict": "a is better"}]
    monkeypatch.setattr(
        programs, "_polymodal", lambda words: asked.append(words) or json.dumps(found)
    )
    told = client.json("/api/compare?key=0/a&key=0/--help&key=0/a&score=uar")
    assert told == {"comparisons": found}
    folders = [str(tmp_path / name) for name in ("a", "--help")]
    assert asked == [["compare", *folders, "--json", "--score=uar"]]


@pytest.mark.slow
def test_runs_without_predictions_cannot_be_compared(serve, tmp_path, write_run):
    for name in ("a", "b"):
        write_run(tmp_path, name)
    status, _, body = serve(tmp_path).ask("/api/compare?key=0/a&key=0/b")
    assert status == 400
    assert "Traceback" not in json.loads(body)["error"]


def test_trackio_is_started_once_and_ends_with_the_server(programs, tmp_path):
    trackio = pytest.importorskip("trackio")
    assert trackio
    address = programs.trackio(tmp_path)
    assert programs.trackio(tmp_path) == address
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert b"trackio" in answer.read().lower()
    programs.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=5)


def test_the_page_leads_to_trackio_where_its_database_is(serve, tmp_path, monkeypatch):
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    client = serve(tmp_path)
    assert client.json("/api/about")["trackio"] == []
    (tmp_path / ".trackio").mkdir()
    sqlite3.connect(tmp_path / ".trackio" / "x.db").close()
    assert client.json("/api/about")["trackio"] == [0]
    asked = []
    monkeypatch.setattr(
        client.server.routes.programs,
        "trackio",
        lambda folder: asked.append(folder) or "http://127.0.0.1:1/",
    )
    status, headers, _ = client.ask("/trackio?root=0")
    assert (status, headers["Location"]) == (303, "http://127.0.0.1:1/")
    assert asked == [tmp_path.resolve() / ".trackio"]


def test_nothing_starts_while_the_server_ends(programs, tmp_path):
    programs.close()
    with pytest.raises(RunError, match="is ending"):
        programs.compare([tmp_path, tmp_path], None)
