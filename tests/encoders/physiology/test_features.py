"""Hand features of physiological signals: known signals have known numbers."""

import importlib.metadata
import importlib.util
import pickle
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from polymodal.corpora.e4 import read_e4
from polymodal.data.signals import SignalReader
from polymodal.encoders.physiology.features import NAMES, PhysiologyEncoder, PhysiologyExtractor
from polymodal.errors import ConfigError, DataError, MissingExtraError
from polymodal.features.extract import extract_all
from polymodal.features.store import FeatureStore
from polymodal.schemas.batch import PaddedSequence

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("neurokit2") is None, reason="neurokit2 is not installed"
)
MINUTE = np.arange(240) / 4


def named(raw, *signals):
    extractor = PhysiologyExtractor(signals or tuple(raw))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vector = extractor(raw)
    assert (vector.shape, vector.dtype) == ((1, extractor.feature_size), np.float32)
    return dict(zip(extractor.feature_names, vector[0].tolist(), strict=True))


def response(seconds, onset_s, amplitude_us):
    """One skin conductance response: a steep rise and a slow recovery."""
    after = np.clip(seconds - onset_s, 0, None)
    shape = np.exp(-after / 4) - np.exp(-after / 0.7)
    return amplitude_us * shape / 0.6


def beats(intervals_s):
    return np.stack([np.cumsum(intervals_s), intervals_s], axis=1)


def test_the_slope_of_a_ramp_is_that_of_the_ramp():
    ramp = 2.0 + MINUTE / 60
    numbers = named({"eda": (ramp, 4.0), "temp": (30 + ramp, 4.0)})
    assert numbers["eda_slope_us_per_min"] == pytest.approx(1.0, abs=1e-5)
    assert numbers["temp_slope_celsius_per_min"] == pytest.approx(1.0, abs=1e-4)
    assert numbers["eda_mean_us"] == pytest.approx(2.5, abs=0.01)
    assert numbers["eda_relative_slope_per_min"] == pytest.approx(0.4, abs=0.01)
    assert numbers["temp_range_celsius"] == pytest.approx(1.0, abs=0.01)
    assert numbers["eda_responses_per_min"] == 0


@pytest.mark.parametrize("rate_hz", [4.0, 64.0])
def test_responses_are_counted_and_measured_at_any_rate(rate_hz):
    seconds = np.arange(int(60 * rate_hz)) / rate_hz
    drift = 3 + seconds / 300
    eda = drift + response(seconds, 10, 0.4) + response(seconds, 30, 0.4)
    numbers = named({"eda": (eda + response(seconds, 50, 0.03), rate_hz)})
    assert numbers["eda_responses_per_min"] == 3
    assert numbers["eda_large_responses_per_min"] == 2
    assert numbers["eda_largest_response_us"] == pytest.approx(0.4, rel=0.2)
    assert 1 < numbers["eda_response_rise_s"] < 3


def test_the_rate_of_a_signal_moves_its_numbers_little():
    eda = 3 + response(MINUTE, 10, 0.4) + 0.1 * np.sin(MINUTE / 9)
    fine = np.interp(np.arange(60 * 64) / 64, MINUTE, eda)
    slow, fast = named({"eda": (eda, 4.0)}), named({"eda": (fine, 64.0)})
    for name, value in slow.items():
        tick_s = 0.26 if name.endswith("rise_s") else 0.0
        assert fast[name] == pytest.approx(value, rel=0.05, abs=0.05 + tick_s), name
    assert slow["eda_responses_per_min"] == 1


def test_heart_rate_variability_is_that_of_the_formulas():
    intervals = np.array([0.8, 0.9, 0.84, 0.8, 0.86])
    numbers = named({"ibi": (beats(intervals), None)})
    changes_ms = np.array([100, -60, -40, 60])
    assert numbers["ibi_mean_bpm"] == pytest.approx(60 / 0.84)
    assert numbers["ibi_sdnn_ms"] == pytest.approx(1000 * intervals.std(ddof=1), rel=1e-5)
    assert numbers["ibi_rmssd_ms"] == pytest.approx(np.sqrt((changes_ms**2).mean()), rel=1e-5)
    assert numbers["ibi_pnn50"] == pytest.approx(3 / 4)
    assert numbers["ibi_range_bpm"] == pytest.approx(60 / 0.8 - 60 / 0.9, rel=1e-5)
    assert numbers["ibi_beats_share"] == pytest.approx(1.0)
    assert np.isnan(numbers["ibi_slope_bpm_per_min"])
    assert named({"ibi": (intervals, None)}) == pytest.approx(numbers, nan_ok=True)


