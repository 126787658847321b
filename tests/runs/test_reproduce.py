"""A recorded run is repeated bit for bit, or varied, and what has changed since is said."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

SMALL = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "split.val=0.3",
    "trainer.max_epochs=2",
    "tracker=none",
]


def last():
    return Path("runs") / Path("runs/last").read_text()


@pytest.fixture
def first(polymodal):
    code, _, error = polymodal("run", *SMALL, "optimizer.lr=0.002")
    assert code == 0, error
    return last()


def test_a_run_is_repeated_to_the_last_bit_wherever_its_folder_lies(polymodal, first, tmp_path):
    copied = tmp_path / "elsewhere" / first.name
    shutil.copytree(first, copied)
    shutil.rmtree(first)
    code, out, error = polymodal("run", "--again", str(copied))
    assert code == 0, error
    assert f"every score is that of {first.name}" in out
    assert "warning" not in error
    again = last()
    tables = [pl.read_parquet(one / "predictions/test.parquet") for one in (copied, again)]
    assert tables[0].equals(tables[1])
    record = json.loads((again / "run.json").read_text())
    assert record["notes"]["again"] == first.name
    assert (again / "config.yaml").read_text() == (copied / "config.yaml").read_text()


def test_a_run_that_was_copied_elsewhere_is_shown_and_tested(
    polymodal, first, tmp_path, monkeypatch
):
    """As on another machine: neither the folder of runs nor the place of the run is there."""
    copied = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(first, copied)
    shutil.rmtree(first.parent)
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    before = json.loads((copied / "run.json").read_text())["scores"]
    shown = json.loads(polymodal("show", str(copied), "--json")[1])
    assert (shown["scores"], shown["path"]) == (before, str(copied))
    code, _, error = polymodal("test", str(copied))
    assert code == 0, error
    (tested,) = Path("runs").glob("*/run.json")
    after = json.loads(tested.read_text())
    assert after["scores"]["test/uar"] == before["test/uar"]
    assert after["parent"] == copied.name


def test_a_run_is_varied(polymodal, first):
    code, out, error = polymodal("run", "--from", "last", "optimizer.lr=0.5")
    assert code == 0, error
    assert "every score" not in out
    record = json.loads((last() / "run.json").read_text())
    assert record["notes"]["from"] == first.name
    assert "lr: 0.5" in (last() / "config.yaml").read_text()


def test_what_has_changed_since_is_said_before_and_after(polymodal, first):
    path = first / "run.json"
    record = json.loads(path.read_text())
    record["versions"]["torch"], record["scores"]["test/uar"] = "1.2.3", 0.123
    record["code"] = {"commit": "0" * 40}
    path.write_text(json.dumps(record))
    code, out, error = polymodal("run", "--again", first.name)
    assert code == 0, error
    assert "the run had 1.2.3" in error
    assert "the run's was at 000000000000" in error
    assert "test/uar was 0.123, is" in out
    assert "every score" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--again", "last", "optimizer.lr=1"], "vary it with --from last"),
        (["--again", "last", "-m"], "make one run"),
        (["--from", "nothing"], "there is no run 'nothing'"),
        (["--from", "last", "optimizer.rate=1"], "optimizer.rate"),
    ],
)
def test_what_cannot_be_repeated_is_refused(polymodal, first, words, message):
    code, _, error = polymodal("run", *words)
    assert code == 2
    assert message in error


def test_a_test_is_no_run_to_be_repeated(polymodal, first):
    assert polymodal("test", "last")[0] == 0
    code, _, error = polymodal("run", "--again", "last:test")
    assert code == 2
    assert "is a test" in error
