"""Texts longer than a model can read."""

import pytest
import torch

from polymodal.encoders.text_windows import TextWindows

SIZE = 10
START, END = 1, 2


def texts(*lengths: int) -> torch.Tensor:
    """Rows of 1, 100, 101, ..., 2 of these lengths, padded with 0."""
    rows = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = 98 + torch.arange(length) + 1
        row[0] = START
        row[length - 1] = END
    return rows


@pytest.mark.parametrize("length", [3, 9, 10, 11, 16, 17, 24, 40])
def test_every_token_is_there_once_and_in_its_place(length):
    tokens = texts(length, 41)
    windows = TextWindows.of(torch.tensor([length, 41]), SIZE)
    cut, _ = windows.cut(tokens)
    joined = windows.join(cut[..., None].float(), 41)[..., 0].long()
    assert torch.equal(joined[0, :length], tokens[0, :length])
    assert torch.equal(joined[1], tokens[1])


def test_every_window_has_both_ends_and_is_full():
    cut, mask = TextWindows.of(torch.tensor([23]), SIZE).cut(texts(23))
    assert cut.shape == (4, SIZE)
    assert mask.all()
    assert cut[:, 0].eq(START).all()
    assert cut[:, -1].eq(END).all()
    assert (cut[:, 1:-1] >= 99).all()


def test_a_text_that_fits_is_one_window_and_an_absent_one_shows_nothing():
    lengths = torch.tensor([23, 5, 10, 0, 1])
    cut, mask = TextWindows.of(lengths, SIZE).cut(
        torch.cat([texts(23, 5, 10), torch.zeros(2, 23).long()])
    )
    assert mask.sum(dim=1).tolist() == [10, 10, 10, 10, 5, 10, 0, 1]
    assert cut[4, :5].tolist() == [START, 100, 101, 102, END]


def test_a_token_is_taken_from_the_window_in_which_it_has_more_context():
    tokens, size = texts(26), 18
    windows = TextWindows.of(torch.tensor([26]), size)
    cut, _ = windows.cut(tokens)
    number = torch.arange(len(cut)).float()[:, None, None].expand(*cut.shape, 1)
    owners = windows.join(number, 26)[0, :, 0].tolist()
    # Two windows of 16 tokens each that share 8: the first four of these are the first window's.
    assert owners == [0.0] * 13 + [1.0] * 13


@pytest.mark.parametrize("size", [3, 4])
def test_the_smallest_windows_end(size):
    windows = TextWindows.of(torch.tensor([9]), size)
    cut, _ = windows.cut(texts(9))
    assert torch.equal(windows.join(cut[..., None].float(), 9)[0, :, 0].long(), texts(9)[0])
