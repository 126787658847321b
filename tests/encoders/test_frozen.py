import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.encoders.frozen import FrozenEncoder
from polymodal.errors import ConfigError, DataError, ManifestError
from polymodal.schemas.batch import PaddedSequence


@dataclass(frozen=True)
class Stub:
    feature_size: int = 3
    source = "audio"
    sampling_rate_hz = 8000
    frame_rate_hz = None
    identity = "stub"

    def __call__(self, raw):
        return np.zeros((1, self.feature_size), dtype=np.float32)


def encode(encoder, rows, valid=None):
    values = torch.as_tensor(np.asarray(rows, dtype=np.float32))[:, None]
    mask = torch.ones(len(values), 1, dtype=torch.bool) if valid is None else valid
    return encoder(PaddedSequence(values, mask)).values[:, 0]


def rows(seed=0, num_rows=50):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(num_rows, 3)) * [1, 100, 1e-4] + [0, 5e4, 1]).astype(np.float32)


def test_training_rows_get_mean_0_and_deviation_1():
    encoder = FrozenEncoder(Stub(), normalise="corpus")
    encoder.fit({"": rows()}, [""])
    values = encode(encoder, rows())
    torch.testing.assert_close(values.mean(dim=0), torch.zeros(3), atol=1e-2, rtol=0)
    torch.testing.assert_close(values.std(dim=0, correction=0), torch.ones(3), atol=1e-2, rtol=0)
    assert (encoder.source, encoder.sampling_rate_hz) == ("audio", 8000)


def test_the_statistics_are_the_training_rows_and_travel_with_the_state():
    encoder = FrozenEncoder(Stub())
    encoder.fit({"": rows()}, [""])
    loaded = FrozenEncoder(Stub())
    loaded.load_state_dict(encoder.state_dict())
    test_rows = rows(seed=1) + 3
    torch.testing.assert_close(encode(loaded, test_rows), encode(encoder, test_rows))
    assert encode(encoder, test_rows)[:, 0].mean() > 2


def test_constant_and_hardly_varying_features_and_no_numbers_stay_finite():
    training = rows()
    training[:, 0] = 7
    training[:, 1] = 1e6 + np.arange(50) % 2 * 0.0625
    training[3, 2], training[4, 2] = np.nan, np.inf
    encoder = FrozenEncoder(Stub(), clip=10.0)
    encoder.fit({"": training}, [""])
    test_rows = [[8, 1e6 + 40, np.nan], [7, -1e30, np.inf], [np.nan] * 3, [1e38, 1e6, -1e38]]
    values = encode(encoder, test_rows)
    assert values.isfinite().all()
    assert values.abs().max() <= 10
    assert values[:3, 0].tolist() == [1, 0, 0]
    assert values[0, 2] == values[1, 2] == 0


def test_nothing_is_done_with_none_but_to_values_that_are_no_numbers():
    encoder = FrozenEncoder(Stub(), normalise="none")
    values = encode(encoder, [[1e5, -3, np.nan]])
    assert values.tolist() == [[1e5, -3, 0]]


@pytest.mark.parametrize("normalise", ["none", "corpus"])
def test_padding_is_zero_and_an_absent_modality_stays_absent(normalise):
    encoder = FrozenEncoder(Stub(), normalise=normalise)
    encoder.fit({"": rows()}, [""])
    values = torch.full((2, 2, 3), float("nan"))
    values[0, 0] = 1
    mask = torch.tensor([[True, False], [False, False]])
    output = encoder(PaddedSequence(values, mask))
    assert output.valid_mask.equal(mask)
    assert output.values[0, 1].abs().sum() == output.values[1].abs().sum() == 0


def clips(seed=0):
    generator = np.random.default_rng(seed)
    speakers = {f"u{number}": f"s{number % 3}" for number in range(12)}
    shift = {"s0": 0.0, "s1": 50.0, "s2": -9.0}
    scale = {"s0": 1.0, "s1": 4.0, "s2": 0.1}
    features = {
        utterance_id: (generator.normal(size=(2, 3)) * scale[who] + shift[who]).astype(np.float32)
        for utterance_id, who in speakers.items()
    }
    return features, speakers


def pooled(features, speakers, who):
    return np.concatenate(
        [values for utterance_id, values in features.items() if speakers[utterance_id] == who]
    )


@pytest.mark.parametrize("normalise", ["speaker", "speaker_mean"])
def test_each_speaker_is_normalised_by_its_own_clips(normalise):
    features, speakers = clips()
    encoder = FrozenEncoder(Stub(), normalise=normalise)
    normalised = encoder.normalise_by_speaker(features, speakers)
    assert encoder.is_transductive
    assert list(normalised) == list(features)
    for who in ("s0", "s1", "s2"):
        rows_of_speaker = pooled(normalised, speakers, who)
        np.testing.assert_allclose(rows_of_speaker.mean(axis=0), 0, atol=1e-4)
        before = pooled(features, speakers, who).std(axis=0)
        after = np.ones(3) if normalise == "speaker" else before
        np.testing.assert_allclose(rows_of_speaker.std(axis=0), after, rtol=1e-3)


@settings(deadline=None)
@given(order=st.permutations(range(12)))
def test_the_order_of_clips_moves_no_bit(order):
    features, speakers = clips()
    encoder = FrozenEncoder(Stub(), normalise="speaker")
    expected = encoder.normalise_by_speaker(features, speakers)
    shuffled = {
        utterance_id: features[utterance_id] for utterance_id in (f"u{number}" for number in order)
    }
    normalised = encoder.normalise_by_speaker(shuffled, speakers)
    assert all(
        np.array_equal(normalised[utterance_id], expected[utterance_id])
        for utterance_id in expected
    )


def test_without_speaker_normalisation_nothing_is_transductive():
    features, speakers = clips()
    for normalise in ("none", "corpus"):
        encoder = FrozenEncoder(Stub(), normalise=normalise)
        assert not encoder.is_transductive
        assert encoder.normalise_by_speaker(features, speakers)["u0"] is features["u0"]


def test_a_single_clip_of_a_speaker_becomes_zeros():
    encoder = FrozenEncoder(Stub(), normalise="speaker")
    values = encoder.normalise_by_speaker({"a": rows(num_rows=1)}, {"a": "s"})["a"]
    assert (values == 0).all()


def test_what_cannot_be_used_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'speaker'"):
        FrozenEncoder(Stub(), normalise="speakers")
    with pytest.raises(ConfigError, match="clip is 0"):
        FrozenEncoder(Stub(), clip=0.0)
    encoder = FrozenEncoder(Stub(), normalise="speaker")
    for values in (np.zeros((0, 3)), np.zeros((4, 2))):
        with pytest.raises(DataError, match="at least one row"):
            encoder.fit({"": values}, [""])
    with pytest.raises(ManifestError, match="'u1' has no speaker"):
        encoder.normalise_by_speaker({"u1": rows()}, {})


def test_an_encoder_that_was_not_fitted_is_a_programming_error():
    with pytest.raises(AssertionError, match="fit the encoder"):
        encode(FrozenEncoder(Stub()), rows())


def test_the_transform_can_be_pickled_and_keeps_the_array():
    transform = pickle.loads(pickle.dumps(FrozenEncoder(Stub()).transform()))
    assert np.array_equal(transform(rows()), rows())
