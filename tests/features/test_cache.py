from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from polymodal.errors import DataError
from polymodal.features.cache import FeatureCache, content_key


@dataclass
class Counting:
    """Counts how often it runs; its vector is the first two samples."""

    identity: str = "counting 1"
    runs: list[int] = field(default_factory=list)
    source = "audio"
    sampling_rate_hz = 16_000
    feature_size = 2
    frame_rate_hz = None

    def __call__(self, raw):
        self.runs.append(len(raw))
        return np.asarray(raw[:2], dtype=np.float32)[None]


WAVEFORM = np.arange(5, dtype=np.float32)


def stored(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_second_time_nothing_is_computed(tmp_path):
    extractor, cache = Counting(), FeatureCache(tmp_path / "cache")
    first = cache.get_or_compute(WAVEFORM, extractor)
    second = FeatureCache(tmp_path / "cache").get_or_compute(WAVEFORM.copy(), extractor)
    assert len(extractor.runs) == 1
    assert first.tolist() == second.tolist() == [[0, 1]]
    (path,) = stored(tmp_path)
    assert np.load(path, allow_pickle=False).tolist() == [[0, 1]]


def test_other_content_or_another_extractor_is_another_key():
    raws = [WAVEFORM, WAVEFORM + 1, WAVEFORM[:4], WAVEFORM.astype(np.float64), "text", "text "]
    keys = {content_key(raw, Counting(name)) for raw in raws for name in ("v1", "v2")}
    assert len(keys) == 12
    assert content_key(WAVEFORM, Counting()) == content_key(np.arange(5.0, dtype="f4"), Counting())


def test_signals_are_told_apart_by_name_rate_and_values_and_not_by_order():
    def key(**signals):
        return content_key(signals, Counting())

    one, two = WAVEFORM, WAVEFORM + 1
    keys = [
        key(eda=(one, 4.0)),
        key(temp=(one, 4.0)),
        key(eda=(one, 8.0)),
        key(eda=(one, None)),
        key(eda=(two, 4.0)),
        key(eda=(one, 4.0), temp=(two, 4.0)),
        key(eda=(two, 4.0), temp=(one, 4.0)),
        key(eda=(np.concatenate([one, two[:2]]), 4.0), temp=(two[2:], 4.0)),
        content_key(one, Counting()),
    ]
    assert len(set(keys)) == len(keys)
    assert key(eda=(one, 4.0), temp=(two, None)) == key(temp=(two.copy(), None), eda=(one, 4))


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "pickle"])
def test_a_damaged_file_is_computed_again_and_mended(tmp_path, damage):
    extractor, cache = Counting(), FeatureCache(tmp_path)
    cache.get_or_compute(WAVEFORM, extractor)
    (path,) = stored(tmp_path)
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    if damage == "pickle":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    else:
        path.write_bytes({"cut": content[:60], "bit": content, "empty": b""}[damage])
    assert cache.get_or_compute(WAVEFORM, extractor).tolist() == [[0, 1]]
    assert cache.get_or_compute(WAVEFORM, extractor).tolist() == [[0, 1]]
    assert len(extractor.runs) == 2


def test_many_writers_of_one_key_leave_one_whole_file(tmp_path):
    cache, values = FeatureCache(tmp_path), np.ones((300, 50), dtype=np.float32)
    key = content_key("same", Counting())

    def write_and_read(_):
        cache.put(key, values)
        return np.array_equal(cache.get(key), values)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write_and_read, range(64)))
    assert len(stored(tmp_path)) == 1


def test_a_wrong_shape_is_refused_and_not_stored(tmp_path):
    extractor = Counting()
    extractor.feature_size = 3
    with pytest.raises(DataError, match=r"counting 1 gave .* \(1, 2\)"):
        FeatureCache(tmp_path).get_or_compute(WAVEFORM, extractor)
    assert stored(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cache .*file.* cannot be written"):
        FeatureCache(tmp_path / "file").get_or_compute(WAVEFORM, Counting())
