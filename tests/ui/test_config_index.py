"""Options of all runs: read once a section, with the values that the whole file has."""

import json
import shutil

import pytest

from polymodal.tracking.config_diff import flatten, read_config
from polymodal.ui.config_index import ConfigIndex, _shown
from polymodal.ui.run_index import RunIndex


@pytest.fixture
def options(tmp_path):
    def make():
        made = ConfigIndex(RunIndex([tmp_path]))
        made.wait()
        return made

    return make


def flat(folder):
    return {key: _shown(one) for key, one in flatten(read_config(folder))}


def test_columns_have_each_runs_value(tmp_path, write_run, options):
    write_run(tmp_path, "a", lr=0.001)
    write_run(tmp_path, "b", lr=0.01)
    told = options().columns(["optimizer.lr", "optimizer.betas", "no.such"])
    values = dict(zip(told["runs"], told["columns"]["optimizer.lr"], strict=True))
    assert values == {"0/a": 0.001, "0/b": 0.01}
    assert told["columns"]["optimizer.betas"] == ["[0.9, 0.99]"] * 2
    assert told["columns"]["no.such"] == [None, None]


def test_the_survey_counts_values(tmp_path, write_run, options):
    write_run(tmp_path, "a", lr=0.001)
    write_run(tmp_path, "b", lr=0.01)
    told = options().list_options()
    assert (told["done"], told["total"]) == (2, 2)
    counts = {one["key"]: one["values"] for one in told["options"]}
    assert counts == {"corpus.root": 1, "optimizer.lr": 2, "optimizer.betas": 1, "seed": 1}


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  b: 1\n  c: {d: [1, 2]}\nseed: 3\n",
        "---\na:\n- 1\n- 2\nb: |\n  key: text\n\n  more\nc: 'x: y'\n",
        "# about\na: &one {x: 1}\nb: *one\n",
        "a: {}\nb: []\nc:\nd: .inf\ne: true\nf: 'text\n\n  more'\n\"quoted key\": 1\n",
        '{"a": {"b": 1}, "c": 2}\n',
        'a: "text\n\nb: 2"\nc: 3\n',
        "a-b: 1\nc.d: 2\n1: 2\n",
    ],
)
def test_parts_have_what_the_whole_has(tmp_path, write_run, options, text):
    folder = write_run(tmp_path, "a")
    (folder / "config.yaml").write_text(text)
    made = options()
    run = made.collection.runs["0/a"]
    assert made.of(run) == flat(folder)
    json.dumps(made.of(run), allow_nan=False)


@pytest.mark.parametrize("data", [b"", b"a: [1", b"\xff\xfe", b"just text", b"- 1\n- 2\n", b"\t:"])
def test_a_broken_configuration_has_no_options(tmp_path, write_run, options, data):
    folder = write_run(tmp_path, "a")
    (folder / "config.yaml").write_bytes(data)
    made = options()
    assert made.of(made.collection.runs["0/a"]) == {}
    assert made.list_options()["done"] == 1


def test_a_configuration_may_not_run_anything(tmp_path, write_run, options):
    folder = write_run(tmp_path, "a")
    mark = tmp_path / "mark"
    (folder / "config.yaml").write_text(
        f"a: !!python/object/apply:pathlib.Path.touch [{mark}]\nb: 1\n"
    )
    made = options()
    made.of(made.collection.runs["0/a"])
    assert not mark.exists()


def test_a_run_that_has_just_begun_is_asked_again(tmp_path, write_run, options):
    folder = write_run(tmp_path, "a", status="running")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").unlink()
    made = options()
    assert made.list_options()["done"] == 0
    (folder / "config.yaml").write_text(text)
    made.wait()
    assert made.columns(["seed"])["columns"]["seed"] == [1]


def test_a_folder_that_was_made_anew_has_its_new_options(tmp_path, write_run, options, monkeypatch):
    monkeypatch.setattr("polymodal.ui.run_index.MIN_RESCAN_S", 0.0)
    monkeypatch.setattr("polymodal.ui.run_index.RESCAN_FACTOR", 0.0)
    write_run(tmp_path, "a", lr=0.1)
    made = options()
    shutil.rmtree(tmp_path / "a")
    made.collection.rescan()
    assert made.list_options()["options"] == []
    write_run(tmp_path, "a", lr=0.2)
    made.collection.rescan()
    made.wait()
    assert made.columns(["optimizer.lr"])["columns"]["optimizer.lr"] == [0.2]
