"""The index: the folders are the truth, whatever happens to the file that spares reading them."""

import json
import os
import random
import shutil
import subprocess
import sys
import zlib

import pytest

from polymodal.tracking import index, index_cache
from polymodal.tracking.config_diff import config_diff, read_configs
from polymodal.tracking.index import find_runs
from polymodal.tracking.index_cache import IndexCache

NUM = 60  # more than what is worth an index
HOUR_NS = 3600 * 10**9
WRITING = """
import sys
from pathlib import Path
from polymodal.tracking import index_cache
from polymodal.tracking.index import INDEX, find_runs
index_cache.FS_TIMESTAMP_RESOLUTION_NS = -3600 * 10**9  # settled at once, as in the fixture
runs = Path(sys.argv[1])
for _ in range(15):
    (runs / INDEX).unlink(missing_ok=True)
    assert len(find_runs(runs)[0]) == 60
"""


def put(runs, name, **fields):
    folder = runs / name
    folder.mkdir(parents=True, exist_ok=True)
    values = {"run_id": name, "status": "finished", "versions": {"torch": "2"}, **fields}
    (folder / "run.json").write_text(json.dumps(values))
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Runs in an index; they count as settled at once, as if they had been written an hour ago."""
    monkeypatch.setattr(index_cache, "FS_TIMESTAMP_RESOLUTION_NS", -HOUR_NS)
    for number in range(NUM):
        put(tmp_path / "runs", f"r{number:02}", seed=number)
    find_runs(tmp_path / "runs")
    assert (tmp_path / "runs" / index.INDEX).is_file()
    return tmp_path / "runs"


@pytest.fixture
def read(monkeypatch):
    """Which folders are read."""
    names = []

    def reading(folder):
        names.append(folder.name)
        return read_record(folder)

    read_record = index.read_record
    monkeypatch.setattr(index, "read_record", reading)
    return names


def seeds(runs):
    return {run.record.run_id: run.record.seed for run in find_runs(runs)[0]}


EVERY = {f"r{number:02}": number for number in range(NUM)}


def test_what_is_known_is_not_read_again_and_is_equal(runs, read):
    found = find_runs(runs)
    assert read == []
    (runs / index.INDEX).unlink()
    assert find_runs(runs) == found
    assert len(read) == NUM


def test_a_deleted_folder_is_gone_and_forgotten(runs):
    shutil.rmtree(runs / "r07")
    assert seeds(runs) == {name: seed for name, seed in EVERY.items() if name != "r07"}
    put(runs, "r08", seed=8, fold=1)
    assert seeds(runs)["r08"] == 8
    assert "r07" not in (runs / index.INDEX).read_text()


def test_a_folder_that_is_copied_in_is_there(runs, read, tmp_path):
    put(tmp_path, "new", seed=99)
    os.utime(tmp_path / "new" / "run.json", (1, 1))
    shutil.copytree(tmp_path / "new", runs / "new", copy_function=shutil.copy2)
    assert seeds(runs) == {**EVERY, "new": 99}
    assert seeds(runs) == {**EVERY, "new": 99}
    assert read == ["new"]


def test_a_folder_that_another_has_taken_the_place_of_is_read(runs, tmp_path):
    copied = put(tmp_path, "r07", seed=99)
    shutil.copystat(runs / "r07" / "run.json", copied / "run.json")
    shutil.rmtree(runs / "r07")
    copied.rename(runs / "r07")
    assert seeds(runs)["r07"] == 99


@pytest.mark.parametrize("seed", [99, 8])  # 8 has as many digits as 7
def test_a_record_that_is_rewritten_is_read(runs, seed):
    put(runs, "r07", seed=seed)
    assert seeds(runs)["r07"] == seed


@pytest.fixture
def coarse(tmp_path, monkeypatch):
    """An index where the file system ticks every two seconds: its clock, and a way to read."""
    tick_ns = 1_000 * index_cache.FS_TIMESTAMP_RESOLUTION_NS
    monkeypatch.setattr(
        index_cache, "_stamp", lambda path: [tick_ns, tick_ns, os.stat(path).st_size]
    )
    for number in range(NUM):
        put(tmp_path, f"r{number:02}", seed=number)

    def read_at(seconds_after_tick):
        opened = []

        def clock(root):
            return tick_ns + int(seconds_after_tick * 10**9)

        def read(folder):
            opened.append(folder.name)
            return json.loads((folder / "run.json").read_text())

        cache = IndexCache(tmp_path / "index", "run.json", "test", lambda key: False, clock)
        values = cache.read([f"r{number:02}" for number in range(NUM)], read)
        return {name: entry["seed"] for name, entry in values.items()}, opened

    return read_at


def test_a_record_rewritten_within_a_tick_of_a_coarse_clock_is_read(coarse, tmp_path):
    """The file system tells nothing of it: neither time nor size nor inode differ."""
    assert coarse(1.5)[0]["r07"] == 7
    put(tmp_path, "r07", seed=8)
    assert coarse(1.8)[0]["r07"] == 8


def test_a_record_is_indexed_once_the_clock_has_ticked_since(coarse):
    assert len(coarse(2.0)[1]) == len(coarse(2.1)[1]) == NUM
    assert coarse(2.2) == (EVERY, [])


def test_an_index_that_is_cut_anywhere_is_made_anew(runs):
    whole = (runs / index.INDEX).read_bytes()
    draw = random.Random(0)
    for length in [0, 1, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(20))]:
        (runs / index.INDEX).write_bytes(whole[:length])
        assert seeds(runs) == EVERY
        assert len((runs / index.INDEX).read_bytes()) == len(whole)


def test_an_index_with_a_wrong_byte_is_made_anew(runs):
    whole = (runs / index.INDEX).read_bytes()
    place = whole.index(b'"seed":7')
    (runs / index.INDEX).write_bytes(whole[:place] + b'"seed":8' + whole[place + 8 :])
    assert seeds(runs) == EVERY


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b'{"shared":[],"entries":{},"more":1}', b"[" * 9999]
)
def test_an_index_of_another_make_is_not_used(runs, body, read):
    head = {"layout": index.LAYOUT, "crc32": zlib.crc32(body)}
    (runs / index.INDEX).write_bytes(json.dumps(head).encode() + b"\n" + body)
    assert seeds(runs) == EVERY
    assert len(read) == NUM


def test_an_index_of_a_future_version_is_not_used(runs, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(index, "LAYOUT", "records 2")
        (runs / index.INDEX).unlink()
        find_runs(runs)
    future = (runs / index.INDEX).read_bytes().replace(b'"seed":7', b'"seed":9')
    head, _, body = future.partition(b"\n")
    head = json.dumps({**json.loads(head), "crc32": zlib.crc32(body)}).encode()
    (runs / index.INDEX).write_bytes(head + b"\n" + body)
    assert seeds(runs) == EVERY


def test_several_processes_may_write_it_at_once(runs):
    command = [sys.executable, "-c", WRITING, str(runs)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    errors = [one.communicate()[1].decode() for one in both]
    assert [one.returncode for one in both] == [0, 0], errors
    assert seeds(runs) == EVERY
    assert [one.name for one in runs.iterdir() if one.name[0] == "."] == [index.INDEX]


@pytest.mark.parametrize("fault", [PermissionError, OSError(30, "Read-only file system")])
def test_where_nothing_can_be_written_there_is_none(runs, monkeypatch, fault):
    (runs / index.INDEX).unlink()

    def refuse(*args, **options):
        raise fault

    monkeypatch.setattr(index_cache, "atomic_write_text", refuse)
    assert seeds(runs) == EVERY
    monkeypatch.setattr(index_cache.tempfile, "TemporaryFile", refuse)
    assert seeds(runs) == EVERY
    assert not (runs / index.INDEX).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_written_is_listed(runs):
    (runs / index.INDEX).unlink()
    runs.chmod(0o500)
    try:
        assert seeds(runs) == EVERY
    finally:
        runs.chmod(0o700)


def test_few_runs_need_none(tmp_path, monkeypatch):
    monkeypatch.setattr(index_cache, "FS_TIMESTAMP_RESOLUTION_NS", -HOUR_NS)
    put(tmp_path, "a")
    find_runs(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_a_broken_record_is_named_each_time(runs):
    (runs / "r07" / "run.json").write_text("{")
    for _ in range(2):
        records, broken = find_runs(runs)
        assert (len(records), len(broken)) == (NUM - 1, 1)
        assert broken[0].startswith("r07: ")


def test_configurations_are_parsed_once(runs, monkeypatch):
    for name, seed in EVERY.items():
        (runs / name / "config.yaml").write_text(f"model: {{width: 4}}\nseed: {seed}\n1: no text\n")
    first = read_configs(runs, [*EVERY])
    assert first["r07"] == {"model": {"width": 4}, "seed": 7, "1": "no text"}
    with monkeypatch.context() as broken:
        broken.setattr("yaml.load", None)
        assert read_configs(runs, [*EVERY]) == first
    (runs / "r07" / "config.yaml").write_text("model: {width: 5}\n")
    (runs / "r08" / "config.yaml").write_text("model: [")
    (runs / "r09" / "config.yaml").unlink()
    now = read_configs(runs, [*EVERY])
    assert now == {**first, "r07": {"model": {"width": 5}}, "r08": {}, "r09": {}}


def test_a_configuration_that_holds_itself_is_broken(runs):
    (runs / "r07" / "config.yaml").write_text("a: &a [*a]\n")
    assert read_configs(runs, ["r07"]) == {"r07": {}}


def test_what_differs_is_told_by_key_and_where_it_lay_is_not():
    first = {"model": {"width": 4, "deep": {"n": 1}}, "seed": 0, "paths": {"runs": "a"}}
    second = {"model": {"width": 8, "deep": {"n": 1}}, "seed": 0, "paths": {"runs": "b"}}
    third = {"model": None, "seed": 0, "new": {}}
    assert config_diff([first, second]) == {"model.width": [4, 8]}
    assert config_diff([first, first]) == config_diff([]) == {}
    found = config_diff([first, third])
    assert found["model.width"] == [4, None]
    assert found.keys() == {"model.width", "model.deep.n", "new"}
