import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

from polymodal.errors import DataError
from polymodal.features.extract import _finished, extract_all, in_batches
from polymodal.features.keys import content_key
from polymodal.features.lookup import MissingFeature, look_up
from polymodal.features.store import FeatureStore


@dataclass(frozen=True)
class Ends:
    """First and last sample; refuses negative ones, and dies of a waveform of nines."""

    source = "audio"
    sampling_rate_hz = 16_000
    feature_size = 2
    frame_rate_hz = None
    identity = "ends 1"

    def __call__(self, raw):
        if raw[0] == 9:
            os._exit(1)
        if raw[0] < 0:
            raise ValueError("a negative sample")
        return raw[[0, -1]][None]


@dataclass(frozen=True)
class Together(Ends):
    """The same for several at once: keeps the lengths of its batches."""

    batches: list = field(default_factory=list)
    released: list = field(default_factory=list)
    max_batch_amount = 40

    def extract_batch(self, raws):
        self.batches.append([len(raw) for raw in raws])
        return [self(raw) for raw in raws]

    def release(self):
        self.released.append(True)


class Corpus:
    """Waveforms that count how often they were read."""

    def __init__(self, starts, lengths=None):
        self.starts, self.num_read = starts, 0
        self.lengths = lengths or [4] * len(starts)

    def read(self, start, length):
        self.num_read += 1
        return None if start is None else np.arange(start, start + length, dtype=np.float32)

    def __iter__(self):
        rows = zip(self.starts, self.lengths, strict=True)
        return ((f"u{row}", partial(self.read, *arguments)) for row, arguments in enumerate(rows))


def num_stored(folder, extractor=None):
    return len(FeatureStore(folder).open(extractor or Ends()))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_features_come_in_order_and_are_computed_once(tmp_path, num_workers):
    corpus, seen = Corpus([10, 20, None, 30, *range(40, 50), 10]), []
    store = FeatureStore(tmp_path)

    def progress(done, total):
        seen.append((done, total))

    features = extract_all(corpus, Ends(), store, num_workers=num_workers, progress=progress)
    assert list(features) == [f"u{row}" for row in range(15) if row != 2]
    assert features["u3"].tolist() == [[30, 33]]
    assert features["u14"].tolist() == features["u0"].tolist()
    assert seen[0] == (1, 15)  # the one without content
    assert seen[-1] == (15, 15)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert num_stored(tmp_path) == 13  # u0 and u14 are the same waveform

    def explode(self, raw):
        raise AssertionError("computed again")

    again = type("Again", (Ends,), {"__call__": explode})()
    repeated = extract_all(corpus, again, store, num_workers=0)
    assert all(
        np.array_equal(repeated[utterance_id], features[utterance_id]) for utterance_id in features
    )
    assert corpus.num_read == 15 + 13 + 15


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_failure_names_the_utterance_and_keeps_what_was_done(tmp_path, num_workers):
    with pytest.raises(DataError, match=r"'u2'.*a negative sample"):
        extract_all(Corpus([1, 2, -3]), Ends(), FeatureStore(tmp_path), num_workers=num_workers)
    assert num_stored(tmp_path) == 2


def test_failures_come_after_what_was_computed_beside_them():
    running = {Future(): MissingFeature(b"", 1, str, [f"u{number}"]) for number in range(20)}
    for number, future in enumerate(running):
        if number % 4 == 0:
            future.set_exception(DataError("damaged"))
        else:
            future.set_result(np.zeros((1, 2), dtype=np.float32))
    finished = _finished(running)
    computed = {next(finished)[0].ids[0] for _ in range(15)}
    assert computed == {f"u{number}" for number in range(20) if number % 4}
    with pytest.raises(DataError, match="damaged"):
        next(finished)


def test_a_process_that_dies_is_reported(tmp_path):
    with pytest.raises(DataError, match=r"a process died .*ends 1 of one of .*'u1'"):
        extract_all(Corpus([1, 9]), Ends(), FeatureStore(tmp_path), num_workers=1)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_file_that_cannot_be_read_is_not_hidden(tmp_path, num_workers):
    def damaged():
        raise DataError("row 3: damaged")

    with pytest.raises(DataError, match="row 3: damaged"):
        extract_all([("u", damaged)], Ends(), FeatureStore(tmp_path), num_workers=num_workers)


def test_a_wrong_shape_is_refused_and_not_stored(tmp_path):
    wide = type("Wide", (Ends,), {"feature_size": 3})()
    with pytest.raises(DataError, match=r"ends 1 returned .* \(1, 2\)"):
        extract_all(Corpus([1]), wide, FeatureStore(tmp_path))
    assert num_stored(tmp_path, wide) == 0


