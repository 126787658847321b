"""Speed, noise and level of waveforms in training."""

import itertools
import math

import pytest
import torch

from polymodal.errors import ConfigError
from polymodal.layers.masks import lengths_to_mask
from polymodal.layers.waveform_augment import (
    WaveformAugment,
    coloured,
    resampled,
    waveform_changes,
)
from polymodal.schemas.batch import PaddedSequence

RATE_HZ = 16000


def tone(frequency_hz: float, num_samples: int, rate_hz: float = RATE_HZ) -> torch.Tensor:
    phases = torch.arange(num_samples, dtype=torch.float64) * (frequency_hz / rate_hz)
    return torch.sin(2 * math.pi * phases).float()


def batch(*lengths: int) -> PaddedSequence:
    mask = lengths_to_mask(torch.tensor(lengths))
    torch.manual_seed(0)
    return PaddedSequence(torch.randn(mask.shape).masked_fill(~mask, 0.0), mask)


def changed(sequence: PaddedSequence, seed: int = 1, **options) -> PaddedSequence:
    torch.manual_seed(seed)
    return WaveformAugment(**options).train()(sequence)


@pytest.mark.parametrize("thousandths", [900, 973, 1100, 2000])
def test_a_tone_that_is_played_faster_is_higher_and_as_loud(thousandths):
    """Far from the ends, and late enough that a rounded position would be off."""
    rows = tone(440, 200_000)[None]
    played = resampled(rows, torch.tensor([thousandths]), 200_000 * 1000 // thousandths)[0]
    expected = tone(440 * thousandths / 1000, len(played))
    assert (played - expected)[100:-100].abs().max() < 2e-3


def test_what_would_be_above_half_the_rate_is_left_out():
    played = resampled(tone(7600, 8000)[None], torch.tensor([1300]), 6000)
    assert played[0, 100:-100].abs().max() < 0.03


def test_the_speed_changes_length_and_mask_of_each_utterance_by_itself():
    audio = batch(10_000, 0, 1, 7000)
    faster = changed(audio, speed=[1.25, 1.25])
    assert faster.num_valid.tolist() == [8000, 0, 1, 5600]
    assert changed(audio, speed=[0.8, 0.8]).num_valid.tolist() == [12_500, 0, 2, 8750]
    assert len(set(changed(batch(*[10_000] * 5), speed=[0.9, 1.1]).num_valid.tolist())) == 5
    assert not faster.values[~faster.valid_mask].any()


def test_the_noise_is_as_loud_as_was_asked_for_over_the_real_samples():
    audio = batch(16_000, 4000, 0)
    noisy = changed(audio, noise_snr_db=[10, 10], noise_colour="pink")
    noise = noisy.values - audio.values
    powers = audio.values.square().sum(dim=1), noise.square().sum(dim=1)
    decibels = 10 * (powers[0][:2] / powers[1][:2]).log10()
    torch.testing.assert_close(decibels, torch.tensor([10.0, 10.0]), atol=0.01, rtol=0)
    assert not noise[~audio.valid_mask].any()


def test_digital_silence_and_garbage_under_the_padding_stay_finite():
    audio = batch(800, 300)
    values = audio.values.masked_fill(~audio.valid_mask, float("nan"))
    values[0] = 0.0
    options = {"speed": [0.9, 1.1], "noise_snr_db": [0, 5], "gain_db": [-6, 6]}
    output = changed(PaddedSequence(values, audio.valid_mask), **options)
    assert torch.isfinite(output.values).all()
    assert not output.values[0].any()
    assert output.values[1].any()


@pytest.mark.parametrize(("colour", "fall_db"), [("white", 0.0), ("pink", 3.01), ("brown", 6.02)])
def test_the_power_of_coloured_noise_falls_by_octaves(colour, fall_db):
    torch.manual_seed(0)
    exponent = {"white": 0.0, "pink": 1.0, "brown": 2.0}[colour]
    power = torch.fft.rfft(coloured(torch.randn(64, 4096), exponent)).abs().square().mean(dim=0)
    octaves = [power[low : 2 * low].mean() for low in (128, 256, 512, 1024)]
    falls = [10 * (a / b).log10() for a, b in itertools.pairwise(octaves)]
    assert falls == pytest.approx([fall_db] * 3, abs=0.3)


def test_a_fraction_of_the_utterances_is_changed():
    audio = batch(*[50] * 2000)
    same = (changed(audio, gain_db=[6, 6], probability=0.3).values == audio.values).all(dim=1)
    assert same.float().mean() == pytest.approx(0.7, abs=0.04)


def test_it_follows_the_seed_and_is_off_outside_training():
    options = {"speed": [0.9, 1.1], "noise_snr_db": [0, 20], "gain_db": [-6, 6]}
    audio = batch(900, 500)
    first, again = changed(audio, seed=1, **options), changed(audio, seed=1, **options)
    assert torch.equal(first.values, again.values)
    assert first.values.shape != changed(audio, seed=2, **options).values.shape
    assert WaveformAugment(**options).eval()(audio) is audio
    assert WaveformAugment().train()(audio) is audio
    assert not WaveformAugment(**options, probability=0.0).is_on


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": [1.1, 0.9]}, r"speed=\[1.1, 0.9\](.|\n)*two numbers from 0.5 to 2"),
        ({"speed": [0.9]}, "two numbers"),
        ({"speed": 0.9}, "two numbers"),
        ({"gain_db": ["a", "b"]}, "two numbers"),
        ({"noise_colour": "pinc", "noise_snr_db": [1, 2]}, "did you mean 'pink'"),
        ({"probability": 1.5}, "from 0 to 1"),
        ({"sped": [0.9, 1.1]}, r"waveform_augment\.sped(.|\n)*did you mean 'speed'"),
        ({"gain_db": [-6, 6]}, "takes out again"),
    ],
)
def test_nonsense_is_refused(options, message, shape_checks_off):
    with pytest.raises(ConfigError, match=message):
        waveform_changes(options, normalised=True)
