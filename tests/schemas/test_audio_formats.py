"""Decoders write no messages of their own between ours."""

import os

import numpy as np
import pytest
import soundfile

from polymodal.data.audio import AudioReader
from polymodal.schemas.audio_formats import without_decoder_messages
from polymodal.schemas.manifest import Utterance


@pytest.fixture
def damaged(tmp_path):
    """An MP3 whose end is lost, of which libmpg123 complains."""
    samples = np.random.default_rng(0).normal(0, 0.1, 48_000)
    soundfile.write(tmp_path / "whole.mp3", samples, 16_000, format="MP3")
    content = (tmp_path / "whole.mp3").read_bytes()
    path = tmp_path / "damaged.mp3"
    path.write_bytes(content[: len(content) // 2])
    return path


def test_a_damaged_mp3_is_read_in_silence(damaged, capfd):
    soundfile.read(damaged)
    assert "Xing" in capfd.readouterr().err  # otherwise there is nothing to hide
    waveform = AudioReader(damaged.parent)(Utterance("u", "s", audio=damaged.name))
    assert waveform is not None
    assert not capfd.readouterr().err


def test_what_others_write_meanwhile_is_passed_on(damaged, capfd):
    with without_decoder_messages(damaged):
        os.write(2, b"Note: Trying to resync...\nfit, epoch 3\n")
    assert capfd.readouterr().err == "fit, epoch 3\n"