def test_a_file_that_changes_meanwhile_is_not_stored_under_its_old_content(tmp_path):
    contents = iter([1.0, 2.0])

    def changing():
        return np.full(3, next(contents), dtype=np.float32)

    with pytest.raises(DataError, match="'u' changed while"):
        extract_all([("u", changing)], Ends(), FeatureStore(tmp_path))
    assert num_stored(tmp_path) == 0


def test_a_damaged_entry_is_computed_again_alone(tmp_path):
    store = FeatureStore(tmp_path)
    extract_all(Corpus([1, 2, 3]), Ends(), store)
    (data,) = tmp_path.rglob("*.data")
    content = bytearray(data.read_bytes())
    content[9] ^= 255
    data.write_bytes(content)
    seen = look_up(Corpus([1, 2, 3]), Ends(), store)
    assert [feature.ids for feature in seen.missing] == [["u1"]]
    assert extract_all(Corpus([1, 2, 3]), Ends(), store)["u1"].tolist() == [[2, 5]]
    assert not look_up(Corpus([1, 2, 3]), Ends(), store).missing


def test_batches_are_of_like_length_the_longest_first_and_bounded(tmp_path):
    lengths = [4, 20, 5, 19, 50, 4, 5, 10]
    corpus, extractor = Corpus(list(range(10, 18)), lengths), Together()
    features = extract_all(corpus, extractor, FeatureStore(tmp_path), num_workers=2)
    assert extractor.batches == [[50], [20, 19], [10, 5, 5, 4], [4]]
    assert list(features) == [f"u{k}" for k in range(8)]
    assert features["u7"].tolist() == [[17, 26]]
    assert extractor.released == [True]
    extract_all(corpus, extractor, FeatureStore(tmp_path))
    assert len(extractor.batches) == 4


def test_a_failure_within_a_batch_names_the_utterance_and_keeps_the_others(tmp_path):
    extractor = Together()
    with pytest.raises(DataError, match=r"'u1'.*a negative sample"):
        extract_all(Corpus([1, -2, 3]), extractor, FeatureStore(tmp_path), num_workers=1)
    assert num_stored(tmp_path) == 2
    assert extractor.released == [True]


def test_a_file_that_cannot_be_read_keeps_the_others_of_its_batch():
    def damaged():
        raise DataError("row 3: damaged")

    first, last = np.full(3, 1.0, np.float32), np.full(3, 2.0, np.float32)
    sound = [
        MissingFeature(content_key(raw), 3, lambda raw=raw: raw, ["u"]) for raw in (first, last)
    ]
    rows = [sound[0], MissingFeature(b"", 3, damaged, ["v"]), sound[1]]
    given = in_batches(rows, Together(), num_threads=1)
    assert [next(given)[0], next(given)[0]] == sound
    with pytest.raises(DataError, match="damaged"):
        next(given)


def test_too_little_memory_is_not_tried_again_one_by_one(tmp_path):
    class OutOfMemoryError(RuntimeError):
        pass

    class Large(Together):
        def extract_batch(self, raws):
            raise OutOfMemoryError("19 GiB")

    with pytest.raises(OutOfMemoryError):
        extract_all(Corpus([1, 2, 3]), Large(), FeatureStore(tmp_path))
    assert num_stored(tmp_path) == 0


SLOW = """
import sys, time
from functools import partial
from pathlib import Path
import numpy as np
from polymodal.features.extract import extract_all
from polymodal.features.store import FeatureStore

class Slow:
    source, sampling_rate_hz, feature_size, frame_rate_hz = "audio", 16_000, 2, None
    identity = "ends 1"
    def __call__(self, raw):
        print("computed", raw[0], flush=True)
        time.sleep(float(sys.argv[2]))
        return raw[[0, -1]][None]

rows = [(f"u{k}", partial(np.arange, k, k + 4, dtype="f4")) for k in range(30)]
features = extract_all(rows, Slow(), FeatureStore(Path(sys.argv[1])))
print("all", [float(one[0, 0]) for one in features.values()] == list(range(30)))
"""


def test_killed_and_continued_computes_nothing_twice(tmp_path):
    def start(pause_s):
        command = [sys.executable, "-c", SLOW, str(tmp_path), pause_s]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    with start("0.02") as child:
        first = [child.stdout.readline() for _ in range(8)]
        child.send_signal(signal.SIGKILL)
        first += child.stdout.readlines()
    with start("0") as child:
        *second, last = child.stdout.readlines()
    assert last == "all True\n"
    assert len(first) + len(second) in (30, 31)  # the one that was being computed, at most
    assert 8 <= len(first) < 30
    assert len(set(first) | set(second)) == 30


def test_every_key_is_that_of_the_content(tmp_path):
    seen = look_up(Corpus([1, None, 2]), Ends(), FeatureStore(tmp_path))
    assert list(seen.keys) == ["u0", "u2"]
    assert seen.keys["u2"] == content_key(np.arange(2, 6, dtype=np.float32))
