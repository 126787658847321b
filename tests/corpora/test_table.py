"""Tables: whatever the encoding and the names, every row is used or refused with a reason."""

import json
from pathlib import Path

import polars as pl
import pytest

from polymodal.corpora.table import read_table
from polymodal.errors import ManifestError

HEAD = "utterance_id,speaker,text,label\n"


def write(folder, text, name="manifest.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return str(folder)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_cell_is_text_whatever_the_encoding(tmp_path, encoding, newline):
    cells = [
        "001,007,정말 좋아요,1e5",
        '002,007,"두 줄\n문장",no',
        "003,008,NA,NA",
        "004,008,null,null",
    ]
    text = newline.join([HEAD.strip(), *cells, ""])
    root = write(tmp_path, text, encoding=encoding)
    named = "cp949" if encoding == "cp949" else "utf-8"
    frame = read_table(root, encoding=named).frame
    assert frame["utterance_id"].to_list() == ["001", "002", "003", "004"]
    assert frame["speaker"].to_list() == ["007", "007", "008", "008"]
    assert frame["label"].to_list() == ["1e5", "no", "NA", "null"]
    assert frame["text"].to_list() == ["정말 좋아요", "두 줄\n문장", "NA", "null"]


def test_three_kinds_of_file_say_the_same(tmp_path):
    rows = [{"utterance_id": "a", "speaker": "s", "text": "x", "label": "joy", "sentence": "t1"}]
    frame = pl.DataFrame(rows)
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text(json.dumps(rows[0]) + "\n")
    prints = {
        read_table(str(tmp_path), file=f"t.{kind}").fingerprint()
        for kind in ("csv", "parquet", "jsonl")
    }
    assert len(prints) == 1


def test_columns_are_mapped_and_strange_ones_kept(tmp_path):
    root = write(tmp_path, "who,said,feels,sentence\ns1,hello,happy,t7\n")
    columns = {"speaker": "who", "text": "said", "label": "feels", "utterance_id": "sentence"}
    frame = read_table(root, columns=columns, label_map={"happy": "joy"}).frame
    assert frame.select("speaker", "text", "label").rows() == [("s1", "hello", "joy")]
    with pytest.raises(ManifestError, match="did you mean 'said'"):
        read_table(root, columns={"text": "sad"})
    with pytest.raises(ManifestError, match="did you mean 'speaker'"):
        read_table(root, columns={"speeker": "who"})


def test_signals_come_from_their_columns(tmp_path):
    text = "utterance_id,speaker,signal_eda,signal_eda_rate_hz,signal_eda_start,signal_eda_length\n"
    root = write(tmp_path, text + "a,s,eda.npy,4,8,40\nb,s,,,,\n")
    manifest = read_table(root)
    reference = manifest.utterance(0).signals["eda"]
    assert (reference.path, reference.rate_hz, reference.start, reference.length) == (
        "eda.npy",
        4,
        8,
        40,
    )
    assert manifest.utterance(1).signals == {}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,s1,x,joy", "row 2: duplicate row: 'a' is in row 1"),
        ("b,s1,x,jou", "row 2: unknown label: 'jou', did you mean 'joy'"),
        ("b,,x,joy", "row 2: no speaker"),
        (",s1,x,joy", "row 2: no utterance_id"),
    ],
)
def test_bad_rows_are_refused_counted_and_never_silent(tmp_path, row, message):
    root = write(tmp_path, f"{HEAD}a,s1,x,joy\n{row}\n")
    with pytest.raises(ManifestError, match=f"(?s)1 rows were rejected.*{message}.*max_refused=1"):
        read_table(root, classes=["joy", "anger"])
    manifest = read_table(root, classes=["joy", "anger"], max_refused=1)
    assert len(manifest) == 1
    assert sum(manifest.rejected_by_rule().values()) == 1
    assert len(read_table(root, classes=["joy", "anger"], max_refused=None)) == 1


def test_of_different_rows_with_one_id_none_is_taken(tmp_path):
    root = write(tmp_path, f"{HEAD}a,s1,x,joy\nb,s1,x,joy\na,s2,y,anger\n")
    manifest = read_table(root, max_refused=None)
    assert manifest.frame["utterance_id"].to_list() == ["b"]
    assert [(row.row, row.rule, row.reason) for row in manifest.refused] == [
        (1, "duplicate id", "'a' is in row 1 and row 3"),
        (3, "duplicate id", "'a' is in row 1 and row 3"),
    ]


