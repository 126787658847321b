import os
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from polymodal.errors import DataError
from polymodal.features.cache import FeatureCache
from polymodal.features.extract import _finished, _Task, extract_all


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


class Corpus:
    """Waveforms that count how often they were read."""

    def __init__(self, starts):
        self.starts, self.num_read = starts, 0

    def read(self, start):
        self.num_read += 1
        return None if start is None else np.arange(start, start + 4, dtype=np.float32)

    def __iter__(self):
        return ((f"u{row}", partial(self.read, start)) for row, start in enumerate(self.starts))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_features_come_in_order_and_are_computed_once(tmp_path, num_workers):
    corpus, seen = Corpus([10, 20, None, 30, *range(40, 50), 10]), []
    cache = FeatureCache(tmp_path)

    def progress(done, total):
        seen.append((done, total))

    features = extract_all(corpus, Ends(), cache, num_workers=num_workers, progress=progress)
    assert list(features) == [f"u{row}" for row in range(15) if row != 2]
    assert features["u3"].tolist() == [[30, 33]]
    assert features["u14"].tolist() == features["u0"].tolist()
    assert seen == [(done, 15) for done in range(1, 16)]

    def explode(self, raw):
        raise AssertionError("computed again")

    again = type("Again", (Ends,), {"__call__": explode})()
    repeated = extract_all(corpus, again, cache, num_workers=0)
    assert all(np.array_equal(repeated[one], features[one]) for one in features)
    assert corpus.num_read == 30


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_failure_names_the_utterance_and_keeps_what_was_done(tmp_path, num_workers):
    with pytest.raises(DataError, match=r"'u2'.*a negative sample"):
        extract_all(Corpus([1, 2, -3]), Ends(), FeatureCache(tmp_path), num_workers=num_workers)
    done = len(list(tmp_path.rglob("*.npy")))
    assert done == 2


def test_failures_come_after_what_was_computed_beside_them():
    running = {Future(): _Task(f"u{number}", "", None) for number in range(20)}
    for number, future in enumerate(running):
        if number % 4 == 0:
            future.set_exception(DataError("damaged"))
        else:
            future.set_result(np.zeros((1, 2), dtype=np.float32))
    finished = _finished(running)
    computed = {next(finished)[0].utterance_id for _ in range(15)}
    assert computed == {f"u{number}" for number in range(20) if number % 4}
    with pytest.raises(DataError, match="damaged"):
        next(finished)


def test_a_process_that_dies_is_reported(tmp_path):
    with pytest.raises(DataError, match=r"a process died .*ends 1 of one of .*'u1'"):
        extract_all(Corpus([1, 9]), Ends(), FeatureCache(tmp_path), num_workers=1)


def test_a_file_that_cannot_be_read_is_not_hidden(tmp_path):
    def damaged():
        raise DataError("row 3: damaged")

    with pytest.raises(DataError, match="row 3: damaged"):
        extract_all([("u", damaged)], Ends(), FeatureCache(tmp_path), num_workers=2)
