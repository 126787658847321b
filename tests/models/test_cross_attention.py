"""Cross-attention fusion: what its keys are, and how modalities are dropped."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from polymodal.errors import ConfigError
from polymodal.models.cross_attention import CrossAttentionFusion
from polymodal.models.fusion import keep_at_least_one
from polymodal.schemas.batch import PaddedSequence


def test_keys_are_the_others_projected_input_in_every_layer():
    """Not what was fused already (the ancestor's fault), and the stream that asks does change."""
    torch.manual_seed(0)
    model = CrossAttentionFusion({"a": 4, "b": 4}, 2, width=16, num_heads=2, num_layers=3).eval()
    streams, keys = [], []
    for layer in model.layers:
        cross = layer.crosses["a"]
        cross.register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0]))
        cross.register_forward_pre_hook(lambda _, inputs: keys.append(inputs[2]["b"].values))
    values = {name: torch.randn(1, 5, 4) for name in ("a", "b")}
    mask = torch.ones(1, 5, dtype=torch.bool)
    model({name: PaddedSequence(frames, mask) for name, frames in values.items()})
    projected = model.projections["b"](values["b"])
    assert all(torch.equal(key, projected) for key in keys)
    assert len(keys) == 3
    assert not torch.allclose(streams[1], streams[2], atol=1e-3)


def test_a_fourth_modality_needs_no_code():
    sizes = {name: 4 for name in ("speech", "text", "signals", "video")}
    model = CrossAttentionFusion(sizes, 2, width=16, num_heads=2).eval()
    mask = torch.ones(2, 3, dtype=torch.bool)
    full = {name: PaddedSequence(torch.randn(2, 3, 4), mask) for name in sizes}
    without = {name: sequence for name, sequence in full.items() if name != "video"}
    assert not torch.allclose(model(full), model(without), atol=1e-4)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=8),
    probability=st.floats(0.0, 0.999),
    seed=st.integers(0, 99),
)
def test_modality_dropout_keeps_a_part_and_never_nothing(rows, probability, seed):
    torch.manual_seed(seed)
    present = torch.tensor(rows)
    remaining = keep_at_least_one(present, probability)
    assert not (remaining & ~present).any()
    assert torch.equal(remaining.any(dim=1), present.any(dim=1))


def test_modality_dropout_takes_away_about_its_share():
    torch.manual_seed(0)
    present = torch.ones(20000, 3, dtype=torch.bool)
    fraction = 1 - keep_at_least_one(present, 0.3).float().mean().item()
    # 0.3, less the third of 0.3^3 that the last one standing gets back.
    assert fraction == pytest.approx(0.3 - 0.027 / 3, abs=0.01)


def test_modality_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model = CrossAttentionFusion(
        {"a": 4, "b": 4}, 2, width=16, num_heads=2, dropout=0.0, modality_dropout=0.5
    )
    mask = torch.ones(8, 5, dtype=torch.bool)
    batch = {name: PaddedSequence(torch.randn(8, 5, 4), mask) for name in ("a", "b")}
    assert not torch.equal(model(batch), model(batch))
    model.eval()
    assert torch.equal(model(batch), model(batch))


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="modality_dropout 1"):
        CrossAttentionFusion({"a": 4}, 2, modality_dropout=1.0)
    with pytest.raises(ConfigError, match="width 10"):
        CrossAttentionFusion({"a": 4, "b": 4}, 2, width=10)
    with pytest.raises(AssertionError, match="in the batch"):
        CrossAttentionFusion({"a": 4}, 2)({})
