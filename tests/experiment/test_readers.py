"""Whether a row has what an encoder reads: each signal by its name, not signals as a whole."""

import numpy as np
import polars as pl
import pytest

from polymodal.data.dataset import ReadAndTransform, pad
from polymodal.encoders.precomputed import PrecomputedEncoder
from polymodal.encoders.signals import SignalEncoder
from polymodal.encoders.text import TextEncoder
from polymodal.errors import ManifestError
from polymodal.experiment.readers import apply_missing_policy, build_reader, count_lacking
from polymodal.schemas.manifest import Manifest

NO_BEATS = (1, 4, 6)  # two rows without the signal, and one with an empty one


def signal(name, rate_hz, length=8):
    return {"name": name, "path": f"{name}.npy", "rate_hz": rate_hz, "start": 0, "length": length}


@pytest.fixture
def corpus(tmp_path):
    """Eight rows with skin conductance and text, three of them without heart beats."""
    for name, values in {"eda": np.arange(8.0), "ibi": np.full(8, 0.8)}.items():
        np.save(tmp_path / f"{name}.npy", values.astype(np.float32))
    signals = [[signal("eda", 4.0), signal("ibi", None)] for _ in range(8)]
    for row in NO_BEATS[:2]:
        signals[row] = signals[row][:1]
    signals[NO_BEATS[2]][1]["length"] = 0
    rows = {"utterance_id": [f"u{row}" for row in range(8)], "speaker": "s", "text": "yes"}
    return Manifest(pl.DataFrame({**rows, "signals": signals}), tmp_path)


ENCODERS = {
    "one encoder": lambda: {"physiology": SignalEncoder(["eda", "ibi"], width=8)},
    "two encoders": lambda: {
        "skin": SignalEncoder(["eda"], width=8),
        "beats": PrecomputedEncoder("ibi", 1),
        "text": TextEncoder("characters", width=8),
    },
}
LACKING = {
    "one encoder": {"physiology": 3, "physiology.eda": 0, "physiology.ibi": 3},
    "two encoders": {"skin": 0, "beats": 3, "text": 0},
}


@pytest.mark.parametrize("name", ENCODERS)
def test_rows_are_counted_kept_left_out_or_refused_by_signal(corpus, name):
    encoders = ENCODERS[name]()
    assert count_lacking(corpus.frame, encoders) == LACKING[name]
    assert apply_missing_policy(corpus, encoders, "absent") is corpus
    left = apply_missing_policy(corpus, encoders, "drop")
    assert left.frame["utterance_id"].to_list() == ["u0", "u2", "u3", "u5", "u7"]
    assert left.handled == {"rows left out by data.missing=drop": 3}
    assert not any(count_lacking(left.frame, encoders).values())
    assert apply_missing_policy(left, encoders, "refuse") is left
    with pytest.raises(ManifestError, match=r"3 of 8 utterances .*'u1': encoder\.\w+ in 3"):
        apply_missing_policy(corpus, encoders, "refuse")


def test_a_row_without_the_signal_lacks_the_modality(corpus):
    encoder = PrecomputedEncoder("ibi", 1)
    read = ReadAndTransform(build_reader(encoder, corpus, channels="mix"), encoder.transform())
    arrays = [read(corpus.utterance(row)) for row in range(8)]
    assert [row for row, array in enumerate(arrays) if array is None] == [*NO_BEATS]
    assert np.flatnonzero(~pad(arrays).present.numpy()).tolist() == [*NO_BEATS]


def test_what_is_stored_is_that_of_rows_with_the_signal(corpus):
    """A frozen encoder is not asked for an utterance without the signal: it would store zeros."""
    read = build_reader(SignalEncoder(["ibi"], width=8), corpus, channels="mix")
    assert [read(corpus.utterance(row)) is None for row in (0, *NO_BEATS)] == [
        False,
        True,
        True,
        True,
    ]


def test_a_signal_that_no_row_has_is_named(corpus):
    with pytest.raises(ManifestError, match=r"has idi, which encoder\.beats reads") as caught:
        apply_missing_policy(corpus, {"beats": PrecomputedEncoder("idi", 1)}, "absent")
    assert caught.value.hint == "the corpus has eda, ibi; did you mean 'ibi'?"
