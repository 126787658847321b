"""What every layer over sequences must hold: padding without influence, absent rows finite."""

import pytest
import torch

from polymodal.errors import ConfigError
from polymodal.layers.attention import Transformer
from polymodal.layers.convolution import ConvolutionBlock
from polymodal.layers.feedforward import perceptron
from polymodal.layers.masks import lengths_to_mask
from polymodal.layers.pooling import build_pooling
from polymodal.schemas.batch import PaddedSequence

WIDTH = 8
LENGTHS = [9, 0, 1, 6]
LAYERS = {
    "convolution": lambda: ConvolutionBlock(WIDTH, WIDTH, kernel=5, stride=2),
    "convolution of stride 1": lambda: ConvolutionBlock(WIDTH, WIDTH, kernel=3),
    "transformer": lambda: Transformer(WIDTH, num_layers=2, num_heads=2),
}
POOLINGS = ["attention", "mean", "first"]


def batch(garbage: float = 0.0) -> PaddedSequence:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(len(LENGTHS), max(LENGTHS), WIDTH, generator=generator)
    mask = lengths_to_mask(torch.tensor(LENGTHS))
    return PaddedSequence(values.masked_fill(~mask[..., None], garbage), mask)


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return LAYERS[name]().eval() if name in LAYERS else build_pooling(name, WIDTH).eval()


@pytest.mark.parametrize("garbage", [1e3, float("nan")])
@pytest.mark.parametrize("name", LAYERS)
def test_an_utterance_gives_the_same_alone_and_in_a_batch(name, garbage):
    layer, together = build(name), batch(garbage)
    output = layer(together)
    assert output.present.tolist() == [True, False, True, True]
    assert torch.isfinite(output.values).all()
    for row, length in enumerate(LENGTHS):
        cut = slice(row, row + 1), slice(0, length)
        alone = layer(PaddedSequence(together.values[cut], together.valid_mask[cut]))
        mask, kept_alone = output.valid_mask[row], alone.valid_mask[0]
        assert mask.sum() == kept_alone.sum()
        torch.testing.assert_close(
            output.values[row][mask], alone.values[0][kept_alone], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("garbage", [1e3, float("nan")])
@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooled_utterance_is_the_same_alone_and_in_a_batch(name, garbage):
    pooling, together = build(name), batch(garbage)
    output = pooling(together)
    assert output[1].tolist() == [0.0] * WIDTH
    for row, length in enumerate(LENGTHS):
        cut = slice(row, row + 1), slice(0, length)
        alone = pooling(PaddedSequence(together.values[cut], together.valid_mask[cut]))
        torch.testing.assert_close(output[row : row + 1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [*LAYERS, *POOLINGS])
def test_gradients_are_finite_and_reach_every_parameter_but_no_padding(name):
    layer, together = build(name), batch(1e3)
    together.values.requires_grad_()
    output = layer(together)
    values = output.values if isinstance(output, PaddedSequence) else output
    (values * torch.randn_like(values)).sum().backward()
    gradient = together.values.grad
    assert torch.isfinite(gradient).all()
    assert (gradient[~together.valid_mask] == 0).all()
    for parameter in layer.parameters():
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", [*LAYERS, "attention", "mean"])
def test_the_last_real_frame_counts(name):
    layer, together = build(name), batch()
    before = layer(together)
    together.values[3, LENGTHS[3] - 1, 0] += 1.0
    after = layer(together)
    if isinstance(before, PaddedSequence):
        before, after = before.values, after.values
    assert (before[3] - after[3]).abs().max() > 1e-4
    assert torch.equal(before[0], after[0])


@pytest.mark.parametrize("name", POOLINGS)
def test_one_frame_passes_a_pooling_as_it_is(name):
    vectors = torch.randn(2, 1, WIDTH)
    pooled = build(name)(PaddedSequence(vectors, torch.ones(2, 1, dtype=torch.bool)))
    torch.testing.assert_close(pooled, vectors[:, 0])


def test_first_pooling_takes_the_first_real_frame_not_frame_0():
    values = torch.arange(4.0).view(1, 4, 1)
    mask = torch.tensor([[False, False, True, True]])
    assert build_pooling("first", 1)(PaddedSequence(values, mask)).tolist() == [[2.0]]


def test_unknown_names_get_the_nearest_known_one():
    with pytest.raises(ConfigError, match="did you mean 'attention'"):
        build_pooling("atention", 4)
    with pytest.raises(ConfigError, match="did you mean 'gelu'"):
        perceptron([4, 2], activation="gelo")
    with pytest.raises(ConfigError, match="widths"):
        perceptron([4, 0, 2])


def test_perceptron_has_an_activation_and_norm_after_each_hidden_layer_only():
    layers = perceptron([4, 8, 8, 2], activation="tanh", layer_norm=True, dropout=0.5)
    names = [type(layer).__name__ for layer in layers]
    assert names == ["Linear", "LayerNorm", "Tanh", "Dropout"] * 2 + ["Linear"]
