"""Faults of data, each survived or refused by name (numbers as in the list of 62 faults).

19 unreadable audio    cli/test_bad_input          30 duplicate ids      corpora/test_table
20 zero samples, silence              here         31 speaker shared     data/test_splits
21 truncated           data/test_reading, here     32 dialogue shared    data/test_leaks
22 NaN samples         data/test_reading, here     33 class absent                  here
23 other sampling rate                here         34 encodings                     here
24 stereo                             here         35 ids stay text                 here
25 too short           encoders/test_logmel        36 stale features     features/test_cache
26 masks               layers/test_masks           37 paths that leave   safety/test_paths
27 empty transcript                   here         38 replaced file                 here
28 missing modality    assemble/test_task_runs     39 joined by id       voting/test_soft
29 label as boolean                   here         59 pickles, objects              here
"""

import json
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from polymodal.corpora.table import read_table
from polymodal.data.audio import AudioReader
from polymodal.data.signals import SignalReader
from polymodal.errors import DataError, ManifestError
from polymodal.schemas.manifest import Utterance
from polymodal.schemas.predictions import PredictionTable

RUN = ["encoder=logmel", "model=unimodal", "debug=fast", "tracker=none", "split.val=0"]


def corpus(folder, num=6, *, rate_hz=16000, channels=1, label="ab"):
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["audio,speaker,label"]
    for number in range(num):
        shape = (rate_hz // 2, channels)
        soundfile.write(folder / f"{number}.wav", rng.normal(0, 0.1, shape), rate_hz)
        lines.append(f"{number}.wav,s{number % 3},{label[number % len(label)]}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return ["corpus=table", f"corpus.root={folder}", "corpus.classes=[a,b]", "callbacks=last"]


def checked(polymodal, folder):
    """Rules that `corpus check` names, and its exit code."""
    assert polymodal("corpus", "table", str(folder), "--out", "m.parquet")[0] == 0
    return lambda: (
        polymodal("corpus", "check", "m.parquet")[0],
        json.loads(Path("m.check/check.json").read_text()),
    )


def test_20_zero_samples_are_refused_and_silence_is_told(polymodal, workplace):
    corpus(workplace / "c")
    soundfile.write(workplace / "c/0.wav", np.zeros(0), 16000)
    soundfile.write(workplace / "c/1.wav", np.zeros(8000), 16000)
    with pytest.raises(ManifestError, match=r"empty audio: 0\.wav has no sample"):
        read_table(str(workplace / "c"))
    code, found = checked(polymodal, workplace / "c")()
    assert code == 0
    assert "silent" in json.dumps(found)


def test_21_22_cut_and_broken_samples_are_faults(polymodal, workplace):
    corpus(workplace / "c")
    check = checked(polymodal, workplace / "c")
    whole = (workplace / "c/0.wav").read_bytes()
    (workplace / "c/0.wav").write_bytes(whole[: len(whole) // 2])
    soundfile.write(workplace / "c/1.wav", np.array([0.1, np.nan] * 4000), 16000, subtype="FLOAT")
    code, found = check()
    assert code == 2
    words = json.dumps(found).lower()
    assert "truncated" in words
    assert "nan" in words or "not finite" in words


@pytest.mark.parametrize(("rate_hz", "channels"), [(44100, 1), (16000, 2)])
def test_23_24_other_rates_and_channels_are_converted_and_recorded(
    polymodal, workplace, rate_hz, channels
):
    table = corpus(workplace / "c", rate_hz=rate_hz, channels=channels)
    code, _, error = polymodal("run", *table, *RUN)
    assert code == 0, error
    (record,) = workplace.glob("runs/*/run.json")
    data = json.loads(record.read_text())["data"]
    assert data["resampled"] == {f"{rate_hz} Hz, {channels} channels": 6}
    waveform = AudioReader(workplace / "c")(Utterance("u", "s", audio="0.wav"))
    assert waveform.shape == (8000,)


def test_27_an_empty_transcript_is_missing_not_gone(tmp_path):
    (tmp_path / "manifest.csv").write_text("utterance_id,speaker,text\na,s,\nb,s,  \nc,s,ja\n")
    manifest = read_table(str(tmp_path))
    assert [manifest.utterance(row).text for row in range(3)] == [None, None, "ja"]


@pytest.mark.parametrize("label", ["no", "NA", "7", "null", "true", "1e5"])
def test_29_35_labels_and_ids_stay_the_text_they_are(tmp_path, label):
    (tmp_path / "manifest.csv").write_text(f"utterance_id,speaker,label\n001,01,{label}\n")
    row = read_table(str(tmp_path)).frame.row(0, named=True)
    assert (row["utterance_id"], row["speaker"], row["label"]) == ("001", "01", label)
    with pytest.raises(ManifestError, match=f"unknown label: '{label}'"):
        read_table(str(tmp_path), classes=["joy"])


def test_33_a_class_that_a_part_lacks_is_told_and_counts_as_zero(polymodal, workplace):
    table = corpus(workplace / "c", num=9, label="aab")  # class b is speaker s2 alone
    code, _, error = polymodal("run", *table, *RUN, "split=leave_one_out", "split.val=0")
    assert code == 0, error
    assert "no utterance of the test part has the class" in error
    (record,) = workplace.glob("runs/*/run.json")
    told = json.loads(record.read_text())["data"]["absent_classes"]
    assert told == {"train": ["b"], "test": ["a", "b"]}


@pytest.mark.parametrize(
    ("raw", "options"),
    [
        ("utterance_id,speaker,text\na,s,화가 나\n".encode("cp949"), {"encoding": "cp949"}),
        ("\ufeffutterance_id,speaker,text\na,s,화가 나\n".encode(), {}),
        ("utterance_id,speaker,text\r\na,s,화가 나\r\n".encode(), {}),
    ],
)
def test_34_text_is_read_in_its_encoding(tmp_path, raw, options):
    (tmp_path / "manifest.csv").write_bytes(raw)
    assert read_table(str(tmp_path), **options).frame["text"].to_list() == ["화가 나"]


def test_34_another_encoding_is_told_and_a_line_break_in_a_cell_stays(tmp_path):
    (tmp_path / "manifest.csv").write_bytes(
        "utterance_id,speaker,text\na,s,화가 난다\n".encode("cp949")
    )
    with pytest.raises(ManifestError, match=r"corpus\.encoding=cp949"):
        read_table(str(tmp_path))
    (tmp_path / "manifest.csv").write_text('utterance_id,speaker,text\na,s,"one\ntwo"\nb,s,x\n')
    assert read_table(str(tmp_path)).frame["text"].to_list() == ["one\ntwo", "x"]


def test_38_a_replaced_file_is_named(workplace):
    corpus(workplace / "c")
    manifest = read_table(str(workplace / "c"))
    soundfile.write(workplace / "c/0.wav", np.zeros(9999), 16000)
    with pytest.raises(DataError, match=r"'0'.*bytes, not the 16044 of the manifest"):
        AudioReader(manifest.root)(manifest.utterance(0))


def test_59_objects_and_pickles_are_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.mkdir, (tmp_path / "marker",)

    np.save(tmp_path / "object.npy", np.array([Bomb()], dtype=object))
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Bomb()))
    for name in ("object.npy", "pickle.npy"):
        (tmp_path / "manifest.csv").write_text(
            f"utterance_id,speaker,signal_eda,signal_eda_rate_hz\na,s,{name},4\n"
        )
        manifest = read_table(str(tmp_path))
        with pytest.raises(DataError, match="cannot be read"):
            SignalReader(tmp_path)(manifest.utterance(0))
    assert not (tmp_path / "marker").exists()


def test_62_formulas_in_exported_cells_stay_words(tmp_path):
    names = ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "plain"]
    logits = np.eye(6, 2, dtype=np.float32)
    table = PredictionTable.from_logits(names, logits, np.zeros(6, np.int64), "ab", split="test")
    table.write(tmp_path / "table.csv")
    written = pl.read_csv(tmp_path / "table.csv")["utterance_id"].to_list()
    assert written == [f"'{name}" for name in names[:-1]] + ["plain"]
    table.write(tmp_path / "table.parquet")
    assert PredictionTable.read(tmp_path / "table.parquet").frame["utterance_id"].to_list() == names
