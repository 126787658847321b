"""What every encoder trained from scratch promises, whatever it reads."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch

from polymodal.encoders.base import Encoder
from polymodal.encoders.logmel import LogMelEncoder
from polymodal.encoders.signals import SignalEncoder
from polymodal.encoders.text import TextEncoder
from polymodal.layers.masks import lengths_to_mask
from polymodal.schemas.batch import PaddedSequence

SMALL = {"width": 16, "num_layers": 2, "num_heads": 2}
ENCODERS: dict[str, Callable[[], Encoder]] = {
    "logmel": lambda: LogMelEncoder(**SMALL),
    "logmel with level": lambda: LogMelEncoder(**SMALL, normalise="none"),
    "characters": lambda: TextEncoder("characters", **SMALL),
    "jamo": lambda: TextEncoder("jamo", **SMALL),
    "bytes": lambda: TextEncoder("bytes", **SMALL),
    "signals": lambda: SignalEncoder(["eda", "ibi"], **SMALL),
}
RAW = {
    "audio": np.random.default_rng(0).normal(0, 0.1, 4000),
    "text": "오늘 정말 기뻐요!",
    "signals": {"eda": (np.arange(40.0), 8.0), "ibi": (np.full(5, 0.9), None)},
}


def build(name: str) -> Encoder:
    torch.manual_seed(0)
    return ENCODERS[name]().eval()


def inputs(encoder: Encoder, garbage: float = 0.0) -> PaddedSequence:
    """Four utterances, full, absent, of length 1 and of half the length; padding is garbage."""
    item = torch.from_numpy(encoder.transform()(RAW[encoder.source]))
    mask = lengths_to_mask(torch.tensor([len(item), 0, 1, len(item) // 2]))
    padding = ~mask.view(*mask.shape, *[1] * (item.ndim - 1))
    filler = garbage if item.is_floating_point() else 999
    return PaddedSequence(item.expand(4, *item.shape).masked_fill(padding, filler), mask)


@pytest.mark.parametrize("garbage", [1e3, float("nan")])
@pytest.mark.parametrize("name", ENCODERS)
def test_alone_in_a_batch_and_beside_garbage_are_the_same(name, garbage):
    encoder = build(name)
    together = inputs(encoder, garbage)
    output = encoder(together)
    assert output.values.shape == (*output.valid_mask.shape, encoder.feature_size)
    assert output.present.tolist() == [True, False, True, True]
    assert torch.isfinite(output.values).all()
    for row, length in enumerate(together.num_valid.tolist()):
        cut = slice(row, row + 1), slice(0, length)
        alone = encoder(PaddedSequence(together.values[cut], together.valid_mask[cut]))
        mask, kept_alone = output.valid_mask[row], alone.valid_mask[0]
        torch.testing.assert_close(
            output.values[row][mask], alone.values[0][kept_alone], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("name", ENCODERS)
def test_gradients_are_finite_and_reach_every_parameter(name):
    encoder = build(name).train()
    output = encoder(inputs(encoder, 1e3))
    (output.values * torch.randn_like(output.values)).sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", ENCODERS)
def test_the_last_real_frame_counts(name):
    encoder = build(name)
    before, changed = inputs(encoder), inputs(encoder)
    last = int(before.num_valid[3]) - 1
    # The very last sample of a waveform stands under the window's edge: change 5 ms.
    width = 80 if encoder.source == "audio" else 1
    changed.values[3, last + 1 - width : last + 1] += 1
    difference = (encoder(before).values - encoder(changed).values).abs().amax(dim=(1, 2))
    assert difference[3] > 1e-4
    assert difference[0] == 0


@pytest.mark.parametrize("name", ENCODERS)
def test_the_transform_survives_pickling_and_repeats(name):
    transform = build(name).transform()
    encoder = build(name)
    again = pickle.loads(pickle.dumps(transform))
    raw = RAW[encoder.source]
    np.testing.assert_array_equal(transform(raw), again(raw))


@pytest.mark.parametrize("name", ENCODERS)
def test_a_wholly_absent_batch_stays_absent(name):
    encoder = build(name)
    batch = inputs(encoder)
    output = encoder(PaddedSequence(batch.values, torch.zeros_like(batch.valid_mask)))
    assert not output.valid_mask.any()
    assert (output.values == 0).all()