def test_beats_on_both_sides_of_a_gap_do_not_follow_one_another():
    intervals = np.full(10, 0.8)
    intervals[5:] = 1.0
    events = beats(intervals)
    events[5:, 0] += 20
    signals = {"ibi": (beats(intervals), None), "temp": (np.ones(160), 4.0)}
    gap = {"ibi": (events, None), "temp": (np.ones(160), 4.0)}
    assert named(signals, "ibi")["ibi_rmssd_ms"] == pytest.approx(200 / 3, rel=1e-5)
    numbers = named(gap, "ibi")
    assert numbers["ibi_rmssd_ms"] == 0
    assert numbers["ibi_beats_share"] == pytest.approx(9 / 40, rel=1e-5)
    assert numbers["ibi_sdnn_ms"] == pytest.approx(named(signals, "ibi")["ibi_sdnn_ms"], rel=1e-5)


def test_false_and_missed_beats_are_left_out():
    intervals = np.array([0.8, 0.82, 0.1, 0.8, 4.0, 0.78, 0.8, 0.81])
    numbers = named({"ibi": (beats(intervals), None)})
    plausible = intervals[(intervals > 0.3) & (intervals < 2)]
    assert numbers["ibi_mean_bpm"] == pytest.approx(60 / plausible.mean(), rel=1e-5)
    # 0.82 - 0.8, 0.8 - 0.78, 0.81 - 0.8: no change is taken across what was left out.
    changes_ms = np.array([20, 20, 10])
    assert numbers["ibi_rmssd_ms"] == pytest.approx(np.sqrt((changes_ms**2).mean()), rel=1e-4)


def test_breathing_stands_in_the_high_band_and_only_of_a_long_enough_window():
    def breathing(duration_s, frequency_hz):
        ends, intervals = [0.0], [0.8]
        while ends[-1] < duration_s:
            intervals.append(0.8 + 0.04 * np.sin(2 * np.pi * frequency_hz * ends[-1]))
            ends.append(ends[-1] + intervals[-1])
        return {"ibi": (np.stack([ends, intervals], axis=1), None)}

    fast, slow = named(breathing(130, 0.25)), named(breathing(130, 0.1))
    # A sine of 40 ms has a power of 800 square milliseconds.
    assert np.exp(fast["ibi_log_hf_power"]) == pytest.approx(800, rel=0.3)
    assert np.exp(slow["ibi_log_lf_power"]) == pytest.approx(800, rel=0.3)
    assert fast["ibi_log_lf_power"] < fast["ibi_log_hf_power"] - 3
    minute, short = named(breathing(60, 0.25)), named(breathing(30, 0.25))
    assert np.isfinite(minute["ibi_log_hf_power"])
    assert np.isnan(minute["ibi_log_lf_power"])
    assert np.isnan(short["ibi_log_hf_power"])


def test_beats_of_an_ecg_are_those_of_the_heart():
    import neurokit2

    ecg = neurokit2.ecg_simulate(duration=30, sampling_rate=250, heart_rate=72, random_state=0)
    numbers = named({"ecg": (ecg, 250.0)})
    assert numbers["ecg_mean_bpm"] == pytest.approx(72, abs=1.5)
    assert numbers["ecg_beats_share"] > 0.9
    ecg[1000:4000] = np.nan
    assert named({"ecg": (ecg, 250.0)})["ecg_beats_share"] == pytest.approx(0.55, abs=0.1)
    assert named({"ecg": (np.ones(7500), 250.0)})["ecg_beats_share"] == 0


def test_a_gap_is_told_and_hardly_moves_the_rest():
    ramp = 2.0 + MINUTE / 60
    broken = np.where((MINUTE > 20) & (MINUTE < 35), np.nan, ramp)
    numbers, complete = named({"eda": (broken, 4.0)}), named({"eda": (ramp, 4.0)})
    assert numbers.pop("eda_observed_share") == pytest.approx(181 / 240)
    assert complete.pop("eda_observed_share") == 1
    assert numbers == pytest.approx(complete, nan_ok=True, abs=1e-4)