def test_the_order_of_the_rows_does_not_move_a_byte(tmp_path):
    lines = ["a,s1,x,joy", "b,s2,,anger", "c,s1,y,", "a,s1,x,joy", "b,s3,,anger"]
    for number, order in enumerate(([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 1, 3])):
        root = write(tmp_path, HEAD + "".join(f"{lines[index]}\n" for index in order))
        read_table(root, corpus="c", max_refused=None).write(tmp_path / f"{number}.parquet")
    written = {(tmp_path / f"{number}.parquet").read_bytes() for number in range(3)}
    assert len(written) == 1


def test_filters_choose_rows_and_say_when_none_is_left(tmp_path):
    root = write(tmp_path, "utterance_id,speaker,set\na,s,x\nb,s,y\nc,s,z\n")
    assert len(read_table(root, where={"set": ["x", "y"]})) == 2
    with pytest.raises(ManifestError, match=r"no utterance is left .*corpus.where=\{'set': 'w'\}"):
        read_table(root, where={"set": "w"})
    with pytest.raises(ManifestError, match="did you mean 'set'"):
        read_table(root, where={"sets": "x"})


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("manifest.csv", "utterance_id,text\na,b\n", {}, "no column for the speaker"),
        ("manifest.xls", "", {"file": "manifest.xls"}, "an unknown kind"),
        ("manifest.csv", HEAD, {"file": "other.csv"}, "no file"),
        ("manifest.csv", "가,나\n", {"encoding": "ascii"}, "is not ascii"),
        ("manifest.csv", HEAD, {"encoding": "utf-9"}, "no encoding 'utf-9'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, text, options, message):
    with pytest.raises(ManifestError, match=message):
        read_table(write(tmp_path, text, name), **options)


def test_one_speaker_for_tables_that_name_none(tmp_path):
    root = write(tmp_path, "utterance_id,text\na,b\n")
    assert read_table(root, speaker="nobody").frame["speaker"].to_list() == ["nobody"]


def test_real_tables_are_read_by_mapping_alone(test_data: Path):
    columns = {"audio": "path", "label": "emotion", "duration_s": "duration"}
    korean = read_table(str(test_data / "emotiontts_ko"), columns=columns)
    assert len(korean) == 300
    assert korean.frame["sentence"].n_unique() == 25
    text = read_table(
        str(test_data / "text"),
        file="goemotions_ko.csv",
        columns={"utterance_id": "id", "label": "emotion"},
        speaker="unknown",
    )
    assert len(text) == 54_263


def test_a_signal_without_its_rate_column_is_refused(tmp_path):
    root = write(tmp_path, "utterance_id,speaker,signal_eda\na,s,eda.npy\n")
    with pytest.raises(ManifestError, match="no column 'signal_eda_rate_hz'"):
        read_table(root)


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        ("nan,,", "impossible number: duration_s is nan"),
        ("-5,,", "impossible number: duration_s is -5.0"),
        (",-1,", "impossible number: start_s is -1.0"),
        (",,inf", "impossible number: valence is inf"),
        ("50,,", "audio too short: a.wav has 1.00 s, the row says 50.00"),
        ("1,100,", "audio too short: a.wav has 1.00 s, the row says 101.00"),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path, cells, rule):
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    root = write(tmp_path, f"audio,speaker,duration_s,start_s,valence\na.wav,s,{cells}\n")
    with pytest.raises(ManifestError, match=rule):
        read_table(root)


def test_values_of_another_kind_are_named(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"utterance_id": "a", "speaker": "s", "votes": ["joy"]}\n')
    with pytest.raises(ManifestError, match="'votes' holds values of another type"):
        read_table(str(tmp_path), file="m.jsonl")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ManifestError, match="cannot be read"):
        read_table(str(tmp_path), file="folder.csv")


def test_filters_compare_as_text(tmp_path):
    root = write(tmp_path, "utterance_id,speaker,session\na,s,1\nb,s,2\n")
    assert len(read_table(root, where={"session": [1]})) == 1
