"""Attention against PyTorch's own, rotary positions, residuals, and rows without a key."""

import pytest
import torch
from torch import nn

from polymodal.errors import ConfigError
from polymodal.layers.attention import (
    CrossAttentionBlock,
    MultiHeadAttention,
    SelfAttentionBlock,
    Transformer,
    frame_positions,
    relative_positions,
    rotate,
)
from polymodal.layers.masks import lengths_to_mask
from polymodal.schemas.batch import PaddedSequence

WIDTH, HEADS = 16, 2


def copy_weights(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())


def test_attention_equals_pytorchs():
    torch.manual_seed(0)
    ours = MultiHeadAttention(WIDTH, HEADS)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    copy_weights(ours, theirs)
    query, key = torch.randn(3, 5, WIDTH), torch.randn(3, 7, WIDTH)
    mask = lengths_to_mask(torch.tensor([1, 4, 7]))
    expected, _ = theirs(query, key, key, key_padding_mask=~mask)
    torch.testing.assert_close(ours(query, key, mask), expected, atol=1e-6, rtol=1e-5)


def test_a_row_without_a_key_gives_zeros_and_finite_gradients():
    torch.manual_seed(0)
    attention = MultiHeadAttention(WIDTH, HEADS)
    query = torch.randn(3, 4, WIDTH, requires_grad=True)
    mask = lengths_to_mask(torch.tensor([0, 1, 4]))
    output = attention(query, query, mask)
    output.square().sum().backward()
    assert (output[0] == 0).all()
    assert (output[1:] != 0).any()
    assert torch.isfinite(query.grad).all()


def test_rotary_products_depend_on_distances_alone_and_do_depend_on_them():
    torch.manual_seed(0)
    query, key = torch.randn(1, 2, 1, 8), torch.randn(1, 2, 1, 8)

    def product(query_position: float, key_position: float) -> torch.Tensor:
        turned = rotate(query, torch.full((1, 1), query_position))
        return (turned * rotate(key, torch.full((1, 1), key_position))).sum(-1)

    torch.testing.assert_close(product(3.0, 5.0), product(103.0, 105.0), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(product(3.0, 5.0), product(3.0, 6.0), atol=1e-3)


def test_positions_stand_on_query_and_key_not_on_the_values():
    """One key alone has all the weight, so what is read may not depend on its position."""
    torch.manual_seed(0)
    attention = MultiHeadAttention(WIDTH, HEADS)
    frame, mask = torch.randn(1, 1, WIDTH), torch.ones(1, 1, dtype=torch.bool)
    here, there = torch.zeros(1, 1), torch.full((1, 1), 9.0)
    near, far = (
        attention(frame, frame, mask, here, here),
        attention(frame, frame, mask, here, there),
    )
    torch.testing.assert_close(near, far, atol=1e-6, rtol=0)


def test_self_attention_knows_the_order_of_frames():
    torch.manual_seed(0)
    block = SelfAttentionBlock(WIDTH, HEADS, dropout=0.0)
    frames, mask = torch.randn(1, 4, WIDTH), torch.ones(1, 4, dtype=torch.bool)
    forward, backward = block(frames, mask), block(frames.flip(1), mask).flip(1)
    assert not torch.allclose(forward, backward, atol=1e-3)


def test_relative_positions_meet_at_both_ends():
    audio = relative_positions(lengths_to_mask(torch.tensor([64, 32]), 64), span=32.0)
    text = relative_positions(lengths_to_mask(torch.tensor([2, 2])), span=32.0)
    assert audio[0, 0] == 0.25
    assert audio[0, 63] == 31.75
    assert text.tolist() == [[8.0, 24.0]] * 2
    assert frame_positions(torch.ones(1, 3, dtype=torch.bool)).tolist() == [[0.0, 1.0, 2.0]]


def test_residuals_are_added_to_the_stream_itself():
    """With all outputs at zero a block is the identity; an added normalised stream is none."""
    self_block = SelfAttentionBlock(WIDTH, HEADS, dropout=0.0)
    cross_block = CrossAttentionBlock(["text"], WIDTH, HEADS, dropout=0.0)
    for module in [self_block.attention, cross_block.attentions["text"]]:
        nn.init.zeros_(module.output.weight)
        nn.init.zeros_(module.output.bias)
    last = self_block.feedforward.layers[-2]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    stream, mask = 5 + torch.randn(2, 3, WIDTH), torch.ones(2, 3, dtype=torch.bool)
    source = {"text": PaddedSequence(torch.randn(2, 4, WIDTH), torch.ones(2, 4, dtype=torch.bool))}
    assert torch.equal(self_block(stream, mask), stream)
    assert torch.equal(cross_block(stream, mask, source), stream)


def test_keys_change_from_layer_to_layer():
    torch.manual_seed(0)
    transformer = Transformer(WIDTH, num_layers=3, num_heads=HEADS, dropout=0.0)
    keys: list[torch.Tensor] = []
    for block in transformer.blocks:
        block.attention.register_forward_pre_hook(lambda _, inputs: keys.append(inputs[1]))
    transformer(PaddedSequence(torch.randn(2, 5, WIDTH), torch.ones(2, 5, dtype=torch.bool)))
    assert not torch.allclose(keys[0], keys[1], atol=1e-3)
    assert not torch.allclose(keys[1], keys[2], atol=1e-3)


def test_cross_attention_reads_the_mean_of_the_present_sources():
    torch.manual_seed(0)
    block = CrossAttentionBlock(["signals", "text"], WIDTH, HEADS, dropout=0.0).eval()
    stream, mask = torch.randn(2, 3, WIDTH), torch.ones(2, 3, dtype=torch.bool)
    full, none = torch.ones(2, 4, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool)
    text, signals = torch.randn(2, 4, WIDTH), torch.randn(2, 4, WIDTH)

    def read(text_mask: torch.Tensor, signals_mask: torch.Tensor) -> torch.Tensor:
        sources = {
            "text": PaddedSequence(text, text_mask),
            "signals": PaddedSequence(signals, signals_mask),
        }
        return block(stream, mask, sources) - stream

    mean = (read(full, none) + read(none, full)) / 2
    torch.testing.assert_close(read(full, full), mean, atol=1e-6, rtol=1e-5)
    assert (read(none, none) == 0).all()


@pytest.mark.parametrize(("width", "num_heads"), [(10, 4), (12, 4), (8, 0)])
def test_a_width_without_even_heads_is_refused(width, num_heads):
    with pytest.raises(ConfigError, match=f"width {width}"):
        MultiHeadAttention(width, num_heads)