def test_what_is_too_short_is_not_a_number():
    numbers = named({"eda": (np.linspace(1, 2, 20), 4.0), "ibi": (beats([0.8, 0.9]), None)})
    assert np.isfinite(numbers["eda_slope_us_per_min"])
    assert np.isnan(numbers["eda_responses_per_min"])
    assert np.isnan(numbers["ibi_mean_bpm"])
    assert numbers["ibi_beats_share"] == pytest.approx(1.7 / 5)
    single = named({"eda": (np.ones(1), 4.0)})
    assert single.pop("eda_observed_share") == 1
    assert np.isnan(list(single.values())).all()


def test_an_absent_signal_covers_nothing():
    temperature = {"temp": (np.full(240, 33.0), 4.0)}
    numbers = named(temperature, "eda", "ibi", "ecg", "temp")
    for name in ("eda_observed_share", "ibi_beats_share", "ecg_beats_share"):
        assert numbers[name] == 0
    assert numbers["temp_observed_share"] == 1
    assert np.isnan(numbers["eda_mean_us"])
    assert np.isnan(numbers["ibi_mean_bpm"])
    numbers = named({**temperature, "eda": (np.full(9, np.nan), 4.0)}, "eda", "temp")
    assert numbers["eda_observed_share"] == 0


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"acc": (np.ones(4), 4.0)},
        {"eda": (np.zeros(0), 4.0), "ibi": (np.zeros((0, 2)), None)},
        {"eda": (np.full(240, np.nan), 4.0)},
    ],
)
def test_nothing_usable_is_no_number_at_all(raw):
    assert np.isnan(list(named(raw, "eda", "ibi").values())).all()


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.floats(-50, 50, width=32) | st.sampled_from([float("nan"), float("inf"), 1.0]),
        max_size=80,
    ),
    signal=st.sampled_from(["eda", "temp", "ibi", "ecg"]),
    rate_hz=st.sampled_from([0.5, 1.0, 4.0, 64.0]),
)
def test_whatever_comes_in_there_is_no_infinity_and_no_warning(values, signal, rate_hz):
    rate = {"ibi": None, "ecg": 64.0}.get(signal, rate_hz)
    try:
        numbers = named({signal: (np.array(values, dtype=np.float32), rate)})
    except DataError:
        assert signal == "ibi"
        return
    assert not np.isinf(list(numbers.values())).any()


@pytest.mark.parametrize(
    ("signal", "values", "rate_hz", "message"),
    [
        ("ibi", beats([800.0, 810.0]), None, r"810 s|805 s"),
        ("ibi", np.array([[1.7e9, 0.8]]), None, r"until 1\.7e\+09 s"),
        ("ibi", np.full(9, 0.8), 4.0, "'ibi' is 4"),
        ("eda", np.ones(9), None, "'eda' is None"),
        ("eda", np.ones((9, 3)), 4.0, r"'eda' has the shape \(9, 3\)"),
        ("ecg", np.ones(900), 20.0, "an ECG of 20 samples"),
    ],
)
def test_signals_in_other_units_and_shapes_are_refused(signal, values, rate_hz, message):
    with pytest.raises(DataError, match=message):
        PhysiologyExtractor((signal,))({signal: (values, rate_hz)})


def test_width_and_identity_follow_the_signals():
    extractors = [
        PhysiologyExtractor(item) for item in (("eda",), ("ibi",), ("eda", "ibi", "temp"))
    ]
    assert len({item.identity for item in extractors}) == 3
    assert importlib.metadata.version("neurokit2") in extractors[0].identity
    assert extractors[2].feature_size == sum(len(NAMES[item]) for item in ("eda", "ibi", "temp"))
    assert len(set(extractors[2].feature_names)) == extractors[2].feature_size
    encoder = PhysiologyEncoder(["eda", "temp"])
    assert encoder.feature_size == len(NAMES["eda"]) + len(NAMES["temp"])
    assert (encoder.source, encoder.frame_rate_hz) == ("signals", None)
    again = pickle.loads(pickle.dumps(extractors[0]))
    assert again == extractors[0]


