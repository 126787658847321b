"""The command upgrade: what it shows, writes and says as JSON."""

import json

import pytest

from polymodal.cli.main import main

OLD = "trainer:\n  gpus: 2\n  terminate_on_nan: true\n  max_epochs: 1\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(OLD)
    return tmp_path


def test_it_shows_and_writes_nothing(here, capsys):
    assert main(["upgrade", "."]) == 0
    out = capsys.readouterr().out
    for words in (
        "-  gpus: 2",
        "+  devices: 2",
        "trainer-gpus: 1",
        "one argument counts the devices of every kind",
        "a.yaml:3: terminate_on_nan: true",
        "hint: EarlyStopping(",
        "proof: 0 of 1 sections",
        "does not bind: trainer.terminate_on_nan is unknown",
        "at: a.yaml:4",
        "1 change in 1 file, 1 undecided",
        "--write",
    ):
        assert words in out, words
    assert (here / "a.yaml").read_text() == OLD


def test_it_writes_and_then_has_nothing_to_do(here, capsys):
    assert main(["upgrade", "a.yaml", "--write"]) == 0
    assert "written: 1 file" in capsys.readouterr().out
    assert "devices: 2" in (here / "a.yaml").read_text()
    assert main(["upgrade", "a.yaml", "--write"]) == 0
    out = capsys.readouterr().out
    assert "0 changes, 1 undecided" in out
    assert "written" not in out


def test_a_tree_of_today_has_no_changes(here, capsys):
    (here / "a.yaml").write_text("trainer:\n  devices: 2\n")
    assert main(["upgrade", "."]) == 0
    assert capsys.readouterr().out == "0 changes, 0 undecided\n"


def test_it_says_everything_as_json(here, capsys):
    (here / "b.yaml").write_text("a: [")
    assert main(["upgrade", ".", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["changes"], said["undecided"], said["written"]) == (1, 1, False)
    (file,) = said["files"]
    assert file["file"] == "a.yaml"
    assert file["changes"][0] == {
        "rule": "trainer-gpus",
        "line": 2,
        "found": "gpus: 2",
        "written": "accelerator: gpu, devices: 2",
        "note": "",
    }
    assert "+  devices: 2" in file["diff"]
    assert said["faults"][0]["file"] == "b.yaml"
    assert said["proof"]["sections"] == 1
    assert said["proof"]["findings"][0]["line"] == 4


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_bad_input_ends_with_2_and_a_clear_message(here, capsys, json_too):
    (here / "b.yaml").write_text("a: [")
    assert main(["upgrade", ".", "--write", *json_too]) == 2
    error = capsys.readouterr().err
    assert "nothing is written: b.yaml:1: is not valid YAML" in error
    assert "--skip" in error
    assert (here / "a.yaml").read_text() == OLD
    assert main(["upgrade", ".", "--write", "--skip", "b.yaml", *json_too]) == 0
    assert main(["upgrade", "nowhere"]) == 2
