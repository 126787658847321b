"""The feature store: opening it, writing and reading, against one file an utterance."""

import hashlib
import io
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.rows import Row, row
from polymodal.features.keys import content_key
from polymodal.features.reader import FeatureReader
from polymodal.features.store import FeatureCollection

NUM_LARGE, NUM_TEXTS = 1_000_000, 20_000
WIDTH_LARGE, WIDTH = 8, 768
IDENTITY = "synthetic"
Result = TypeVar("Result")


def store() -> list[Row]:
    """Opening a feature store of a million utterances; 20,000 vectors against a file for each."""
    with tempfile.TemporaryDirectory() as folder:
        opened_s, looked_up_s = _large(Path(folder) / "large")
        ours = _ours(Path(folder) / "ours")
        files = _files(Path(folder) / "files")
    return [
        row("open 1,000,000 utterances of width 8", opened_s, 1.0, "s"),
        row("look up all of them, checksums compared", looked_up_s, 60.0, "s"),
        _against("write", ours.written_s, files.written_s),
        _against("find, checksums compared", ours.found_s, files.found_s),
        _against("read, each once, shuffled", ours.read_s, files.read_s),
        row("read", NUM_TEXTS * WIDTH * 4 / 1e6 / ours.read_s, 200, "MB/s", more_is_better=True),
    ]


@dataclass(frozen=True)
class Seconds:
    """What 20,000 vectors of width 768 took.

    Args:
        written_s: To be written.
        found_s: To be found and verified in a fresh process's view.
        read_s: To be read in random order, their sum computed.
    """

    written_s: float
    found_s: float
    read_s: float


def _against(what: str, ours_s: float, files_s: float) -> Row:
    ours, peer = NUM_TEXTS / ours_s, NUM_TEXTS / files_s
    line = row(f"{what}, 20,000 of width 768", ours, peer, "vectors/s", more_is_better=True)
    return {**line, "peer": round(peer, 1), "goal": None}


def _large(folder: Path) -> tuple[float, float]:
    """A store of a million utterances: seconds to open it, and to look each of them up."""
    writer = FeatureCollection(folder, IDENTITY, WIDTH_LARGE, "float32")
    keys = [hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(NUM_LARGE)]
    values = np.ones((1, WIDTH_LARGE), dtype=np.float32)
    for key in keys:
        writer.put(key, values)
    writer.close()
    opened_s, reader = _timed(lambda: FeatureCollection(folder, IDENTITY, WIDTH_LARGE, "float32"))
    looked_up_s, num_found = _timed(lambda: sum(reader.find(key) is not None for key in keys))
    assert num_found == NUM_LARGE
    return opened_s, looked_up_s


def _ours(folder: Path) -> Seconds:
    keys, vectors = _content()
    writer = FeatureCollection(folder, IDENTITY, WIDTH, "float32")

    def write() -> None:
        for key, vector in zip(keys, vectors, strict=True):
            writer.put(key, vector[None])

    def find() -> FeatureReader:
        reader = FeatureCollection(folder, IDENTITY, WIDTH, "float32")
        places = {str(number): reader.find(key) for number, key in enumerate(keys)}
        return reader.features({name: one for name, one in places.items() if one is not None})

    written_s, _ = _timed(write)
    writer.close()
    found_s, features = _timed(find)
    assert len(features) == NUM_TEXTS
    read_s, total = _timed(lambda: sum(float(features[str(one)].sum()) for one in _order()))
    assert np.isclose(total, vectors.sum(dtype=np.float64), rtol=1e-3)
    return Seconds(written_s, found_s, read_s)


def _files(folder: Path) -> Seconds:
    """One file a key with its digest behind, written beside its place and renamed."""
    keys, vectors = _content()
    paths = [folder / key.hex()[:2] / f"{key.hex()}.npy" for key in keys]

    def write() -> None:
        for path, vector in zip(paths, vectors, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            body = io.BytesIO()
            np.save(body, vector[None], allow_pickle=False)
            beside = path.with_name(f".{secrets.token_hex(4)}.part")
            content = body.getvalue()
            beside.write_bytes(content + hashlib.sha256(content).digest())
            os.replace(beside, path)

    def read(path: Path) -> np.ndarray:
        content = path.read_bytes()
        body, digest = content[:-32], content[-32:]
        assert hashlib.sha256(body).digest() == digest
        return np.asarray(np.load(io.BytesIO(body), allow_pickle=False))

    written_s, _ = _timed(write)
    found_s, _ = _timed(lambda: [read(path) for path in paths])
    read_s, _ = _timed(lambda: sum(float(read(paths[one]).sum()) for one in _order()))
    return Seconds(written_s, found_s, read_s)


def _content() -> tuple[list[bytes], np.ndarray]:
    vectors = np.random.default_rng(0).normal(size=(NUM_TEXTS, WIDTH)).astype(np.float32)
    return [content_key(f"text {number}") for number in range(NUM_TEXTS)], vectors


def _order() -> list[int]:
    return [int(one) for one in np.random.default_rng(1).permutation(NUM_TEXTS)]


def _timed(work: Callable[[], Result]) -> tuple[float, Result]:
    began_s = time.perf_counter()
    result = work()
    return time.perf_counter() - began_s, result
