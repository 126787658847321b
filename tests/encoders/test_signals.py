"""Signals of different rates on one clock; gaps, events and missing signals."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from polymodal.encoders.signals import Resampler, SignalEncoder
from polymodal.errors import ConfigError, DataError
from polymodal.schemas.batch import PaddedSequence

RAW = (0.0, 1.0)
LEVEL, COURSE, OBSERVED = 0, 1, 2


def clock(*names: str, rate_hz: float = 4.0) -> Resampler:
    return Resampler(names, rate_hz, (RAW,) * len(names))


def test_two_rates_meet_on_one_clock():
    seconds = np.arange(160) / 64
    channels = clock("eda", "temp")({"eda": (seconds, 64.0), "temp": (np.arange(10) / 4, 4.0)})
    assert channels.shape == (10, 6)
    assert channels.dtype == np.float32
    np.testing.assert_allclose(channels[:, LEVEL], np.arange(10) / 4, atol=1e-6)
    np.testing.assert_allclose(channels[:, 3 + LEVEL], np.arange(10) / 4, atol=1e-6)
    assert channels[:, [OBSERVED, 3 + OBSERVED]].all()


def test_a_gap_is_filled_and_told():
    eda = np.array([1.0, np.nan, np.nan, 4.0, 5.0, np.inf])
    channels = clock("eda")({"eda": (eda, 4.0)})
    np.testing.assert_allclose(channels[:, LEVEL], [1, 2, 3, 4, 5, 5], atol=1e-6)
    assert channels[:, OBSERVED].tolist() == [1, 0, 0, 1, 1, 0]


def test_heart_beats_with_and_without_offsets_are_the_same():
    intervals = np.array([0.8, 1.0, 0.9, 0.7])
    with_offsets = np.stack([np.cumsum(intervals), intervals], axis=1)
    bare = clock("ibi")({"ibi": (intervals, None)})
    np.testing.assert_allclose(bare, clock("ibi")({"ibi": (with_offsets, None)}))
    assert len(bare) == round(intervals.sum() * 4)
    assert bare[2, OBSERVED] == 0
    assert bare[4, OBSERVED] == 1
    assert bare[4, LEVEL] == pytest.approx(0.8 + 0.2 * (1.0 - 0.8) / 1.0, abs=1e-6)


def test_events_in_any_order_give_the_same():
    events = np.array([[0.5, 0.8], [1.4, 0.9], [2.4, 1.0]])
    ordered, shuffled = (
        clock("ibi")({"ibi": (values, None)}) for values in (events, events[[2, 0, 1]])
    )
    np.testing.assert_array_equal(ordered, shuffled)


def test_a_missing_signal_is_zero_and_not_observed():
    channels = clock("eda", "temp")({"temp": (np.arange(4.0), 4.0), "other": (np.ones(400), 4.0)})
    assert channels.shape == (4, 6)
    assert not channels[:, :3].any()
    assert channels[:, 3 + OBSERVED].all()


@pytest.mark.parametrize(
    "signals",
    [
        None,
        {},
        {"temp": (np.ones(4), 4.0)},
        {"eda": (np.zeros(0), 4.0)},
        {"eda": (np.full(4, np.nan), 4.0)},
        {"eda": (np.zeros((0, 2)), None)},
    ],
)
def test_nothing_usable_is_absent(signals):
    assert clock("eda")(signals) is None


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(
        st.floats(-100, 100) | st.sampled_from([float("nan"), float("inf")]), max_size=30
    ),
    rate_hz=st.sampled_from([0.5, 1.0, 4.0, 64.0, None]),
)
def test_whatever_comes_in_finite_channels_come_out(values, rate_hz):
    channels = clock("eda")({"eda": (np.array(values), rate_hz)})
    if channels is None:
        assert not np.isfinite(values).any()
    else:
        assert np.isfinite(channels).all()
        assert np.abs(channels[:, LEVEL]).max() <= 100


def test_the_course_is_normalised_and_a_constant_has_none():
    ramp = clock("eda")({"eda": (np.arange(8.0), 4.0)})[:, COURSE]
    assert ramp.mean() == pytest.approx(0, abs=1e-6)
    assert ramp.std() == pytest.approx(1, abs=1e-6)
    assert not clock("eda")({"eda": (np.ones(8), 4.0)})[:, COURSE].any()


def test_usual_levels_are_known_and_can_be_replaced():
    by_default = SignalEncoder(["temp"]).transform()({"temp": (np.full(4, 35.0), 4.0)})
    replaced = SignalEncoder(["temp"], scales={"temp": (35.0, 5.0)}).transform()
    assert by_default[0, LEVEL] == pytest.approx(1.0)
    assert replaced({"temp": (np.full(4, 40.0), 4.0)})[0, LEVEL] == pytest.approx(1.0)


def test_times_that_are_no_seconds_are_refused():
    with pytest.raises(DataError, match=r"'ibi' has an event at 1\.7e\+09 s"):
        clock("ibi")({"ibi": (np.array([[1.7e9, 0.8]]), None)})
    with pytest.raises(DataError, match=r"'acc' has the shape \(9, 3\)"):
        clock("acc")({"acc": (np.ones((9, 3)), 32.0)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signals": []}, "at least one name"),
        ({"signals": ["eda", "eda"]}, "each once"),
        ({"rate_hz": 0.0}, "rate_hz=0"),
        ({"kernel": 4}, "odd kernel"),
        ({"scales": {"eda": (0.0, 0.0)}}, "spreads above 0"),
    ],
)
def test_nonsense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        SignalEncoder(**options)


RAW_LEVELS = {"eda": (np.full(8, 5.0), 4.0), "gsr": (np.array([1e5, 3e5] * 4), 4.0)}
NO_GSR = {"eda": RAW_LEVELS["eda"]}


def channels_of(encoder, *raws):
    """The channels that the convolutions of an encoder read, of utterances of equal length."""
    values = torch.from_numpy(np.stack([encoder.transform()(raw) for raw in raws]))
    seen = []
    encoder.convolutions.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].values))
    encoder(PaddedSequence(values, torch.ones(values.shape[:2], dtype=torch.bool)))
    return values.numpy(), seen[0].numpy()


def test_the_level_of_a_signal_without_a_scale_is_that_of_the_training_rows():
    encoder = SignalEncoder(["eda", "gsr"], width=8)
    test = {"gsr": (np.full(8, 9e9), 4.0)}
    rows = {"a": RAW_LEVELS, "b": NO_GSR, "test": test}
    encoder.fit({name: encoder.transform()(raw) for name, raw in rows.items()}, ["a", "b", "no"])
    raw, scaled = channels_of(encoder, RAW_LEVELS, NO_GSR)
    np.testing.assert_allclose(scaled[0, :, 3 + LEVEL], [-1, 1] * 4, rtol=1e-5)
    assert not scaled[1, :, 3:].any()  # a signal that is not there stays 0
    np.testing.assert_array_equal(scaled[..., :3], raw[..., :3])
    np.testing.assert_array_equal(scaled[..., 3 + COURSE :], raw[..., 3 + COURSE :])

    encoder.load_state_dict({k: v for k, v in encoder.state_dict().items() if "level" not in k})
    raw, unscaled = channels_of(encoder, RAW_LEVELS)  # weights from before read it as it is
    np.testing.assert_array_equal(unscaled, raw)


@pytest.mark.parametrize("scales", [None, {"gsr": (2e5, 1e5)}])
def test_signals_with_a_scale_learn_nothing(scales):
    signals = ["eda", "gsr"] if scales else ["eda", "temp", "ibi"]
    encoder = SignalEncoder(signals, width=8, scales=scales)
    assert not encoder.learns_moments
    assert not [*encoder.buffers()]
