"""Tables as researchers have them: paths, separators, ids and cells that differ from ours."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from polymodal.corpora.table import read_table
from polymodal.corpora.validation.inspection import inspect_manifest
from polymodal.data.splits import from_file
from polymodal.errors import ManifestError, RejectedRowsError

RATE_HZ = 16_000


def clip(path, duration_s=0.1, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0, 0.1, round(duration_s * RATE_HZ))
    soundfile.write(path, samples, RATE_HZ)
    return path


def write(folder, *lines, name="manifest.csv"):
    (folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
    return str(folder)


def rules(manifest):
    return [(row.row, row.rule) for row in manifest.refused]


def test_absolute_paths_below_the_root_are_taken(tmp_path):
    root, inside = tmp_path / "root", clip(tmp_path / "root" / "a.wav")
    outside = clip(tmp_path / "other" / "b.wav")
    link = tmp_path / "link"
    link.symlink_to(root)
    lines = ["audio,speaker", f"{inside},s", f"{outside},s", f"{root}/../other/b.wav,s"]
    manifest = read_table(write(root, *lines), max_refused=None)
    assert manifest.frame["audio"].to_list() == ["a.wav"]
    assert rules(manifest) == [(2, "path outside the corpus"), (3, "path outside the corpus")]
    assert str(outside) in manifest.refused[0].reason
    assert len(read_table(str(link), max_refused=None)) == 1
    signals = ["utterance_id,speaker,signal_eda,signal_eda_rate_hz", f"a,s,{root}/eda.npy,4"]
    reference = read_table(write(root, *signals)).utterance(0).signals["eda"]
    assert reference.path == "eda.npy"


def test_paths_are_relative_to_a_prefix(tmp_path):
    absolute = clip(tmp_path / "deep" / "wavs" / "a.wav")
    root = write(tmp_path, "audio,speaker", "a.wav,s", f"{absolute},t")
    manifest = read_table(root, audio_prefix="deep/wavs", max_refused=None)
    assert set(manifest.frame["audio"]) == {"deep/wavs/a.wav"}
    with pytest.raises(ManifestError, match="audio_prefix=dep: there is no folder"):
        read_table(root, audio_prefix="dep")


def test_the_error_of_a_corpus_without_a_usable_row_has_the_reasons(tmp_path):
    clip(tmp_path / "short.wav")
    lines = [f"{number}.wav,s,," for number in range(5)]
    root = write(
        tmp_path, "audio,speaker,duration_s,text", *lines, "short.wav,s,9,", "short.wav,,,"
    )
    with pytest.raises(RejectedRowsError) as caught:
        read_table(root, max_refused=None)
    message = str(caught.value)
    assert (
        "7 rows were rejected:\n  5 x missing audio\n  1 x audio too short\n  1 x no speaker"
        in (message)
    )
    assert message.count("  row ") == 3
    assert "row 1: missing audio: there is no file 0.wav" in message
    assert len(caught.value.refused) == 7


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "T.CSV"])
def test_separators_are_told_by_the_header(tmp_path, separator, name):
    lines = [["utterance_id", "speaker", "label", "text"], ["a", "s1", "joy", "well; no, never"]]
    text = [separator.join(f'"{cell}"' for cell in line) for line in lines]
    frame = read_table(write(tmp_path, *text, name=name), file=name).frame
    assert frame.select("utterance_id", "label", "text").row(0) == ("a", "joy", "well; no, never")


def test_folds_of_a_table_may_have_other_separators(tmp_path):
    frame = pl.DataFrame({"utterance_id": ["a", "b"], "speaker": ["s", "t"], "text": ["x", "y"]})
    frame.write_csv(tmp_path / "manifest.csv")
    manifest = read_table(str(tmp_path))
    for name, separator in (("f.csv", ";"), ("f.tsv", "\t")):
        lines = [
            separator.join(line) for line in (["speaker", "split"], ["s", "train"], ["t", "test"])
        ]
        write(tmp_path, *lines, name=name)
        fold = from_file(manifest, file=str(tmp_path / name))[0]
        assert fold.assignment == {"speaker": {"s": "train", "t": "test"}}


def test_ids_come_from_file_names_where_these_are_unique(tmp_path):
    for name in ("s1/1.wav", "s2/1.wav", "s2/2.wav"):
        clip(tmp_path / name)
    root = write(tmp_path, "audio,speaker", "s1/1.wav,s1", "s2/1.wav,s2", "s2/2.wav,s2")
    manifest = read_table(root)
    assert manifest.frame["utterance_id"].to_list() == ["2", "s1/1", "s2/1"]
    assert manifest.handled == {
        "id made from the path of its audio file": 2,
        "id made from the stem of its audio file": 1,
    }


def test_ids_come_from_row_numbers_where_there_is_nothing_else(tmp_path):
    clip(tmp_path / "long.wav", 3.0)
    spans = ["long.wav,s,0,1", "long.wav,s,1,1", "long.wav,s,1,1"]
    manifest = read_table(
        write(tmp_path, "audio,speaker,start_s,duration_s", *spans), max_refused=None
    )
    assert manifest.frame["utterance_id"].to_list() == ["long-000001", "long-000002"]
    assert rules(manifest) == [(3, "duplicate row")]
    texts = read_table(write(tmp_path, "speaker,text", "s,ja", "s,nein"))
    assert texts.frame["utterance_id"].to_list() == ["row-000001", "row-000002"]
    assert texts.handled == {"id made from its row number": 2}


@pytest.mark.parametrize(
    ("column", "cell", "rule"),
    [
        ("valence", "much", "impossible number"),
        ("duration_s", "x", "impossible number"),
        ("sampling_rate_hz", "16k", "impossible number"),
        ("channels", "inf", "impossible number"),
        ("text", "a,b,c", "too many cells"),
    ],
)
def test_one_bad_cell_rejects_its_row(tmp_path, column, cell, rule):
    root = write(tmp_path, f"utterance_id,speaker,{column}", "a,s,1", f"b,s,{cell}", "c,s,2")
    manifest = read_table(root, max_refused=None)
    assert manifest.frame["utterance_id"].to_list() == ["a", "c"]
    assert rules(manifest) == [(2, rule)]


def test_a_bad_row_that_is_not_selected_is_not_rejected(tmp_path):
    root = write(tmp_path, "utterance_id,speaker,valence,set", "a,s,1,x", "b,s,much,y")
    assert len(read_table(root, where={"set": "x"})) == 1


def test_an_unreadable_row_does_not_hide_behind_a_filter(tmp_path):
    rows = ['{"utterance_id": "a", "speaker": "s", "set": "x"}', "{", '{"utterance_id": "b"}']
    root = write(tmp_path, *rows, name="t.jsonl")
    manifest = read_table(root, file="t.jsonl", where={"set": ["x", "None"]}, max_refused=None)
    assert manifest.frame["utterance_id"].to_list() == ["a"]
    assert rules(manifest) == [(2, "unreadable row"), (3, "no speaker")]


def test_filters_act_before_the_map_of_labels_and_the_report_says_so(tmp_path):
    root = write(tmp_path, "utterance_id,speaker,label", "a,s,happy", "b,s,sad", "c,s,joy")
    options = {"label_map": {"happy": "joy", "sad": "grief"}, "where": {"label": ["happy", "joy"]}}
    manifest = read_table(root, **options)
    assert manifest.frame["label"].to_list() == ["joy", "joy"]
    assert manifest.handled == {
        "rows left out by corpus.where, which acts first, on the labels of the corpus": 1,
        "labels changed by corpus.label_map, which acts on the rows that corpus.where leaves": 1,
    }
    with pytest.raises(ManifestError, match=r"labels as they are before corpus\.label_map"):
        read_table(root, label_map={"sad": "grief"}, where={"label": "grief"})


def test_bad_cells_of_signals_and_json_reject_their_row(tmp_path):
    head = "utterance_id,speaker,signal_eda,signal_eda_rate_hz,signal_eda_start"
    root = write(tmp_path, head, "a,s,e.npy,4,0", "b,s,e.npy,fast,0", "c,s,e.npy,4,inf")
    manifest = read_table(root, max_refused=None)
    assert rules(manifest) == [(2, "impossible number"), (3, "impossible number")]
    rows = [
        '{"utterance_id": "a", "speaker": 1, "valence": 2, "words": ["x"]}',
        '{"utterance_id": "b", "speaker": "s", "valence": "much"}',
        '{"utterance_id": "c", "speaker": "s", "votes": [{"label": "joy"}]}',
        '{"utterance_id": "d"',
        "7",
    ]
    manifest = read_table(write(tmp_path, *rows, name="t.jsonl"), file="t.jsonl", max_refused=None)
    assert manifest.frame.select("utterance_id", "speaker").rows() == [("a", "1")]
    assert rules(manifest) == [
        (2, "impossible number"),
        (3, "impossible value"),
        (4, "unreadable row"),
        (5, "unreadable row"),
    ]
    assert manifest.handled == {"words: lists or mappings left out": 1}


def test_tables_without_speakers_serve_for_predictions_alone(tmp_path):
    root = write(tmp_path, "utterance_id,text", "a,ja")
    with pytest.raises(ManifestError, match="no column for the speaker"):
        read_table(root)
    assert read_table(root, unknown_speaker="unknown").frame["speaker"].to_list() == ["unknown"]
    root = write(tmp_path, "utterance_id,speaker,text", "a,s,ja", "b,,nein")
    assert read_table(root, unknown_speaker="?").frame["speaker"].to_list() == ["s", "?"]


def test_the_report_is_written_although_every_row_is_rejected(tmp_path, polymodal, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write(tmp_path, "audio,speaker,label", "gone.wav,s,a", "gone2.wav,s,b")
    code, _, error = polymodal("corpus", "table", root, "--out", "m.parquet")
    assert code == 2
    assert "2 rows were rejected" in error
    assert "every rejected row is in m.json" in error
    assert json.loads(Path("m.json").read_text())["refused_by_rule"] == {"missing audio": 2}
    Path("m.parquet").write_bytes(b"")
    polymodal("corpus", "table", root, "--out", "m.parquet")
    assert Path("m.rejected.json").is_file()


@pytest.mark.parametrize(
    ("column", "start", "end"),
    [
        ("end_s", "1.5", "2.75"),
        ("duration_s", "1.5", "1.25"),
        ("end_s", "0:01.5", "00:02.75"),
        ("end_s", "00:00:01.5", "0:00:02.75"),
        ("duration_s", "00:01.5", "00:01.25"),
    ],
)
def test_times_of_segments(tmp_path, column, start, end):
    clip(tmp_path / "a.wav", 4.0)
    root = write(tmp_path, f"audio,speaker,begin,{column}", f"a.wav,s,{start},{end}")
    frame = read_table(root, columns={"start_s": "begin"}).frame
    assert frame.select("start_s", "duration_s").row(0) == (1.5, 1.25)
    assert "end_s" not in frame.columns


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("1,,", "start_s is 1, but there is no end_s or duration_s"),
        ("0,,", "start_s is 0, but there is no end_s or duration_s"),
        ("2,1,", "end_s is 1, start_s is 2"),
        ("1,2,5", "duration_s is 5, end_s less start_s is 1"),
        ("1:75,3,", "start_s is '1:75', expected seconds, mm:ss or hh:mm:ss.s"),
        ("1,1:2:3:4,", "end_s is '1:2:3:4', expected seconds"),
    ],
)
def test_times_that_cannot_be_reject_their_row(tmp_path, cells, reason):
    clip(tmp_path / "a.wav", 4.0)
    head = "utterance_id,audio,speaker,start_s,end_s,duration_s"
    root = write(tmp_path, head, f"a,a.wav,s,{cells}", "b,a.wav,s,1,2,1.0")
    manifest = read_table(root, max_refused=None)
    assert rules(manifest) == [(1, "impossible number")]
    assert reason in manifest.refused[0].reason


def test_a_segment_may_last_to_the_end_on_request(tmp_path):
    clip(tmp_path / "a.wav", 4.0)
    root = write(tmp_path, "audio,speaker,start_s", "a.wav,s,1")
    with pytest.raises(ManifestError, match=r"corpus\.open_end=true"):
        read_table(root)
    assert read_table(root, open_end=True).frame["duration_s"].to_list() == [3.0]


def test_rows_over_the_same_audio_with_other_labels_are_named(tmp_path):
    clip(tmp_path / "long.wav", 5.0)
    spans = ["0,2,joy", "1.5,3,anger", "3,4,joy", "2,3,anger"]
    lines = [f"long.wav,s,{span}" for span in spans]
    manifest = read_table(write(tmp_path, "audio,speaker,start_s,end_s,label", *lines))
    note = "rows that overlap one of another label in the same file"
    assert manifest.handled[note] == 2
    issues = inspect_manifest(manifest, num_workers=1).by_rule()["other label for the same audio"]
    assert [issue.utterance_id for issue in issues] == ["long-000001", "long-000002"]
    joy, anger = "'joy' from 0.00 s to 2.00 s", "'anger' from 1.50 s to 3.00 s"
    assert issues[0].detail == f"long.wav: {joy}, but {anger} (long-000002)"
    rows = [f"u{number},long.wav,s,{'abcdef'[number % 6]}" for number in range(60)]
    manifest = read_table(write(tmp_path, "utterance_id,audio,speaker,label", *rows))
    assert manifest.handled[note] == 60
    assert inspect_manifest(manifest, num_workers=1).verdict == "usable with warnings"
    same = [f"u{number},long.wav,s,a" for number in range(3)]
    manifest = read_table(write(tmp_path, "utterance_id,audio,speaker,label", *same))
    assert note not in manifest.handled


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_are_read_where_commas_do_not_separate(tmp_path, separator):
    lines = [
        ["utterance_id", "speaker", "text", "start_s", "end_s", "valence"],
        ["a", "s1", "1,5", "0,5", "1:02,25", "-3,5"],
        ["b", "s1", "well, no", "1.5", "2", "1,5e-1"],
    ]
    manifest = read_table(write(tmp_path, *map(separator.join, lines)))
    numbers = manifest.frame.select("text", "start_s", "duration_s", "valence")
    assert numbers.rows() == [("1,5", 0.5, 61.75, -3.5), ("well, no", 1.5, 0.5, 0.15)]
    counts = {name: count for name, count in manifest.handled.items() if "comma" in name}
    assert counts == {
        "start_s: decimal comma read as a point": 1,
        "end_s: decimal comma read as a point": 1,
        "valence: decimal comma read as a point": 2,
    }


def test_a_decimal_comma_among_commas_is_rejected(tmp_path):
    lines = ["utterance_id,speaker,valence", 'a,s1,"1,5"', "b,s1,2"]
    manifest = read_table(write(tmp_path, *lines), max_refused=None)
    assert rules(manifest) == [(1, "impossible number")]
