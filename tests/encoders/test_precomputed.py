"""Features from elsewhere: selected by name, checked for their width, standardised."""

import copy
import pickle

import numpy as np
import pytest
import torch

from polymodal.encoders.precomputed import PrecomputedEncoder
from polymodal.errors import ConfigError, DataError
from polymodal.schemas.batch import PaddedSequence


@pytest.mark.parametrize(
    ("width", "values", "expected"),
    [
        (3, np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (3, np.arange(3.0), [[0, 1, 2]]),
        (1, np.arange(2.0), [[0], [1]]),
    ],
)
def test_sequences_and_vectors_become_sequences(width, values, expected):
    transform = pickle.loads(pickle.dumps(PrecomputedEncoder("face", width).transform()))
    picked = transform({"eda": (np.ones(400), 4.0), "face": (values, 25.0)})
    assert picked.dtype == np.float32
    assert picked.tolist() == expected


@pytest.mark.parametrize(
    "signals", [None, {}, {"eda": (np.ones(4), 4.0)}, {"face": (np.ones((0, 3)), None)}]
)
def test_what_is_not_there_is_absent(signals):
    assert PrecomputedEncoder("face", 3).transform()(signals) is None


@pytest.mark.parametrize("shape", [(5, 4), (4,), (5, 3, 1)])
def test_another_width_is_refused(shape):
    message = rf"(?s)'face' .*encoder.<...>.feature_size.*feature_size={shape[-1]}"
    with pytest.raises(DataError, match=message):
        PrecomputedEncoder("face", 3).transform()({"face": (np.ones(shape), None)})


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_values_that_are_no_numbers_are_refused(value):
    with pytest.raises(DataError, match="non-finite"):
        PrecomputedEncoder("face", 3).transform()({"face": (np.full((2, 3), value), None)})


def test_features_pass_through_and_padding_is_zero():
    encoder = PrecomputedEncoder("face", 3, normalise="none")
    values = torch.randn(3, 4, 3)
    mask = torch.tensor([[True] * 4, [True, False, False, False], [False] * 4])
    output = encoder(PaddedSequence(values.masked_fill(~mask[..., None], float("nan")), mask))
    torch.testing.assert_close(output.values[mask], values[mask], rtol=0, atol=0)
    assert (output.values[~mask] == 0).all()
    assert output.valid_mask is mask
    assert output.present.tolist() == [True, True, False]
    assert (encoder.source, encoder.feature_size, encoder.frame_rate_hz) == ("signals", 3, None)


def fitted(**options):
    """An encoder that was fitted on six frames of two training rows; the third is constant."""
    encoder = PrecomputedEncoder("face", 3, **options)
    features = {
        "a": np.array([[1e3, 1e-3, 7.0], [3e3, 3e-3, 7.0]], dtype=np.float32),
        "b": np.full((4, 3), [2e3, 2e-3, 7.0], dtype=np.float32),
        "test": np.full((9, 3), 1e9, dtype=np.float32),
    }
    encoder.fit(features, ["a", "absent", "b"])
    return encoder


def sequence(rows):
    values = torch.tensor(rows)[:, None]
    return PaddedSequence(values, torch.ones(values.shape[:2], dtype=torch.bool))


def test_features_are_standardised_by_the_frames_of_the_training_rows():
    encoder = fitted()
    mean, scale = np.array([2e3, 2e-3, 7.0]), np.array([1e3, 1e-3, 1.0]) / [3**0.5, 3**0.5, 1]
    np.testing.assert_allclose(encoder.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(encoder.scale, scale, rtol=1e-6)
    outputs = encoder(sequence([[3e3, 3e-3, 7.0], [1e9, -1e9, 8.0]])).values[:, 0]
    expected = [[3**0.5, 3**0.5, 0], [10, -10, 1]]  # clipped at ten deviations
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


def test_a_checkpoint_has_mean_and_scale():
    encoders = torch.nn.ModuleDict({"face": PrecomputedEncoder("face", 3)})
    encoders.load_state_dict(torch.nn.ModuleDict({"face": fitted()}).state_dict())
    batch = sequence([[3e3, 3e-3, 7.0]])
    assert encoders["face"](batch).values.tolist() == fitted()(batch).values.tolist()


def test_weights_from_before_the_standardisation_read_features_as_they_are():
    encoders = torch.nn.ModuleDict({"face": fitted()})
    encoders.load_state_dict({})
    batch = sequence([[3e3, 3e-3, 7.0]])
    assert encoders["face"](batch).values.tolist() == batch.values.tolist()
    assert not copy.deepcopy(encoders)["face"].load_state_dict({}).missing_keys


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"signal": ""}, "a width of at least 1"),
        ({"feature_size": 0}, "a width of at least 1"),
        ({"normalise": "speaker"}, "none or corpus"),
        ({"clip": 0.0}, "a positive number"),
    ],
)
def test_nonsense_is_refused(options, reason):
    with pytest.raises(ConfigError, match=reason):
        PrecomputedEncoder(**{"signal": "face", "feature_size": 3} | options)
