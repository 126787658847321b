"""Equal audio under two ids, odd formats, lengths and channels: what a check has to say of them."""

import shutil

import numpy as np
import polars as pl
import pytest
import soundfile

from polymodal.corpora.folders import read_folders
from polymodal.corpora.table import read_table
from polymodal.corpora.validation.inspection import inspect_manifest
from polymodal.data.audio import AudioReader
from polymodal.errors import DataError, ManifestError
from polymodal.schemas.audio_formats import conversion
from polymodal.schemas.manifest import Manifest, Utterance

RATE_HZ = 16_000


def noise(seed, duration_s=1.0):
    samples = np.random.default_rng(seed).normal(0, 0.1, round(duration_s * RATE_HZ))
    return np.round(samples * 32_768) / 32_768


def checked(folder, rows, **options):
    frame = pl.DataFrame(rows, schema=["utterance_id", "audio", "speaker", "label"], orient="row")
    return inspect_manifest(Manifest(frame, folder), num_workers=2, **options)


def test_equal_audio_is_found_with_what_differs(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(0), RATE_HZ)
    shutil.copy(tmp_path / "a.wav", tmp_path / "copy.wav")
    soundfile.write(tmp_path / "same.flac", noise(0), RATE_HZ)
    soundfile.write(tmp_path / "b.wav", noise(1), RATE_HZ)
    soundfile.write(tmp_path / "slow.wav", noise(0), RATE_HZ // 2)
    other = ["b.wav", "slow.wav"]
    plain = [("o0", other[0], "s", "x"), ("o1", other[1], "s", "x")]
    inspection = checked(tmp_path, [("a", "a.wav", "s", "x"), ("b", "copy.wav", "s", "x"), *plain])
    (issues,) = [items for rule, items in inspection.by_rule().items() if "equal" in rule]
    assert [(issue.utterance_id, issue.rule, issue.detail) for issue in issues] == [
        ("a", "equal audio", "the same samples as b"),
        ("b", "equal audio", "the same samples as a"),
    ]
    for second, rule in (
        (("b", "same.flac", "t", "y"), "equal audio of two speakers"),
        (("b", "same.flac", "s", "y"), "equal audio with two labels"),
    ):
        rules = checked(tmp_path, [("a", "a.wav", "s", "x"), second, *plain]).by_rule()
        assert len(rules[rule]) == 2
    split = pl.Series(["train", "test", "train", "test"])
    rows = [("a", "a.wav", "s", "x"), ("b", "copy.wav", "t", "x"), *plain]
    issue = checked(tmp_path, rows, split=split).by_rule()["equal audio in two splits"][0]
    assert issue.detail == "the same samples as b: split 'train' here, 'test' there"


def test_silence_and_blips_are_not_compared(tmp_path):
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(RATE_HZ), RATE_HZ)
        soundfile.write(tmp_path / f"{name}{name}.wav", noise(3, 0.01), RATE_HZ)
    rows = [(name, f"{name}.wav", "s", "x") for name in ("a", "b", "aa", "bb")]
    assert not [rule for rule in checked(tmp_path, rows).by_rule() if "equal" in rule]


def test_equal_segments_of_a_file_are_found_and_different_ones_are_not(tmp_path):
    soundfile.write(tmp_path / "long.wav", noise(0, 20.0), RATE_HZ)
    spans = [(0.0, 9.0), (9.0, 9.0), (9.0, 9.0)]
    rows = [
        {"utterance_id": f"{n}", "speaker": "s", "audio": "long.wav", "start_s": a, "duration_s": b}
        for n, (a, b) in enumerate(spans)
    ]
    issues = inspect_manifest(Manifest(pl.DataFrame(rows), tmp_path), num_workers=1).issues
    assert [(issue.utterance_id, issue.rule) for issue in issues] == [
        ("1", "equal audio"),
        ("2", "equal audio"),
    ]


def test_a_clip_that_is_much_longer_is_a_note(tmp_path):
    for number in range(5):
        soundfile.write(tmp_path / f"{number}.wav", noise(number, 1.5), RATE_HZ)
    soundfile.write(tmp_path / "5.wav", noise(5, 60.0), RATE_HZ)
    inspection = checked(tmp_path, [(f"{n}", f"{n}.wav", "s", "x") for n in range(6)])
    (issue,) = inspection.issues
    assert (issue.utterance_id, issue.severity) == ("5", "note")
    assert issue.detail == "60.0 s, half of all utterances are shorter than 1.5 s"
    assert inspection.verdict == "usable"
    assert inspection.summary == "1 of 6 utterances have a note (much longer than the others 1)"


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_levels_are_those_of_the_mix_that_training_reads(tmp_path, subtype):
    wave = noise(0)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], 1), RATE_HZ, subtype=subtype)
    soundfile.write(tmp_path / "b.wav", np.stack([wave, wave], 1), RATE_HZ, subtype=subtype)
    inspection = checked(tmp_path, [("a", "a.wav", "s", "x"), ("b", "b.wav", "s", "x")])
    (issue,) = inspection.by_rule()["silent audio"]
    assert issue.utterance_id == "a"
    assert "the channels cancel out in their mean, which training reads" in issue.detail
    assert inspection.measures["rms_db"][1] == pytest.approx(-20, abs=0.2)
    mix = AudioReader(tmp_path)(Utterance("a", "s", audio="a.wav"))
    assert np.abs(mix).max() == 0


def test_an_unreadable_format_names_the_command_that_converts_it(tmp_path):
    aac = b"\x00\x00\x00\x20ftypM4A " + bytes(64)
    for name in ("my clip.m4a", "hidden.wav"):
        (tmp_path / name).write_bytes(aac)
    command = f"ffmpeg -i '{tmp_path}/my clip.m4a' '{tmp_path}/my clip.wav'"
    (tmp_path / "manifest.csv").write_text("audio,speaker\nmy clip.m4a,s\nhidden.wav,s\n")
    with pytest.raises(ManifestError) as caught:
        read_table(str(tmp_path), max_refused=None)
    assert f"convert it: {command}" in str(caught.value)
    assert "hidden.converted.wav" in str(caught.value)
    issues = checked(tmp_path, [("a", "my clip.m4a", "s", "x")]).by_rule()["unreadable audio"]
    assert issues[0].detail.endswith(f"convert it: {command}")
    with pytest.raises(DataError, match="ffmpeg -i"):
        AudioReader(tmp_path)(Utterance("a", "s", audio="my clip.m4a"))
    assert conversion(tmp_path / "missing.wav") == ""


def test_folders_of_an_unreadable_format_say_so(tmp_path):
    (tmp_path / "joy").mkdir()
    (tmp_path / "joy" / "a.m4a").write_bytes(b"")
    with pytest.raises(ManifestError, match="convert the 1 files that cannot be read: ffmpeg -i"):
        read_folders(str(tmp_path), speaker="s")
    soundfile.write(tmp_path / "joy" / "b.wav", noise(0), RATE_HZ)
    handled = read_folders(str(tmp_path), speaker="s").handled
    assert handled == {"audio of a format that cannot be read (M4A, AAC and others)": 1}
