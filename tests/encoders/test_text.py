"""Units of text, n-grams, and what the text encoder can tell apart."""

import unicodedata

import pytest
import torch

from polymodal.encoders.text import TextEncoder, TextUnits, ngram_buckets
from polymodal.errors import ConfigError
from polymodal.schemas.batch import PaddedSequence

UNITS = ["characters", "jamo", "bytes"]


def encode(encoder: TextEncoder, text: str) -> torch.Tensor:
    units = torch.from_numpy(encoder.transform()(text))[None]
    return (
        encoder(PaddedSequence(units, torch.ones_like(units, dtype=torch.bool))).values[0].mean(0)
    )


@pytest.mark.parametrize("unit", UNITS)
def test_sentences_that_differ_in_one_syllable_differ(unit):
    torch.manual_seed(0)
    encoder = TextEncoder(unit, width=16, num_heads=2).eval()
    good, bad = encode(encoder, "오늘은 날이 좋다"), encode(encoder, "오늘은 달이 좋다")
    assert (good - bad).abs().max() > 1e-2


@pytest.mark.parametrize("unit", UNITS)
def test_composed_and_decomposed_spelling_are_the_same_text(unit):
    units = TextUnits(unit, 99)
    composed, decomposed = "슬퍼요 é", unicodedata.normalize("NFD", "슬퍼요 é")
    assert units(composed).tolist() == units(decomposed).tolist()


def test_lengths_of_the_units():
    assert [len(TextUnits(unit, 99)("한국")) for unit in UNITS] == [2, 6, 6]
    assert TextUnits("bytes", 4)("한국").tolist() == [byte + 1 for byte in "한국".encode()[:4]]


@pytest.mark.parametrize("blank", ["", "  \n", None])
def test_a_blank_text_is_absent(blank):
    assert TextEncoder().transform()(blank) is None


def test_a_long_text_is_cut_to_the_length_that_the_encoder_shows():
    encoder = TextEncoder(max_length=5, width=16, num_heads=2)
    assert encoder.transform()("abcdefgh").tolist() == encoder.transform()("abcdeXYZ").tolist()
    assert encoder.max_length == 5


def test_ngrams_end_at_their_unit_and_know_the_order():
    units = torch.tensor([[7, 8, 9, 7, 8], [0, 0, 8, 7, 7]])
    pairs = ngram_buckets(units, 2, 10**6)
    assert pairs[0, 1] == pairs[0, 4]
    assert pairs[0, 1] != pairs[1, 3]
    assert pairs[0, 0] == pairs[0, 0]
    assert len(set(pairs[0].tolist())) == 4
    assert (ngram_buckets(units, 1, 100) == units).all()


def test_ngrams_of_the_whole_of_unicode_spread_over_the_buckets():
    torch.manual_seed(0)
    units = torch.randint(0x10FFFF, (1, 11172))
    for size in (2, 3):
        buckets = ngram_buckets(units, size, 4096)
        assert buckets.min() >= 0
        assert buckets.max() < 4096
        # 11172 balls in 4096 urns leave e^-2.73 = 6.5 % of the urns empty.
        assert buckets.unique().numel() == pytest.approx(4096 * 0.935, rel=0.03)


def test_words_are_learned_from_few_sentences():
    """Eight sentences, told apart by one word; two unseen ones with the same words follow."""
    torch.manual_seed(0)
    encoder = TextEncoder(width=32, num_heads=2, dropout=0.0)
    head = torch.nn.Linear(32, 1)
    frames = ["{} 날이다", "정말 {} 하루", "나는 {} 기분이야", "{} 일이 있었다"]
    train = [
        (frame.format(word), y) for frame in frames for word, y in (("좋은", 1.0), ("나쁜", 0.0))
    ]
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(15):
        logits = torch.stack([head(encode(encoder, text))[0] for text, _ in train])
        targets = torch.tensor([y for _, y in train])
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, targets).backward()
        optimizer.step()
    assert head(encode(encoder, "어제는 좋은 밤이었다")) > head(
        encode(encoder, "어제는 나쁜 밤이었다")
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "charcters"}, "did you mean 'characters'"),
        ({"max_length": 0}, "max_length=0"),
        ({"ngram_sizes": []}, "at least one length"),
        ({"ngram_sizes": [1, 0]}, "above 0"),
    ],
)
def test_nonsense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TextEncoder(**options)
