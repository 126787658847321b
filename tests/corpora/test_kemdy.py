"""KEMDy19 and KEMDy20: every oddity of the corpora, on trees that are synthetic."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from benchmarks.kemdy_tree import Layout, write_csv, write_kemdy19, write_kemdy20

from polymodal.corpora.kemdy import read_kemdy19, read_kemdy20
from polymodal.errors import ManifestError

F001, M001 = "Sess01_script01_F001", "Sess01_script01_M001"
U001 = "Sess01_script01_User001F_001"


def read19(root, **options):
    return read_kemdy19(str(root), prepared=str(root.parent / "cut"), **options)


def read20(root, **options):
    return read_kemdy20(str(root), prepared=str(root.parent / "cut"), **options)


def one(manifest, name):
    rows = manifest.frame.filter(manifest.frame["utterance_id"] == name)
    assert rows.height == 1, f"{name} stands in {rows.height} rows"
    return rows.row(0, named=True)


def rewrite(path, change):
    with path.open(encoding="utf-8", newline="") as file:
        rows = [list(row) for row in csv.reader(file)]
    write_csv(path, change(rows) or rows)


def table19(root, letter="F"):
    return root / f"annotation/Session01_{letter}_res.csv"


def row_of(rows, segment):
    return next(row for row in rows if segment in row)


def values(manifest, name, signal):
    reference = {s["name"]: s for s in one(manifest, name)["signals"]}[signal]
    stored = np.load(manifest.signals_root / reference["path"])
    return stored[reference["start"] : reference["start"] + reference["length"]], reference


@pytest.fixture
def tree19(tmp_path):
    return write_kemdy19(tmp_path, sessions=1)


@pytest.fixture
def tree20(tmp_path):
    return write_kemdy20(tmp_path, sessions=2)


def test_a_clean_tree_of_19_is_read_whole(tree19):
    manifest = read19(tree19)
    assert len(manifest) == 40
    assert not manifest.refused
    assert set(manifest.frame["speaker"]) == {"Sess01F", "Sess01M"}
    assert manifest.frame["dialogue"].n_unique() == 10
    assert manifest.frame["signals"].list.len().to_list() == [3] * 40
    row = one(manifest, F001)
    assert (row["gender"], row["session"], row["scenario"]) == ("female", "Sess01", "script01")
    assert row["audio"] == f"wav/Session01/Sess01_script01/{F001}.wav"
    assert sum(vote["count"] for vote in row["votes"]) == 10
    assert 1 <= row["valence"] <= 5
    assert 1 <= row["arousal"] <= 5


def test_a_clean_tree_of_20_is_read_whole(tree20):
    manifest = read20(tree20)
    assert len(manifest) == 48
    assert set(manifest.frame["speaker"]) == {"User001F", "User002M", "User003F", "User004M"}
    assert set(manifest.frame["label"].drop_nulls()) <= {
        *("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    }
    assert manifest.handled["disqust for disgust"] > 0
    assert manifest.handled["text in cp949"] == 48
    row = one(manifest, U001)
    assert row["text_raw"] == "b/ 그래 알았어* o/ (아니 0)"
    assert row["text"] == "그래 알았어 아니 0"
    assert {s["name"]: s["rate_hz"] for s in row["signals"]} == {
        "eda": 4.0,
        "temp": 4.0,
        "ibi": None,
    }


@pytest.mark.parametrize(
    ("brackets", "text"),
    [("content", "그래 알았어 아니 0"), ("drop", "그래 알았어"), ("keep", "그래 알았어 (아니 0)")],
)
def test_marks_go_and_cut_speech_goes_as_asked(tree19, brackets, text):
    assert one(read19(tree19, brackets=brackets), F001)["text"] == text


def test_the_row_of_the_speakers_own_file_is_the_speakers_emotion(tree19):
    def say(emotion):
        def change(rows):
            for row in rows[2:]:
                row[10] = emotion

        return change

    rewrite(table19(tree19, "F"), say("happy"))
    rewrite(table19(tree19, "M"), say("sad"))
    speakers, theirs = read19(tree19), read19(tree19, perspective="listener")
    assert (one(speakers, F001)["label"], one(speakers, M001)["label"]) == ("happy", "sad")
    assert (one(theirs, F001)["label"], one(theirs, M001)["label"]) == ("sad", "happy")
    assert len(speakers) == len(theirs) == 40


def test_a_tie_has_no_label_but_its_votes_and_words(tree19):
    def change(rows):
        row = row_of(rows, F001)
        row[10] = "angry; neutral"
        row[13::3] = ["angry"] * 5 + ["neutral"] * 5

    rewrite(table19(tree19), change)
    manifest = read19(tree19)
    row = one(manifest, F001)
    assert row["label"] is None
    assert row["label_raw"] == "angry;neutral"
    assert row["votes"] == [{"label": "angry", "count": 5}, {"label": "neutral", "count": 5}]
    assert manifest.handled["tie"] == 1


def test_a_label_against_its_votes_is_counted(tree19):
    def change(rows):
        row = row_of(rows, F001)
        row[10], row[13::3] = "fear", ["sad"] * 10

    rewrite(table19(tree19), change)
    assert read19(tree19).handled["label that is not the majority of the votes"] == 1


@pytest.mark.parametrize(
    "layout",
    [
        Layout(heads=("감정", "긍부정", "각성"), encoding="cp949"),
        Layout(heads=("emotion ", "VALENCE", "arousal_"), encoding="utf-8-sig"),
        Layout(time=lambda at_s: f"{1_601_546_400 + at_s:.3f}"),
        Layout(time=lambda at_s: f"{(1_601_546_400 + at_s) * 1000:.0f}"),
        Layout(time=lambda at_s: f"20191001T10:{int(at_s // 60):02d}:{at_s % 60:06.3f}"),
        Layout(ecg_rate_hz=500),
        Layout(ecg_has_time=False),
    ],
)
def test_no_guess_about_the_layout_is_needed(tmp_path, layout):
    (tmp_path / "usual").mkdir()
    expected = read19(write_kemdy19(tmp_path / "usual", sessions=1))
    (tmp_path / "other").mkdir()
    result = read19(write_kemdy19(tmp_path / "other", sessions=1, layout=layout))
    columns = ["utterance_id", "label", "votes", "valence", "arousal", "text", "duration_s"]
    assert result.frame.select(columns).equals(expected.frame.select(columns))
    for kind, rate_hz in (("eda", 4.0), ("temp", 4.0), ("ecg", layout.ecg_rate_hz)):
        samples, reference = values(result, F001, kind)
        assert reference["rate_hz"] == rate_hz
        assert np.abs(samples).max() < 6  # no time was taken for a value
        assert len(samples) == max(1, int(one(result, F001)["duration_s"] * rate_hz))


def test_arousal_before_valence_is_seen_in_the_header(tree19):
    def change(rows):
        rows[1][11], rows[1][12] = "Arousal", "Valence"

    before = one(read19(tree19), F001)
    rewrite(table19(tree19), change)
    after = one(read19(tree19), F001)
    assert (after["valence"], after["arousal"]) == (before["arousal"], before["valence"])


def test_a_rate_that_nothing_tells_is_assumed_and_counted(tmp_path):
    layout = Layout(time=lambda at_s: "?")
    manifest = read19(write_kemdy19(tmp_path, sessions=1, layout=layout))
    assert values(manifest, F001, "ecg")[1]["rate_hz"] == 250
    assert manifest.handled["ECG table whose rate is assumed"] == 2


def test_samples_outside_segments_and_of_the_partner_are_left_out(tree19):
    manifest = read19(tree19)
    seconds = one(manifest, M001)["duration_s"]
    samples, reference = values(manifest, M001, "eda")
    assert reference["path"].endswith("Sess01M.npy")
    assert len(samples) == max(1, int(seconds * 4))
    assert 0.5 not in samples


def test_heart_beats_count_from_the_first_of_the_segment(tree20):
    samples, reference = values(read20(tree20), U001, "ibi")
    np.testing.assert_allclose(samples, [[0, 0.8], [0.3, 0.3]], atol=1e-6)
    assert reference["rate_hz"] is None


def test_empty_and_missing_signal_tables_leave_a_hole(tree20):
    name = "Sess01_script01_User001F.csv"
    (tree20 / "IBI/Session01" / name).write_bytes(b"")
    (tree20 / "TEMP/Session01" / name).unlink()
    eda = tree20 / "EDA/Session01" / name
    eda.write_text(eda.read_text().replace(eda.read_text().split("\n")[2].split(",")[0], "nan", 1))
    manifest = read20(tree20)
    assert [one_signal["name"] for one_signal in one(manifest, U001)["signals"]] == ["eda"]
    assert manifest.handled["IBI table without a row in a segment"] == 1
    assert manifest.handled["EDA sample that is not finite"] == 1


def test_a_dialogue_without_signals_is_counted(tree19):
    for kind in ("EDA", "TEMP", "ECG"):
        for letter in "FM":
            path = tree19 / f"{kind}/Session01/Original/Sess01{letter}.csv"
            rewrite(path, lambda rows: [r for r in rows if "Sess01_impro03" not in r[-1]])
    manifest = read19(tree19)
    assert manifest.handled["no signals"] == 4
    assert one(manifest, "Sess01_impro03_F001")["signals"] is None


def test_missing_files_are_refused_only_where_nothing_is_left(tree19):
    folder = tree19 / "wav/Session01/Sess01_script01"
    (folder / f"{F001}.wav").unlink()
    (folder / f"{F001}.txt").unlink()
    (folder / f"{M001}.wav").unlink()
    (folder / "Sess01_script01_F002.txt").write_bytes(b"")
    (folder / "Sess01_script01_F099.wav").write_bytes(b"RIFF")
    with pytest.raises(ManifestError, match=f"neither wav nor txt: {F001}"):
        read19(tree19)
    manifest = read19(tree19, max_refused=1)
    assert manifest.rejected_by_rule() == {"neither wav nor txt": 1}
    assert one(manifest, M001)["audio"] is None
    assert one(manifest, "Sess01_script01_F002")["text"] is None
    assert manifest.handled["no wav"] == 1
    assert manifest.handled["no text"] == 1
    assert manifest.handled["audio without an annotation"] == 1


def test_text_in_any_encoding_with_a_mark_before_it(tree19):
    folder = tree19 / "wav/Session01/Sess01_script01"
    (folder / f"{F001}.txt").write_bytes("\ufeff어 그래\r\n".encode())
    (folder / f"{M001}.txt").write_bytes("어 그래\n".encode("cp949"))
    (folder / "Sess01_script01_F002.txt").write_bytes(b"\xff\xfe\xff")
    manifest = read19(tree19)
    assert one(manifest, F001)["text"] == one(manifest, M001)["text"] == "어 그래"
    assert one(manifest, "Sess01_script01_F002")["text"] is None
    assert manifest.handled["text in cp949"] == 1
    assert manifest.handled["text that is neither UTF-8 nor cp949"] == 1


def test_the_prefix_of_another_session_is_mended(tree20):
    path = tree20 / "annotation/Sess02_eval.csv"
    path.write_text(path.read_text().replace("Sess02_", "Sess01_"))
    manifest = read20(tree20)
    assert len(manifest) == 48
    assert not manifest.refused
    assert manifest.handled["id with the prefix of another session"] == 24
    assert manifest.frame["session"].value_counts().sort("session")["count"].to_list() == [24, 24]


def test_an_id_with_the_partners_letter_is_mended_by_the_length_of_its_audio(tmp_path):
    root = write_kemdy19(tmp_path, sessions=1, layout=Layout(utterance_s=(0.4, 4)))

    def change(rows):
        row_of(rows, F001)[9] = M001  # so M001 stands twice, and F001 not at all

    rewrite(table19(root), change)
    manifest = read19(root)
    assert len(manifest) == 40
    assert manifest.handled["id with the partner's letter"] == 1
    assert one(manifest, F001)["speaker"] == "Sess01F"


def test_where_both_lengths_fit_nothing_is_guessed(tree19):
    def change(rows):
        first, second = row_of(rows, F001), row_of(rows, M001)
        first[9] = M001
        first[1:3] = second[1:3]

    rewrite(table19(tree19), change)
    manifest = read19(tree19)
    assert F001 not in set(manifest.frame["utterance_id"])
    assert manifest.handled["audio without an annotation"] == 1


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [(10, "joyful", "unknown emotion"), (13, "???", "unknown emotion"), (9, "x", "no segment id")],
)
def test_rows_that_make_no_sense_are_refused_by_rule(tree19, column, value, rule):
    def change(rows):
        row_of(rows, F001)[column] = value

    rewrite(table19(tree19), change)
    with pytest.raises(ManifestError, match=rule):
        read19(tree19)
    assert read19(tree19, max_refused=1).rejected_by_rule() == {rule: 1}


def test_a_wrong_folder_is_told(tmp_path, tree20):
    with pytest.raises(ManifestError, match="there is no folder of KEMDy19"):
        read19(tmp_path / "KEMDy20_v1_1" / "wav")
    with pytest.raises(ManifestError, match="holds no segment id"):
        read19(tree20)


def test_equal_trees_make_equal_bytes_whatever_the_order_of_rows(tmp_path):
    written = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        root = write_kemdy19(folder, sessions=1)
        if number:
            for letter in "FM":
                rewrite(table19(root, letter), lambda rows: rows[:2] + rows[:1:-1])
        read19(root).write(folder / "m.parquet")
        written.append((folder / "m.parquet").read_bytes())
    assert written[0] == written[1]


def test_signals_are_cut_once_and_again_when_their_table_changes(tree19):
    before, _ = values(read19(tree19), F001, "eda")
    cut = tree19.parent / "cut/EDA/Session01/Original/Sess01F.npy"
    mtime_ns = cut.stat().st_mtime_ns
    read19(tree19)
    assert cut.stat().st_mtime_ns == mtime_ns
    path = tree19 / "EDA/Session01/Original/Sess01F.csv"
    path.write_text(path.read_text().replace(f"{before[0]:.5f}", "9.00000", 1) + "\n")
    assert values(read19(tree19), F001, "eda")[0][0] == 9
    cut.write_bytes(cut.read_bytes()[:-4])  # a damaged cut is made again
    assert values(read19(tree19), F001, "eda")[0][0] == 9


def test_a_tree_of_the_reference_writer(tmp_path, repository_root):
    writer = repository_root.parent / "shared/tools/make_kemdy_synth.py"
    if not writer.is_file():
        pytest.skip("the reference writer is not here")
    subprocess.run([sys.executable, str(writer), str(tmp_path), "2", "3"], check=True)
    manifest = read19(tmp_path / "KEMDy19", max_refused=1)
    assert len(manifest) == 79
    assert manifest.rejected_by_rule() == {"neither wav nor txt": 1}
    assert {"tie": 1, "no signals": 4, "no text": 1}.items() <= manifest.handled.items()
    manifest = read20(tmp_path / "KEMDy20_v1_1")
    assert len(manifest) == 72
    assert manifest.handled["id with the prefix of another session"] == 24
    assert manifest.handled["IBI table without a row in a segment"] == 1


def test_a_row_that_stands_twice_is_kept_once(tree20):
    path = tree20 / "annotation/Sess01_eval.csv"
    rewrite(path, lambda rows: [*rows, rows[5]])
    manifest = read20(tree20, max_refused=1)
    assert len(manifest) == 48
    assert manifest.rejected_by_rule() == {"duplicate row": 1}
    assert manifest.frame["signals"].null_count() == 0


def test_two_processes_may_cut_at_once(tree19):
    code = "import sys; from polymodal.corpora.kemdy import read_kemdy19 as r; "
    code += "r(sys.argv[1], prepared=sys.argv[2])"
    command = [sys.executable, "-c", code, str(tree19), str(tree19.parent / "cut")]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert not list((tree19.parent / "cut").rglob(".*"))