@pytest.mark.parametrize(
    ("signals", "message"),
    [((), "at least one"), (("eda", "eda"), "each once"), (("edaa",), "did you mean 'eda'")],
)
def test_nonsense_is_refused(signals, message):
    with pytest.raises(ConfigError, match=message):
        PhysiologyEncoder(signals)


def test_a_missing_package_names_its_extra(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'polymodal\[signals\]'"):
        PhysiologyExtractor()


def test_only_normalisation_by_person_is_transductive():
    assert PhysiologyEncoder(normalise="speaker").is_transductive
    assert not PhysiologyEncoder().is_transductive
    encoder = PhysiologyEncoder(["temp"], normalise="speaker")
    levels = {f"u{n}": named({"temp": (np.full(8, 30.0 + n), 4.0)}) for n in range(6)}
    features = {
        utterance_id: np.array([[*v.values()]], dtype=np.float32)
        for utterance_id, v in levels.items()
    }
    people = {f"u{n}": "warm" if n > 2 else "cold" for n in range(6)}
    index = PhysiologyExtractor(("temp",)).feature_names.index("temp_mean_celsius")
    normalised = encoder.normalise_by_speaker(features, people)
    course = [normalised[f"u{n}"][0, index] for n in range(6)]
    assert course[:3] == pytest.approx(course[3:], abs=1e-4)
    assert course[1] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("normalise", ["none", "corpus", "speaker"])
def test_a_batch_holds_those_with_and_without_signals(normalise):
    encoder = PhysiologyEncoder(["eda", "temp"], normalise=normalise)
    raws = {
        "both": {"eda": (2 + response(MINUTE, 9, 0.5), 4.0), "temp": (30 + MINUTE / 60, 4.0)},
        "one": {"temp": (np.full(240, 33.0), 4.0)},
        "none": {"acc": (np.ones(4), 4.0)},
    }
    vectors = {utterance_id: encoder.extractor(raw) for utterance_id, raw in raws.items()}
    features = encoder.normalise_by_speaker(vectors, dict.fromkeys(vectors, "person"))
    assert list(features) == ["both", "one"]
    encoder.fit({"": np.concatenate([*features.values()])}, [""])
    absent = np.full_like(features["one"], np.nan)
    values = torch.from_numpy(np.stack([*features.values(), absent]))
    output = encoder(PaddedSequence(values, torch.tensor([[True], [True], [False]])))
    assert output.present.tolist() == [True, True, False]
    assert output.values.isfinite().all()
    assert output.values[:2].abs().sum(dim=(1, 2)).min() > 0
    assert not output.values[2].any()


def test_features_are_kept_and_found_again(tmp_path):
    extractor, store = PhysiologyExtractor(("temp",)), FeatureStore(tmp_path)
    values = np.linspace(30, 31, 240, dtype=np.float32)
    first = extract_all([("a", lambda: {"temp": (values, 4.0)})], extractor, store)
    again = extract_all([("b", lambda: {"temp": (values.copy(), 4)})], extractor, store)
    np.testing.assert_array_equal(first["a"], again["b"])
    assert len(store.open(extractor)) == 1


def test_a_real_person_has_plausible_numbers(test_data, tmp_path):
    root = test_data / "stress_predict_e4"
    if not root.is_dir():
        pytest.skip("no Stress-Predict here")
    corpus = read_e4(str(root), prepared=str(tmp_path), where={"speaker": "S02"})
    read, extractor = SignalReader(corpus.signals_folder), PhysiologyExtractor()
    utterances = [corpus.utterance(row) for row in range(len(corpus))]
    vectors = np.concatenate([extractor(read(utterance) or {}) for utterance in utterances])
    columns = dict(zip(extractor.feature_names, vectors.T, strict=True))
    finite = {name: values[np.isfinite(values)] for name, values in columns.items()}
    median = {name: np.median(values) for name, values in finite.items() if len(values)}
    assert len(vectors) > 40
    assert 20 < median["temp_mean_celsius"] < 38
    assert 45 < median["ibi_mean_bpm"] < 130
    assert 0 < median["eda_mean_us"] < 30
