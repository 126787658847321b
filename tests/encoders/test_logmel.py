"""The speech encoder at its smallest inputs and in training."""

import numpy as np
import pytest
import torch

from polymodal.encoders.logmel import LogMelEncoder
from polymodal.errors import ConfigError
from polymodal.layers.masks import lengths_to_mask
from polymodal.schemas.batch import PaddedSequence


def small(**options) -> LogMelEncoder:
    torch.manual_seed(0)
    return LogMelEncoder(width=16, num_layers=1, num_heads=2, **options)


@pytest.mark.parametrize("num_samples", [0, 1, 399, 400, 401])
@pytest.mark.parametrize("normalise", ["utterance", "none"])
def test_utterances_about_one_window_long(num_samples, normalise):
    encoder = small(normalise=normalise).train()
    mask = lengths_to_mask(torch.tensor([num_samples, 1600]))
    output = encoder(PaddedSequence(torch.randn(2, 1600), mask))
    output.values.square().sum().backward()
    assert output.num_valid[0] == (0 if num_samples == 0 else 1)
    assert torch.isfinite(output.values).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())


def test_a_batch_without_a_sample_is_absent_and_finite():
    output = small()(PaddedSequence(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)))
    assert not output.present.any()
    assert torch.isfinite(output.values).all()


def test_frame_rate_is_the_one_promised():
    encoder = small().eval()
    ten_s = PaddedSequence(torch.randn(1, 160000), torch.ones(1, 160000, dtype=torch.bool))
    assert encoder.frame_rate_hz == 25.0
    assert encoder(ten_s).values.shape[1] == pytest.approx(250, abs=1)


def test_augmentation_follows_the_seed_and_the_mode():
    encoder = small(dropout=0.0, max_bands=32)
    audio = PaddedSequence(torch.randn(2, 8000), torch.ones(2, 8000, dtype=torch.bool))

    def output(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return encoder(audio).values

    encoder.train()
    assert torch.equal(output(1), output(1))
    assert not torch.equal(output(1), output(2))
    encoder.eval()
    assert torch.equal(output(1), output(2))
    plain = small(dropout=0.0, spec_augment=False).train()
    torch.testing.assert_close(plain(audio).values, output(1))


def test_autocast_keeps_the_result():
    encoder = small().eval()
    audio = PaddedSequence(torch.randn(2, 8000), torch.ones(2, 8000, dtype=torch.bool))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = encoder(audio).values
    torch.testing.assert_close(mixed.float(), encoder(audio).values, atol=0.1, rtol=0.1)


def test_transform_refuses_no_sample_only():
    transform = LogMelEncoder().transform()
    assert transform(np.zeros(0, np.float32)) is None
    usable = transform(np.ones(3, np.float64))
    assert usable is not None
    assert usable.dtype == np.float32


def test_a_width_that_has_no_heads_is_refused():
    with pytest.raises(ConfigError, match="width 18"):
        LogMelEncoder(width=18, num_heads=4)
