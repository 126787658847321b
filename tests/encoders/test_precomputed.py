"""Features from elsewhere: picked by name, checked for their width, passed on untouched."""

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
    encoder = PrecomputedEncoder("face", 3)
    values = torch.randn(3, 4, 3)
    mask = torch.tensor([[True] * 4, [True, False, False, False], [False] * 4])
    output = encoder(PaddedSequence(values.masked_fill(~mask[..., None], float("nan")), mask))
    torch.testing.assert_close(output.values[mask], values[mask], rtol=0, atol=0)
    assert (output.values[~mask] == 0).all()
    assert output.valid_mask is mask
    assert output.present.tolist() == [True, True, False]
    assert (encoder.source, encoder.feature_size, encoder.frame_rate_hz) == ("signals", 3, None)


@pytest.mark.parametrize("options", [{"signal": ""}, {"feature_size": 0}])
def test_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match="a width of at least 1"):
        PrecomputedEncoder(**{"signal": "face", "feature_size": 3} | options)
