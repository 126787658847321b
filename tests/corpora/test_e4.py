"""Raw Empatica E4 folders: windows within labelled intervals."""

import numpy as np
import pytest

from polymodal.corpora.e4 import read_e4, read_recording
from polymodal.data.signals import SignalReader
from polymodal.errors import ManifestError

START = 1_600_000_000


def recording(values, rate=4):
    return f"{START}.000000\n{rate}.000000\n" + "".join(f"{value}\n" for value in values)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "corpus"
    for person in ("S1", "S2", "S3"):
        (folder / person).mkdir(parents=True)
        (folder / person / "EDA.csv").write_text(recording(range(400)))
        (folder / person / "TEMP.csv").write_text("\ufeff" + recording(range(400)))
        beats = "".join(f"{at}.5,0.8\n" for at in range(0, 100, 2))
        (folder / person / "IBI.csv").write_text(f"{START}.000000, IBI\n{beats}")
    table = (
        f"subject,start,end,label\nS1,{START + 10},{START + 55},stress\nS1,{START},{START + 9},x\n"
    )
    (folder / "intervals.csv").write_text(table + f"S2,{START + 60},{START + 100},baseline\n")
    return folder


def read(root, **options):
    given = {"window_s": 20, "signals": ["EDA", "TEMP", "IBI"], **options}
    return read_e4(str(root), prepared=str(root.parent / "cut"), **given)


def test_only_whole_windows_within_an_interval_are_taken(root):
    manifest = read(root)
    assert manifest.frame["utterance_id"].to_list() == [
        f"S1-{START + 10}",
        f"S1-{START + 30}",
        f"S2-{START + 60}",
        f"S2-{START + 80}",
    ]
    assert manifest.frame["label"].to_list() == ["stress", "stress", "baseline", "baseline"]
    assert manifest.frame["speaker"].to_list() == ["S1", "S1", "S2", "S2"]
    assert manifest.handled == {"person without a labelled interval": 1}
    assert len(read(root, step_s=5)) == 6 + 5


def test_each_window_has_its_own_samples(root):
    manifest = read(root)
    signals = SignalReader(manifest.signals_root)(manifest.utterance(1))
    eda, rate_hz = signals["eda"]
    assert rate_hz == 4
    assert eda.tolist() == list(range(120, 200))
    beats, none = signals["ibi"]
    assert none is None
    np.testing.assert_allclose(beats[0], [0.5, 0.8])
    assert beats[:, 0].max() < 20
    assert len(beats) == 10


def test_signals_that_end_early_or_lack_beats_leave_a_hole(root):
    (root / "S2" / "EDA.csv").write_text(recording(range(350)))
    (root / "S2" / "IBI.csv").write_text(f"{START}.000000, IBI\n")
    (root / "S2" / "TEMP.csv").unlink()
    with pytest.raises(ManifestError, match="window without a signal: baseline"):
        read(root)
    manifest = read(root, max_refused=1)
    assert [signal["name"] for signal in manifest.frame["signals"][2]] == ["eda"]
    assert manifest.handled["window without TEMP"] == 2
    assert manifest.handled["window without EDA"] == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [("EDA.csv", "no number\n4\n1\n"), ("EDA.csv", "1\n"), ("IBI.csv", "1, IBI\n1\n2\n3\n")],
)
def test_a_file_that_is_no_recording_is_named(root, name, text):
    (root / "S1" / name).write_text(text)
    with pytest.raises(ManifestError, match=f"{name} is not a recording"):
        read_recording(root / "S1" / name)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("subject,start,stop,label\n", "no column 'end'"),
        ("subject,start,end,label\nS1,now,2,x\n", "row 1: start is 'now'"),
        ("subject,start,end,label\nS1,1,inf,x\n", "row 1: start is '1', end is 'inf'"),
        ("subject,start,end,label\n,1,2,x\n", "row 1: subject is ''"),
        ("subject,start,end,label\n..,1,2,x\n", "row 1: subject is '..'"),
        ("subject,start,end,label\n/tmp,1,2,x\n", "row 1: subject is '/tmp'"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(root, table, message):
    (root / "intervals.csv").write_text(table)
    with pytest.raises(ManifestError, match=message):
        read(root)


def test_lengths_must_be_positive(root):
    with pytest.raises(ManifestError, match="above 0"):
        read(root, window_s=0)


def test_the_real_corpus_gives_the_reference_windows(test_data, tmp_path):
    import polars as pl

    folder = test_data / "stress_predict_e4"
    manifest = read_e4(str(folder), prepared=str(tmp_path / "cut"))
    windows = pl.read_csv(folder / "windows60.csv")
    names = windows.select(pl.format("{}-{}", "subject", "start")).to_series()
    assert set(names) == set(manifest.frame["utterance_id"])
    row = windows.row(900, named=True)
    position = manifest.frame["utterance_id"].to_list().index(f"{row['subject']}-{row['start']}")
    eda, _ = SignalReader(manifest.signals_root)(manifest.utterance(position))["eda"]
    assert float(eda.mean()) == pytest.approx(row["eda_mean"], rel=1e-5)
    assert manifest.handled["window without IBI"] == 200


def test_other_windows_of_a_recording_do_not_touch_those_before(root):
    before = read(root)
    samples = SignalReader(before.signals_root)(before.utterance(1))["eda"][0].tolist()
    after = read(root, step_s=5)
    second = SignalReader(after.signals_root)(after.utterance(1))["eda"][0].tolist()
    assert second == list(range(60, 140))  # from 15 s on, at 4 Hz
    assert SignalReader(before.signals_root)(before.utterance(1))["eda"][0].tolist() == samples


def test_a_missing_table_is_asked_for_by_its_own_option(root):
    (root / "intervals.csv").unlink()
    with pytest.raises(ManifestError, match=r"corpus\.intervals=FILE"):
        read(root)
