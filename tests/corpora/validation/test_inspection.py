"""Checks of a corpus: every fault of a file is found, named and found again with other workers."""

import hashlib
import json

import numpy as np
import polars as pl
import pytest
import soundfile

from polymodal.corpora.validation import audio
from polymodal.corpora.validation.class_table import class_table
from polymodal.corpora.validation.inspection import inspect_manifest
from polymodal.corpora.validation.issues import distribution
from polymodal.errors import DataError, ManifestError
from polymodal.schemas.manifest import Manifest

RATE_HZ = 16_000
TONE = 0.3 * np.sin(np.arange(RATE_HZ) / 20)


def write(folder, name, samples=TONE, rate_hz=RATE_HZ, **options):
    soundfile.write(folder / name, samples, rate_hz, **options)
    return name


def manifest_of(folder, *rows):
    """Rows of columns; ids are a, b, ... and everybody is one speaker."""
    named = [{"utterance_id": chr(97 + i), "speaker": "s", **row} for i, row in enumerate(rows)]
    return Manifest(pl.DataFrame(named, infer_schema_length=None), folder)


def rules(manifest, **options):
    issues = inspect_manifest(manifest, num_workers=1, **options).issues
    return [(issue.utterance_id, issue.rule) for issue in issues]


def one_rule(folder, **row):
    """The rules of one row of audio, beside a sound one, without those that compare the two."""
    write(folder, "sound.wav", TONE * 0.9)
    issues = rules(manifest_of(folder, row, {"audio": "sound.wav"}))
    assert all(name == "a" for name, _ in issues)
    return [rule for _, rule in issues if not rule.startswith("mixed")]


def test_a_clean_corpus_is_usable_and_measured(tmp_path):
    write(tmp_path, "a.wav")
    write(tmp_path, "b.flac", np.tile(TONE, 2))
    manifest = manifest_of(
        tmp_path,
        {"audio": "a.wav", "duration_s": 1.0, "text": "ja", "sampling_rate_hz": RATE_HZ},
        {"audio": "b.flac", "duration_s": 1.99, "text": "정말 좋아요", "channels": 1},
    )
    done = []
    inspection = inspect_manifest(manifest, progress=lambda *counts: done.append(counts))
    assert (inspection.issues, inspection.verdict, inspection.num_utterances) == ((), "usable", 2)
    assert inspection.summary == "nothing is wrong with any of 2 utterances"
    assert inspection.seconds == pytest.approx(2.99)
    assert done[-1] == (2, 2)
    first = inspection.measures.row(0, named=True)
    assert first["rms_db"] == pytest.approx(10 * np.log10(np.mean(TONE**2)), abs=0.01)
    assert first["peak"] == pytest.approx(0.3, abs=1e-3)
    assert (first["seconds"], first["difference_s"], first["clipped_share"]) == (1, 0, 0)
    assert (first["sampling_rate_hz"], first["channels"]) == (RATE_HZ, 1)


def test_a_file_without_bytes_or_samples_is_empty(tmp_path):
    (tmp_path / "none.wav").write_bytes(b"")
    assert one_rule(tmp_path, audio="none.wav") == ["empty audio"]
    write(tmp_path, "empty.wav", np.zeros(0))
    assert one_rule(tmp_path, audio="empty.wav") == ["empty audio"]


def test_files_that_cannot_be_opened(tmp_path):
    (tmp_path / "text.wav").write_text("no audio at all")
    (tmp_path / "folder.wav").mkdir()
    assert one_rule(tmp_path, audio="text.wav") == ["unreadable audio"]
    assert one_rule(tmp_path, audio="nowhere.wav") == ["missing audio"]
    assert one_rule(tmp_path, audio="folder.wav") == ["missing audio"]
    assert one_rule(tmp_path, audio="../outside.wav") == ["path outside the corpus"]
    assert one_rule(tmp_path, audio="nul\0.wav") == ["unreadable audio"]


