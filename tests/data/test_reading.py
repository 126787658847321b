"""Reading audio and signals: one rate, one channel, and clear words for what is broken."""

import numpy as np
import pytest
import soundfile

from polymodal.data.audio import AudioReader
from polymodal.data.dataset import Example, collate, pad
from polymodal.data.signals import SignalReader
from polymodal.errors import DataError
from polymodal.schemas.manifest import SignalReference, Utterance


def tone(rate_hz, duration_s=1.0, frequency_hz=440.0):
    return np.sin(2 * np.pi * frequency_hz * np.arange(int(rate_hz * duration_s)) / rate_hz)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_every_rate_becomes_the_encoders_rate(tmp_path, rate_hz, suffix):
    soundfile.write(tmp_path / f"a.{suffix}", tone(rate_hz) * 0.5, rate_hz)
    waveform = AudioReader(tmp_path)(Utterance("u", "s", audio=f"a.{suffix}"))
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - 16000) <= 1
    inner = slice(2000, 14000)
    np.testing.assert_allclose(waveform[inner], 0.5 * tone(16000)[inner], atol=0.02)


def test_stereo_is_mixed_or_its_first_channel_taken(tmp_path):
    both = np.stack([np.full(48000, 0.5), np.full(48000, -0.1)], axis=1)
    soundfile.write(tmp_path / "a.wav", both, 48000, subtype="FLOAT")
    row = Utterance("u", "s", audio="a.wav")
    assert AudioReader(tmp_path)(row)[8000] == pytest.approx(0.2, abs=1e-3)
    assert AudioReader(tmp_path, channels="first")(row)[8000] == pytest.approx(0.5, abs=1e-3)


def test_an_utterance_is_cut_out_of_a_longer_file(tmp_path):
    ramp = np.linspace(0, 0.9, 32000)
    soundfile.write(tmp_path / "a.wav", ramp, 16000, subtype="FLOAT")
    row = Utterance("u", "s", audio="a.wav", start_s=1.0, duration_s=0.5)
    cut = AudioReader(tmp_path)(row)
    np.testing.assert_allclose(cut, ramp[16000:24000], atol=1e-6)


def test_a_file_is_decoded_once_while_the_cache_has_room(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(16000), 16000)
    opened = []
    real = soundfile.SoundFile
    monkeypatch.setattr(soundfile, "SoundFile", lambda path: opened.append(path) or real(path))
    row = Utterance("u", "s", audio="a.wav")
    cached, uncached = AudioReader(tmp_path, cache_mb=1), AudioReader(tmp_path, cache_mb=0)
    assert np.array_equal(cached(row), cached(row))
    assert len(opened) == 1
    uncached(row), uncached(row)
    assert len(opened) == 3


def broken(tmp_path, kind):
    path = tmp_path / "a.wav"
    samples = tone(16000)
    if kind == "nan":
        samples[8000] = np.nan
    soundfile.write(path, samples[: 8000 if kind == "short" else None], 16000, subtype="FLOAT")
    if kind == "zero bytes":
        path.write_bytes(b"")
    if kind == "no samples":
        soundfile.write(path, np.zeros(0), 16000)
    if kind == "missing":
        path.unlink()
    duration_s = 1.0 if kind == "short" else None
    return Utterance(
        "u7", "s", audio="../a.wav" if kind == "outside" else "a.wav", duration_s=duration_s
    )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "non-finite sample at 0.500 s"),
        ("short", "ends after 0.50 s, not 1.00 s"),
        ("zero bytes", "cannot be read"),
        ("no samples", "has no sample"),
        ("missing", "cannot be read"),
        ("outside", "leaves the corpus folder"),
    ],
)
def test_broken_audio_is_named(tmp_path, kind, message):
    row = broken(tmp_path, kind)
    with pytest.raises(DataError, match=message) as caught:
        AudioReader(tmp_path)(row)
    assert kind == "outside" or "'u7'" in str(caught.value)


def test_signals_are_slices_with_their_own_rates(tmp_path):
    np.save(tmp_path / "eda.npy", np.arange(20, dtype=np.float32))
    references = {"eda": SignalReference("eda", "eda.npy", 4.0, start=5, length=3)}
    values, rate_hz = SignalReader(tmp_path)(Utterance("u", "s", signals=references))["eda"]
    assert values.tolist() == [5, 6, 7]
    assert rate_hz == 4.0
    assert SignalReader(tmp_path)(Utterance("u", "s")) is None


def test_signals_that_end_early_hold_objects_or_no_byte_are_refused(tmp_path):
    np.save(tmp_path / "eda.npy", np.zeros(4))
    np.save(tmp_path / "odd.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "empty.npy").write_bytes(b"")
    late = {"eda": SignalReference("eda", "eda.npy", 4.0, start=2, length=3)}
    with pytest.raises(DataError, match="ends at sample 4"):
        SignalReader(tmp_path)(Utterance("u", "s", signals=late))
    for name in ("odd.npy", "empty.npy"):
        broken_file = {"eda": SignalReference("eda", name, 4.0)}
        with pytest.raises(DataError, match=f"{name} of utterance 'u' cannot be read"):
            SignalReader(tmp_path)(Utterance("u", "s", signals=broken_file))


def test_padding_marks_what_is_real_and_what_is_absent():
    sequence = pad([np.ones((2, 3), np.float32), None, np.ones((1, 3), np.float32)])
    assert sequence.values.shape == (3, 2, 3)
    assert sequence.valid_mask.tolist() == [[True, True], [False, False], [True, False]]
    assert sequence.values[2, 1].tolist() == [0, 0, 0]


def test_a_modality_that_a_batch_lacks_is_left_out():
    items = [
        Example("a", {"speech": np.ones(3, np.float32), "text": None}, np.array(1)),
        Example("b", {"speech": None, "text": None}, np.array(-1)),
    ]
    batch = collate(items)
    assert set(batch.modalities) == {"speech"}
    assert batch.utterance_ids == ("a", "b")
    assert batch.targets.tolist() == [1, -1]
