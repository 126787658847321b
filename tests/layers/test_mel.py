"""Mel bands against a sine and against torch.stft; normalisation; SpecAugment."""

import pytest
import torch

from polymodal.errors import ConfigError
from polymodal.layers.masks import lengths_to_mask
from polymodal.layers.mel import FLOOR, TYPICAL_MEAN, TYPICAL_STD, LogMel, mel_filter_bank
from polymodal.layers.specaugment import SpecAugment
from polymodal.schemas.batch import PaddedSequence


def waveforms(lengths: list[int], garbage: float = 0.0) -> PaddedSequence:
    generator = torch.Generator().manual_seed(0)
    mask = lengths_to_mask(torch.tensor(lengths), max(*lengths, 1))
    noise = 0.1 * torch.randn(mask.shape, generator=generator)
    return PaddedSequence(noise.masked_fill(~mask, garbage), mask)


@pytest.mark.parametrize("frequency_hz", [200.0, 1000.0, 5000.0])
def test_a_sine_peaks_in_the_band_around_it(frequency_hz):
    time_s = torch.arange(16000) / 16000
    sine = torch.sin(2 * torch.pi * frequency_hz * time_s)[None]
    frames = LogMel(64, 16000, "none")(PaddedSequence(sine, torch.ones(1, 16000, dtype=torch.bool)))
    bins_hz = torch.linspace(0, 8000, 257)
    bank = mel_filter_bank(64, 257, 16000)
    centres_hz = (bank * bins_hz[:, None]).sum(0) / bank.sum(0)
    expected = (centres_hz - frequency_hz).abs().argmin()
    assert (frames.values[0].mean(0).argmax() - expected).abs() <= 1


@pytest.mark.parametrize("num_mels", [40, 64, 80])
def test_neighbouring_triangles_add_up_to_one_between_the_outer_centres(num_mels):
    bank = mel_filter_bank(num_mels, 257, 16000)
    sums = bank.sum(dim=1)
    inner = slice(int(bank[:, 0].argmax()) + 1, int(bank[:, -1].argmax()))
    torch.testing.assert_close(sums[inner], torch.ones_like(sums[inner]))
    assert (bank.sum(dim=0) > 0).all()


def test_too_many_bands_are_refused():
    with pytest.raises(ConfigError, match="num_mels=400"):
        LogMel(400)
    with pytest.raises(ConfigError, match="normalise"):
        LogMel(normalise="speaker")


def test_energies_equal_those_of_torch_stft():
    audio = waveforms([4000])
    ours = LogMel(64, 16000, "none")(audio).values[0]
    spectrum = torch.stft(
        torch.nn.functional.pad(audio.values, (56, 56)),
        n_fft=512,
        hop_length=160,
        win_length=400,
        window=torch.hann_window(400),
        center=False,
        return_complex=True,
    )[0].abs()
    theirs = (spectrum.square().T @ mel_filter_bank(64, 257, 16000) + FLOOR).log()
    shared = min(len(ours), len(theirs))
    scaled = (theirs - TYPICAL_MEAN) / TYPICAL_STD
    torch.testing.assert_close(ours[:shared], scaled[:shared], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("num_samples", "num_frames"),
    [(0, 0), (1, 1), (399, 1), (400, 1), (401, 2), (560, 2), (561, 3)],
)
@pytest.mark.parametrize("normalise", ["utterance", "none"])
def test_short_utterances_are_padded_and_finite(num_samples, num_frames, normalise):
    frames = LogMel(normalise=normalise)(waveforms([num_samples, 2000], garbage=1e3))
    alone = LogMel(normalise=normalise)(waveforms([num_samples]))
    assert frames.num_valid.tolist()[0] == num_frames == int(alone.num_valid)
    assert torch.isfinite(frames.values).all()
    assert torch.isfinite(alone.values).all()


def test_normalisation_sees_real_frames_only():
    frames = LogMel()(waveforms([8000, 3000], garbage=1e3))
    for row in range(2):
        real = frames.values[row][frames.valid_mask[row]]
        torch.testing.assert_close(real.mean(0), torch.zeros(64), atol=1e-4, rtol=0)
        torch.testing.assert_close(real.std(0, correction=0), torch.ones(64), atol=2e-2, rtol=0)
    assert (frames.values[~frames.valid_mask] == 0).all()


def test_level_counts_without_normalisation_only():
    quiet = waveforms([8000])
    loud = PaddedSequence(3 * quiet.values, quiet.valid_mask)
    preserving, removed = LogMel(normalise="none"), LogMel()
    assert (preserving(loud).values - preserving(quiet).values).mean() > 0.4
    torch.testing.assert_close(removed(loud).values, removed(quiet).values, atol=2e-2, rtol=0)


def test_the_spectrum_is_float32_under_autocast():
    audio = waveforms([8000])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = LogMel()(audio).values
    torch.testing.assert_close(mixed, LogMel()(audio).values)


def test_spec_augment_hides_at_most_what_it_may_and_only_in_training():
    augment = SpecAugment(
        num_frequency_masks=1, max_bands=4, num_time_masks=1, max_time_fraction=0.5
    )
    frames = PaddedSequence(torch.ones(200, 20, 16), lengths_to_mask(torch.tensor([20, 8] * 100)))
    assert augment.eval()(frames) is frames
    torch.manual_seed(0)
    hidden = augment.train()(frames).values == 0
    bands, times = hidden.all(dim=1).sum(dim=1), hidden.all(dim=2).sum(dim=1)
    assert set(bands.tolist()) == {0, 1, 2, 3, 4}
    assert max(times[::2]) == 10
    assert max(times[1::2]) == 4
    assert not hidden[1::2, 8:].all(dim=2).any()
    torch.manual_seed(0)
    assert torch.equal(augment(frames).values == 0, hidden)


def test_spec_augment_refuses_nonsense():
    with pytest.raises(ConfigError, match="max_time_fraction"):
        SpecAugment(max_time_fraction=1.5)
