import json
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from polymodal.errors import DataError
from polymodal.features import reader
from polymodal.features.keys import content_key
from polymodal.features.reader import read_values
from polymodal.features.shards import RECORD
from polymodal.features.store import FeatureStore


@dataclass
class Ends:
    """Stands for an extractor; the store asks for no more than this."""

    identity: str = "ends 1"
    feature_size: int = 2
    source = "audio"
    sampling_rate_hz = 16_000
    frame_rate_hz = None

    def __call__(self, raw):
        raise AssertionError("the store computes nothing")


def key_of(number: int) -> bytes:
    return content_key(f"utterance {number}")


def values_of(number: int, num_rows: int = 3) -> np.ndarray:
    return np.full((num_rows, 2), number, dtype=np.float32)


def fill(store: FeatureStore, numbers, extractor=None) -> None:
    collection = store.open(extractor or Ends())
    for number in numbers:
        collection.put(key_of(number), values_of(number, 1 + number % 3))
    collection.close()


def files(folder, suffix):
    return sorted(folder.rglob(f"*{suffix}"))


def test_what_was_put_is_found_at_once_and_after_opening_again(tmp_path):
    store = FeatureStore(tmp_path)
    collection = store.open(Ends())
    assert collection.get(key_of(1)) is None
    collection.put(key_of(1), values_of(1))
    assert collection.get(key_of(1)).tolist() == values_of(1).tolist()
    collection.put(key_of(3), values_of(3, 4000))  # behind the end of what is mapped by now
    assert collection.get(key_of(3)).sum() == 3 * 8000
    fill(store, [2])
    assert collection.get(key_of(2)) is None
    again = store.open(Ends())
    assert again.get(key_of(1)).tolist() == values_of(1).tolist()
    assert again.get(key_of(2)).tolist() == values_of(2).tolist()
    assert len(again) == 3
    assert again.get(key_of(4)) is None


def test_another_extractor_width_or_type_has_its_own_features(tmp_path):
    fill(FeatureStore(tmp_path), [1])
    assert FeatureStore(tmp_path).open(Ends("ends 2")).get(key_of(1)) is None
    assert FeatureStore(tmp_path).open(Ends(feature_size=3)).get(key_of(1)) is None
    assert FeatureStore(tmp_path, "float16").open(Ends()).get(key_of(1)) is None
    assert FeatureStore(tmp_path).open(Ends()).get(key_of(1)) is not None


def test_values_are_mapped_from_the_file_and_cannot_be_written(tmp_path):
    fill(FeatureStore(tmp_path), [1])
    values = FeatureStore(tmp_path).open(Ends()).get(key_of(1))
    assert not values.flags.owndata
    assert not values.flags.writeable


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_smaller_numbers_are_stored_as_such(tmp_path, dtype):
    collection = FeatureStore(tmp_path, dtype).open(Ends())
    collection.put(key_of(1), np.array([[1 / 3, 2.0]], dtype=np.float32))
    assert collection.get(key_of(1)).astype(np.float32)[0] == pytest.approx([1 / 3, 2], rel=4e-3)
    assert files(tmp_path, ".data")[0].stat().st_size == 4


def test_keys_that_begin_alike_are_told_apart(tmp_path):
    collection = FeatureStore(tmp_path).open(Ends())
    keys = [key_of(1)[:8] + bytes([number] * 24) for number in range(5)]
    for number, key in enumerate(keys):
        collection.put(key, values_of(number))
    again = FeatureStore(tmp_path).open(Ends())
    assert [again.get(key)[0, 0] for key in keys] == [0, 1, 2, 3, 4]
    assert again.get(key_of(1)[:8] + bytes([9] * 24)) is None


@pytest.mark.parametrize("num_cut", [1, 20, 55])
def test_a_torn_record_is_none_and_takes_no_other_with_it(tmp_path, num_cut):
    fill(FeatureStore(tmp_path), range(4))
    (index,) = files(tmp_path, ".index")
    os.truncate(index, index.stat().st_size - num_cut)
    collection = FeatureStore(tmp_path).open(Ends())
    assert [collection.find(key_of(number)) is not None for number in range(4)] == [1, 1, 1, 0]


