"""What every model promises: masks, padding, absent modalities, gradients."""

from collections.abc import Mapping

import pytest
import torch

from polymodal.layers.masks import lengths_to_mask
from polymodal.models.base import Model
from polymodal.models.bottleneck import BottleneckFusion
from polymodal.models.concat import EarlyFusion
from polymodal.models.cross_attention import CrossAttentionFusion
from polymodal.models.gmu import GatedFusion
from polymodal.models.low_rank import LowRankFusion
from polymodal.models.mlp_mixer import MixerFusion
from polymodal.models.perceiver import PerceiverFusion
from polymodal.models.unimodal import UnimodalClassifier
from polymodal.schemas.batch import PaddedSequence

SIZES = {"speech": 8, "text": 6, "signals": 4}
LENGTHS = {"speech": [9, 0, 1, 5], "text": [4, 0, 6, 1], "signals": [3, 0, 7, 0]}
MODELS = {
    "unimodal": lambda pooling: UnimodalClassifier({"speech": 8}, 3, pooling=pooling),
    "fusion": lambda pooling: CrossAttentionFusion(
        SIZES, 3, width=16, num_heads=2, pooling=pooling
    ),
    "early": lambda pooling: EarlyFusion(SIZES, 3, width=16, pooling=pooling, hidden_sizes=[8]),
    "gated": lambda pooling: GatedFusion(SIZES, 3, width=16, pooling=pooling),
    "low rank": lambda pooling: LowRankFusion(SIZES, 3, width=16, pooling=pooling, rank=3),
    "mixer": lambda pooling: MixerFusion(SIZES, 3, width=16, pooling=pooling),
    "bottleneck": lambda _: BottleneckFusion(SIZES, 3, width=16, num_heads=2, num_tokens=2),
    "perceiver": lambda _: PerceiverFusion(SIZES, 3, width=16, num_heads=2, num_latents=3),
    "fusion of one": lambda pooling: CrossAttentionFusion(
        {"speech": 8}, 3, width=16, num_heads=2, pooling=pooling
    ),
}
POOLINGS = ["attention", "mean", "first"]
every_model = pytest.mark.parametrize("name", MODELS)
every_pooling = pytest.mark.parametrize("pooling", POOLINGS)


def build(name: str, pooling: str = "attention") -> Model:
    torch.manual_seed(0)
    return MODELS[name](pooling).eval()


def batch(garbage: float = 0.0) -> dict[str, PaddedSequence]:
    """Row 0 has everything, row 1 nothing, row 2 one frame of speech, row 3 no signals."""
    generator = torch.Generator().manual_seed(1)
    sequences = {}
    for name, size in SIZES.items():
        mask = lengths_to_mask(torch.tensor(LENGTHS[name]))
        values = torch.randn(*mask.shape, size, generator=generator)
        sequences[name] = PaddedSequence(values.masked_fill(~mask[..., None], garbage), mask)
    return sequences


def row_of(modalities: Mapping[str, PaddedSequence], row: int) -> dict[str, PaddedSequence]:
    return {
        name: PaddedSequence(
            sequence.values[row : row + 1, :length], sequence.valid_mask[row : row + 1, :length]
        )
        for name, sequence in modalities.items()
        for length in [int(sequence.num_valid[row])]
    }


@every_pooling
@every_model
@pytest.mark.parametrize("garbage", [1e3, float("nan")])
def test_alone_in_a_batch_and_beside_garbage_are_the_same(name, pooling, garbage):
    model, modalities = build(name, pooling), batch(garbage)
    logits = model(modalities)
    assert logits.shape == (4, 3)
    assert torch.isfinite(logits).all()
    for row in range(4):
        alone = model(row_of(modalities, row))
        torch.testing.assert_close(logits[row : row + 1], alone, atol=1e-5, rtol=1e-5)


@every_model
def test_gradients_are_finite_and_reach_every_parameter(name):
    model, modalities = build(name).train(), batch(1e3)
    model(modalities).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().sum() > 0, key


@every_model
def test_a_batch_of_absent_modalities_has_finite_gradients_for_every_parameter(name):
    """DDP waits for the gradient of every parameter, so None would hang it."""
    model, modalities = build(name).train(), batch()
    absent = {
        key: PaddedSequence(sequence.values, torch.zeros_like(sequence.valid_mask))
        for key, sequence in modalities.items()
    }
    model(absent).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("unimodal", "attention"),
        ("unimodal", "mean"),
        *(("fusion", pooling_name) for pooling_name in POOLINGS),
    ],
)
def test_the_last_real_frame_counts(name, pooling):
    model, modalities = build(name, pooling), batch()
    before = model(modalities)
    modalities["speech"].values[3, 4, 0] += 1.0
    after = model(modalities)
    assert (before[3] - after[3]).abs().max() > 1e-4
    assert torch.equal(before[0], after[0])


def test_the_order_of_the_modalities_has_no_effect():
    modalities = batch()
    logits = build("fusion")(modalities)
    torch.manual_seed(0)
    turned = CrossAttentionFusion(dict(reversed(SIZES.items())), 3, width=16, num_heads=2).eval()
    reordered = turned(dict(reversed(modalities.items())))
    torch.testing.assert_close(logits, reordered, atol=1e-6, rtol=0)


FUSIONS = ["fusion", "early", "gated", "low rank", "mixer", "bottleneck", "perceiver"]


@pytest.mark.parametrize("name", FUSIONS)
def test_left_out_and_masked_out_are_the_same_and_have_no_influence(name):
    model, modalities = build(name), batch()
    signals = modalities["signals"]
    masked = PaddedSequence(signals.values * 50, torch.zeros_like(signals.valid_mask))
    left_out = {name: modalities[name] for name in ("speech", "text")}
    logits = model({**modalities, "signals": masked})
    torch.testing.assert_close(logits, model(left_out), atol=1e-6, rtol=0)
    full = model(modalities)
    assert not torch.allclose(full[0], logits[0], atol=1e-5)
    torch.testing.assert_close(full[3], logits[3], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", FUSIONS)
def test_every_fusion_learns_what_no_modality_tells_alone(name):
    """The class is whether two modalities agree: each alone says nothing."""
    torch.manual_seed(0)
    model = MODELS[name]("mean").train()
    mask = torch.ones(64, 2, dtype=torch.bool)
    signs = torch.randint(0, 2, (64, 2)) * 2 - 1
    noise = {name: torch.randn(64, 2, size) * 0.1 for name, size in SIZES.items()}
    noise["speech"][..., :4] += signs[:, :1, None]
    noise["text"][..., :3] += signs[:, 1:, None]
    modalities = {name: PaddedSequence(values, mask) for name, values in noise.items()}
    targets = (signs[:, 0] == signs[:, 1]).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(modalities), targets)
        loss.backward()
        optimizer.step()
    accuracy = (model.eval()(modalities).argmax(1) == targets).float().mean()
    assert accuracy > 0.95


def test_no_parameter_of_an_absent_modality_has_an_influence():
    model, modalities = build("fusion"), batch()
    model({name: modalities[name] for name in ("speech", "text")}).square().sum().backward()
    for modules in (model.projections, model.norms, model.poolings, model.summaries):
        assert all((parameter.grad == 0).all() for parameter in modules["signals"].parameters())
        assert any((parameter.grad != 0).any() for parameter in modules["text"].parameters())