@pytest.mark.parametrize("name", ["a.wav", "a.aiff"])
def test_a_file_cut_in_half_is_truncated_although_its_header_is_mended(tmp_path, name):
    path = tmp_path / write(tmp_path, name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert one_rule(tmp_path, audio=name) == ["truncated audio"]
    assert one_rule(tmp_path, audio=name, duration_s=1.0) == ["truncated audio"]


def test_a_damaged_flac_is_unreadable_from_there(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 40 * RATE_HZ)
    path = tmp_path / write(tmp_path, "a.flac", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    chunks = [
        {"audio": "a.flac", "start_s": start_s, "duration_s": 2.0} for start_s in (0.0, 4.0, 30.0)
    ]
    assert rules(manifest_of(tmp_path, *chunks)) == [("c", "unreadable audio")]


def test_a_file_shorter_or_longer_than_the_manifest(tmp_path):
    write(tmp_path, "a.wav")
    assert one_rule(tmp_path, audio="a.wav", duration_s=1.05) == []
    assert one_rule(tmp_path, audio="a.wav", duration_s=1.2) == ["truncated audio"]
    assert one_rule(tmp_path, audio="a.wav", duration_s=0.8) == ["longer than listed"]
    assert one_rule(tmp_path, audio="a.wav", duration_s=0.5, start_s=0.2) == []
    assert one_rule(tmp_path, audio="a.wav", duration_s=0.5, start_s=2.0) == ["truncated audio"]
    assert one_rule(tmp_path, audio="a.wav", start_s=-1.0) == ["unusable times"]
    assert one_rule(tmp_path, audio="a.wav", duration_s=float("nan")) == ["unusable times"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_found_with_its_place(tmp_path, value):
    samples = np.tile(TONE, 20)
    samples[8_000 + 10 * RATE_HZ] = value
    write(tmp_path, "a.wav", samples, subtype="FLOAT")
    inspection = inspect_manifest(manifest_of(tmp_path, {"audio": "a.wav"}), num_workers=1)
    assert [issue.rule for issue in inspection.issues] == ["audio not finite"]
    assert inspection.issues[0].detail == "a sample is not finite at 10.500 s of the utterance"
    assert inspection.measures["rms_db"].to_list() == [None]
    json.dumps(inspection.to_json(), allow_nan=False)


def test_silence_is_found_as_a_whole_and_in_part(tmp_path):
    write(tmp_path, "a.wav", np.zeros(RATE_HZ))
    write(tmp_path, "b.wav", TONE * 1e-3)
    write(tmp_path, "c.wav", np.concatenate([TONE, np.zeros(2 * RATE_HZ)]))
    write(tmp_path, "d.wav", np.concatenate([TONE, np.zeros(RATE_HZ // 2)]))
    manifest = manifest_of(tmp_path, *({"audio": f"{name}.wav"} for name in "abcd"))
    inspection = inspect_manifest(manifest, num_workers=1)
    assert [(issue.utterance_id, issue.rule) for issue in inspection.issues] == [
        ("c", "mostly silent"),
        ("a", "silent audio"),
        ("b", "silent audio"),
    ]
    assert inspection.measures["silent_share"].to_list()[::2] == pytest.approx([1, 2 / 3], abs=0.01)
    assert inspection.measures["rms_db"][0] == -120
    assert rules(manifest, silence_db=-90.0) == [("c", "mostly silent"), ("a", "silent audio")]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8", "ULAW"])
def test_clipped_samples_are_counted(tmp_path, subtype):
    write(tmp_path, "a.wav", np.clip(TONE * 10, -1, 1), subtype=subtype)
    write(tmp_path, "b.wav", TONE, subtype=subtype)
    manifest = manifest_of(tmp_path, {"audio": "a.wav"}, {"audio": "b.wav"})
    inspection = inspect_manifest(manifest, num_workers=1)
    assert [(issue.utterance_id, issue.rule) for issue in inspection.issues] == [
        ("a", "clipped audio")
    ]
    fraction, none = inspection.measures["clipped_share"]
    assert fraction == pytest.approx(np.mean(np.abs(TONE * 10) >= 0.999), abs=0.01)
    assert none == 0
    assert rules(manifest, clipping_fraction=0.9) == []


def test_rates_and_channels_that_differ_within_the_corpus_or_from_the_manifest(tmp_path):
    write(tmp_path, "a.wav")
    write(tmp_path, "b.wav", rate_hz=44_100)
    write(tmp_path, "c.wav", np.stack([TONE, TONE], axis=1))
    rows = [{"audio": f"{name}.wav"} for name in "abca"]
    manifest = manifest_of(tmp_path, *rows)
    assert rules(manifest) == [
        ("a", "equal audio"),
        ("d", "equal audio"),
        ("c", "mixed channels"),
        ("b", "mixed sampling rates"),
        ("c", "several channels"),
    ]
    assert ("a", "other sampling rate") in rules(manifest, sampling_rate_hz=44_100)
    listed = {"sampling_rate_hz": 8_000, "channels": 2}
    assert rules(manifest_of(tmp_path, {"audio": "a.wav", **listed})) == [
        ("a", "channels not as listed"),
        ("a", "sampling rate not as listed"),
    ]


def test_400_samples_are_enough_and_399_are_not(tmp_path):
    write(tmp_path, "a.wav", TONE[:399])
    write(tmp_path, "b.wav", TONE[:400])
    assert rules(manifest_of(tmp_path, {"audio": "a.wav"}, {"audio": "b.wav"})) == [
        ("a", "very short audio")
    ]


def test_a_replaced_file_is_found_by_size_or_hash(tmp_path):
    content = (tmp_path / write(tmp_path, "a.wav")).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    size = len(content)
    assert one_rule(tmp_path, audio="a.wav", audio_bytes=size, audio_sha256=digest.upper()) == []
    assert one_rule(tmp_path, audio="a.wav", audio_bytes=size + 1) == ["audio changed"]
    write(tmp_path, "a.wav", -TONE)
    assert one_rule(tmp_path, audio="a.wav", audio_bytes=size) == []
    assert one_rule(tmp_path, audio="a.wav", audio_sha256=digest) == ["audio changed"]


def test_parts_of_a_long_file_are_measured_each_and_decoded_once(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "BLOCK", 5_000)
    loud = np.repeat(np.linspace(0.1, 0.9, 10), RATE_HZ)
    write(tmp_path, "long.wav", loud)
    starts = [7.0, 0.0, 2.0, 2.5, 9.0]
    manifest = manifest_of(
        tmp_path,
        *({"audio": "long.wav", "start_s": start_s, "duration_s": 1.0} for start_s in starts),
    )
    opened = []
    original = soundfile.SoundFile
    monkeypatch.setattr(soundfile, "SoundFile", lambda path: opened.append(path) or original(path))
    inspection = inspect_manifest(manifest, num_workers=1)
    assert len(opened) == 1
    assert inspection.issues == ()
    slices = [loud[round(start_s * RATE_HZ) :][:RATE_HZ] for start_s in starts]
    peaks = [samples.max() for samples in slices]
    loudness = [10 * np.log10(np.mean(samples**2)) for samples in slices]
    assert inspection.measures["peak"].to_list() == pytest.approx(peaks, abs=1e-4)
    assert inspection.measures["rms_db"].to_list() == pytest.approx(loudness, abs=0.01)
    assert inspection.measures["seconds"].to_list() == [1] * 5


def signal(folder, values, name="x.npy", **reference):
    np.save(folder / name, values, allow_pickle=True)
    return {"signals": [{"name": "eda", "path": name, **reference}]}


def test_signals_are_read_in_their_range(tmp_path):
    steps = np.arange(100.0)
    cases = {
        "unreadable signal": signal(tmp_path, np.array([{}]), "object.npy"),
        "signal too short": signal(tmp_path, steps, "short.npy", start=90, length=20),
        "signal not finite": signal(tmp_path, np.where(steps == 5, np.nan, steps), "nan.npy"),
        "constant signal": signal(tmp_path, np.ones((50, 2)), "flat.npy"),
        "missing signal": {"signals": [{"name": "eda", "path": "none.npy"}]},
        "path outside the corpus": {"signals": [{"name": "eda", "path": "../x.npy"}]},
    }
    for rule, row in cases.items():
        assert rules(manifest_of(tmp_path, row)) == [("a", rule)]
    sound = signal(tmp_path, np.where(steps == 5, np.nan, steps), start=6, length=94)
    assert rules(manifest_of(tmp_path, sound)) == []
    assert rules(manifest_of(tmp_path, signal(tmp_path, steps.astype(int)))) == []


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "words", "cube"])
def test_damaged_signal_files_are_unreadable(tmp_path, damage):
    values = {"words": np.array(["a", "b"]), "cube": np.zeros((2, 2, 2))}
    row = signal(tmp_path, values.get(damage, np.arange(100.0)))
    path = tmp_path / "x.npy"
    content = {"empty": b"", "cut": path.read_bytes()[:300], "text": b"1, 2, 3"}
    path.write_bytes(content.get(damage, path.read_bytes()))
    assert rules(manifest_of(tmp_path, row)) == [("a", "unreadable signal")]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (None, "no text"),
        (" \n", "empty text"),
        ("sch\ufffdn", "broken characters"),
        ("schön".encode().decode("latin-1"), "broken characters"),
        ("Straße".encode().decode("cp1252"), "broken characters"),
        ("정말 좋아요".encode("cp949").decode("latin-1"), "broken characters"),
        ("a\x00b", "control characters"),
        ("Schöne Grüße, SÃO é «ÂME» \u2013 it\u2019s “ok”\tÀ bientôt\nΩ 정말", None),
    ],
)
def test_texts(tmp_path, text, rule):
    issues = rules(manifest_of(tmp_path, {"text": text}, {"text": "ja"}))
    assert issues == ([("a", rule)] if rule else [])


def test_a_corpus_without_any_text_or_audio_lacks_nothing(tmp_path):
    assert rules(manifest_of(tmp_path, {"label": "joy"}, {"label": None})) == []
    write(tmp_path, "a.wav")
    issues = rules(manifest_of(tmp_path, {"audio": "a.wav"}, {"audio": None}, {"audio": ""}))
    assert issues == [("b", "no audio"), ("c", "no audio")]


def spoilt(folder):
    """Many files, some of them spoilt in several ways."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(150):
        name = write(folder, f"{number}.wav", rng.normal(0, 0.1, 2_000 + 10 * number))
        if number % 10 == 0:
            (folder / name).write_bytes((folder / name).read_bytes()[: 500 * (number % 3)])
        start_s = 0.05 if number % 7 == 0 else None
        row = {"audio": name, "start_s": start_s, "text": "" if number % 9 == 0 else "ja"}
        rows.append({"utterance_id": f"{number:03}", "speaker": "s", **row})
    return Manifest(pl.DataFrame(rows, infer_schema_length=None), folder)


def test_the_number_of_workers_and_the_order_of_rows_move_nothing(tmp_path):
    manifest = spoilt(tmp_path)
    expected = inspect_manifest(manifest, num_workers=1)
    assert expected.verdict == "not usable"
    for workers in (2, 3):
        inspection = inspect_manifest(manifest, num_workers=workers)
        assert inspection.issues == expected.issues
        assert inspection.measures.equals(expected.measures)
    turned = inspect_manifest(manifest.take(manifest.frame.reverse()), num_workers=3)
    assert turned.issues == expected.issues
    with pytest.raises(DataError, match="num_workers is 0"):
        inspect_manifest(manifest, num_workers=0)


def test_progress_grows_to_the_number_of_utterances(tmp_path):
    done = []
    inspect_manifest(spoilt(tmp_path), num_workers=3, progress=lambda *counts: done.append(counts))
    assert done == sorted(done)
    assert done[-1] == (150, 150)
    inspect_manifest(manifest_of(tmp_path, {}), progress=lambda *counts: done.append(counts))
    assert done[-1] == (1, 1)


def test_an_interrupt_ends_the_check(tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect_manifest(spoilt(tmp_path), num_workers=2, progress=stop)


def test_verdicts_and_json(tmp_path):
    write(tmp_path, "a.wav")
    warned = manifest_of(tmp_path, {"text": " "}, {"text": "ja", "audio": "a.wav"})
    inspection = inspect_manifest(warned)
    assert inspection.verdict == "usable with warnings"
    assert inspection.summary == "1 of 2 utterances have a warning (empty text 1, no audio 1)"
    rows = [{"audio": f"{number}.wav"} for number in range(130)]
    ids = [
        {"utterance_id": f"{number:03}", "speaker": "s", **row} for number, row in enumerate(rows)
    ]
    inspection = inspect_manifest(Manifest(pl.DataFrame(ids), tmp_path))
    assert inspection.verdict == "not usable"
    assert inspection.summary == "130 of 130 utterances have a fault (missing audio 130)"
    values = json.loads(json.dumps(inspection.to_json(), allow_nan=False))
    assert values["rules"]["missing audio"]["count"] == 130
    assert len(values["rules"]["missing audio"]["examples"]) == 100
    assert values["distributions"]["seconds"] == {"count": 0}
    assert distribution(pl.Series([1.0, 2.0, 3.0]))["median"] == 2


def test_classes_are_counted_and_absent_ones_named(tmp_path):
    labels = ["joy", "joy", "anger", None, "anger", "joy"]
    rows = [{"label": label, "speaker": f"s{index % 3}"} for index, label in enumerate(labels)]
    manifest = manifest_of(tmp_path, *rows)
    split = pl.Series(["test", "train", "train", "train", "train", None])
    table = class_table(manifest, split)
    assert table.splits == ["train", "test", "(none)"]
    assert table.labels == ["anger", "joy", "(none)"]
    assert table.totals("label", "split")["anger", "train"] == 2
    assert table.missing == (("anger", "test"),)
    assert sum(table.totals("speaker").values()) == 6
    small = table.top_speakers(1)
    assert small.totals("speaker") == {("(others)",): 4, ("s0",): 2}
    assert small.totals("label", "split") == table.totals("label", "split")
    assert class_table(manifest).splits == ["all"]
    assert inspect_manifest(manifest).to_json(table)["classes"]["absent"] == [
        {"label": "anger", "split": "test"}
    ]
    with pytest.raises(ManifestError, match="2 rows have a split"):
        class_table(manifest, pl.Series(["train", "test"]))