def test_a_record_without_its_values_is_none(tmp_path):
    fill(FeatureStore(tmp_path), range(4))
    (data,) = files(tmp_path, ".data")
    os.truncate(data, data.stat().st_size - 1)
    collection = FeatureStore(tmp_path).open(Ends())
    assert [collection.find(key_of(number)) is not None for number in range(4)] == [1, 1, 1, 0]


def test_records_that_are_zero_or_damaged_are_none(tmp_path):
    fill(FeatureStore(tmp_path), range(3))
    (index,) = files(tmp_path, ".index")
    content = bytearray(index.read_bytes())
    content[RECORD.itemsize + 33] ^= 1  # the offset of the second would point elsewhere
    index.write_bytes(content + bytes(RECORD.itemsize))
    collection = FeatureStore(tmp_path).open(Ends())
    assert len(collection) == 2
    assert [collection.find(key_of(number)) is not None for number in range(3)] == [1, 0, 1]


def test_a_flipped_bit_makes_one_entry_missing_which_is_mended_alone(tmp_path):
    store = FeatureStore(tmp_path)
    fill(store, range(3))
    (data,) = files(tmp_path, ".data")
    content = bytearray(data.read_bytes())
    content[9] ^= 1  # in the values of utterance 1
    data.write_bytes(content)
    collection = store.open(Ends())
    assert [collection.get(key_of(number)) is None for number in range(3)] == [False, True, False]
    fill(store, [1])
    assert [store.open(Ends()).get(key_of(k))[0, 0] for k in range(3)] == [0, 1, 2]


def test_a_checksum_is_compared_once_a_process(tmp_path, monkeypatch):
    fill(FeatureStore(tmp_path), range(2))
    collection, looked = FeatureStore(tmp_path).open(Ends()), []
    monkeypatch.setattr(
        "polymodal.features.store.is_intact", lambda *about: looked.append(about) or True
    )
    for number in (0, 1, 0, 1, 1):
        collection.get(key_of(number))
    assert len(looked) == 2


def test_many_processes_write_at_once_and_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=fill, args=(FeatureStore(tmp_path), range(k, 400, 2)))
        for k in (0, 1, 0, 1)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    collection = FeatureStore(tmp_path).open(Ends())
    assert all(collection.get(key_of(number))[0, 0] == number for number in range(400))
    assert len(files(tmp_path, ".data")) == 4


def test_a_forked_process_does_not_write_into_the_shard_of_its_parent(tmp_path):
    collection = FeatureStore(tmp_path).open(Ends())
    collection.put(key_of(0), values_of(0))
    child = multiprocessing.get_context("fork").Process(
        target=collection.put, args=(key_of(1), values_of(1))
    )
    child.start()
    child.join()
    collection.put(key_of(2), values_of(2))
    again = FeatureStore(tmp_path).open(Ends())
    assert [again.get(key_of(number))[0, 0] for number in range(3)] == [0, 1, 2]
    assert len(files(tmp_path, ".data")) == 2


def test_readers_in_threads_get_the_same(tmp_path):
    fill(FeatureStore(tmp_path), range(50))
    collection = FeatureStore(tmp_path).open(Ends())
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda k: collection.get(key_of(k % 50))[0, 0], range(400)))
    assert values == [k % 50 for k in range(400)]


