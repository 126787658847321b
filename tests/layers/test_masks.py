"""Masks against brute force, at length 0, 1 and full."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional

from polymodal.layers.masks import (
    attention_mask,
    lengths_to_mask,
    mask_to_lengths,
    strided_mask,
    zero_padding,
)


def test_length_0_1_and_full():
    mask = lengths_to_mask(torch.tensor([0, 1, 4]))
    assert mask.int().tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert mask_to_lengths(mask).tolist() == [0, 1, 4]
    assert lengths_to_mask(torch.tensor([], dtype=torch.long)).shape == (0, 0)
    assert mask_to_lengths(torch.ones(2, 0, dtype=torch.bool)).tolist() == [0, 0]


def test_no_row_of_the_attention_mask_is_wholly_masked():
    mask = attention_mask(lengths_to_mask(torch.tensor([0, 1, 3])))
    assert mask[:, 0, 0].int().tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 1]]


def test_zero_padding_removes_nan_and_its_gradient():
    values = torch.tensor([[[1.0], [float("nan")]]], requires_grad=True)
    zeroed = zero_padding(values, torch.tensor([[True, False]]))
    zeroed.square().sum().backward()
    assert zeroed.flatten().tolist() == [1.0, 0.0]
    assert values.grad is not None
    assert values.grad.flatten().tolist() == [2.0, 0.0]


windows = st.integers(1, 7).flatmap(
    lambda kernel: st.tuples(st.just(kernel), st.integers(1, 5), st.integers(0, kernel - 1))
)


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(0, 20), min_size=1, max_size=5), window=windows)
def test_strided_mask_is_that_of_the_utterance_alone(lengths, window):
    """A convolution of ones over each utterance by itself gives the frames that must stay."""
    kernel, stride, padding = window
    mask = strided_mask(lengths_to_mask(torch.tensor(lengths)), kernel, stride, padding)
    for length, row in zip(lengths, mask, strict=True):
        if length == 0:
            assert not row.any()
            continue
        missing = max(0, kernel - 2 * padding - length)
        ones = functional.pad(torch.ones(1, 1, length), (0, missing))
        counts = functional.conv1d(ones, torch.ones(1, 1, kernel), stride=stride, padding=padding)
        alone = (counts[0, 0] > 0.5).tolist()
        assert row.tolist() == alone + [False] * (len(row) - len(alone))
        assert any(alone)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_a_hole_in_the_mask_keeps_the_frames_that_touch_a_real_one(row):
    mask = torch.tensor([row])
    touched = functional.conv1d(mask[:, None].float(), torch.ones(1, 1, 3), padding=1)[0, 0] > 0.5
    length = int(mask_to_lengths(mask))
    touched[length:] = False
    assert strided_mask(mask, kernel=3, padding=1)[0].tolist() == touched.tolist()


def test_padding_as_wide_as_the_window_is_refused():
    with pytest.raises(AssertionError, match="reach a real frame"):
        strided_mask(torch.ones(1, 4, dtype=torch.bool), kernel=3, padding=3)