def test_a_full_disk_says_what_is_free_and_leaves_nothing_half_written(tmp_path):
    collection = FeatureStore(tmp_path).open(Ends())
    collection.put(key_of(0), values_of(0, 100))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        with pytest.raises(DataError, match=r"2,456 bytes were to be written, [\d,]+ bytes are"):
            collection.put(key_of(1), values_of(1, 300))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(tmp_path, ".data")[0].stat().st_size == 800
    collection.put(key_of(2), values_of(2))
    again = FeatureStore(tmp_path).open(Ends())
    assert [again.find(key_of(k)) is not None for k in range(3)] == [1, 0, 1]
    assert again.get(key_of(2))[0, 0] == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"store .*file.* cannot be written(?s:.*)paths.store"):
        fill(FeatureStore(tmp_path / "file"), [1])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 2}, "'format': 2"), ({"identity": "another"}, "another"), (None, "cannot be rea")],
)
def test_a_store_of_another_version_or_a_damaged_one_is_refused(tmp_path, change, message):
    fill(FeatureStore(tmp_path), [1])
    (meta,) = files(tmp_path, "meta.json")
    text = "{" if change is None else json.dumps({**json.loads(meta.read_text()), **change})
    meta.write_text(text)
    with pytest.raises(DataError, match=rf"{message}(?s:.*)delete .*paths.store"):
        FeatureStore(tmp_path).open(Ends())


def test_the_mapping_is_small_as_a_pickle_and_reads_the_same(tmp_path):
    store = FeatureStore(tmp_path)
    fill(store, range(300))
    collection = store.open(Ends())
    features = collection.features({f"u{k}": collection.find(key_of(k)) for k in range(300)})
    content = pickle.dumps(features)
    assert len(content) < 300 * 40
    reader._map.cache_clear()
    back = pickle.loads(content)
    assert list(back) == [f"u{k}" for k in range(300)]
    assert all(back[f"u{k}"].tolist() == values_of(k, 1 + k % 3).tolist() for k in range(300))
    assert back.num_bytes == sum(array.nbytes for array in back.values())
    assert "u300" not in back
    assert back.get("u300") is None


def test_few_files_are_open_however_many_shards_there_are(tmp_path):
    store = FeatureStore(tmp_path)
    for number in range(reader.MAX_MAPS + 20):
        fill(store, [number])
    collection = store.open(Ends())
    before = len(os.listdir("/proc/self/fd"))
    read = [float(collection.get(key_of(k))[0, 0]) for k in range(reader.MAX_MAPS + 20)]
    assert read == list(range(reader.MAX_MAPS + 20))
    assert len(os.listdir("/proc/self/fd")) <= before + reader.MAX_MAPS + 1


def test_features_that_are_gone_are_named(tmp_path):
    with pytest.raises(DataError, match=r"gone.data cannot be read(?s:.*)run again"):
        read_values(tmp_path / "gone.data", 0, (1, 2), dtype="float32")


WRITER = """
import sys
from pathlib import Path
import numpy as np
from polymodal.features.keys import content_key
from polymodal.features.store import FeatureCollection
collection = FeatureCollection(Path(sys.argv[1]), "ends 1", 2, "float32")
for number in range(10**6):
    collection.put(content_key(f"utterance {number}"), np.full((3, 2), number, dtype="f4"))
    print(number, flush=True)
"""


def test_what_was_stored_before_a_kill_is_there_and_can_be_read(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for _ in range(50):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        num_stored = 50 + sum(1 for _ in child.stdout)
    collection = FeatureStore(tmp_path).open(Ends())
    assert len(collection) >= num_stored
    assert all(collection.get(key_of(number))[0, 0] == number for number in range(num_stored))


def test_a_large_store_opens_quickly(tmp_path):
    num = 100_000
    fill(FeatureStore(tmp_path), [0])
    (index,), (data,) = files(tmp_path, ".index"), files(tmp_path, ".data")
    records = np.zeros(num, dtype=RECORD)
    records["key"] = np.random.default_rng(0).integers(2**63, size=(num, 4), dtype=np.uint64)
    records["num_rows"] = 1
    integers = records.view("<u8").reshape(num, -1)
    integers[:, -1] = np.bitwise_xor.reduce(integers[:, :-1], axis=1) ^ np.uint64(
        0x706F6C796D6F6461
    )
    with index.open("ab") as file:
        file.write(records.tobytes())
    assert data.stat().st_size == 8
    began = time.perf_counter()
    collection = FeatureStore(tmp_path).open(Ends())
    seconds = time.perf_counter() - began
    assert len(collection) == num + 1
    assert collection.get(key_of(0))[0, 0] == 0
    assert seconds < 1.0  # 0.02 s on a quiet core; a million is measured by benchmarks/store.py
