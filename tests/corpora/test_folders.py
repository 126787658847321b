"""Folders of audio: what the path says, the text beside it, and what is refused."""

import shutil

import numpy as np
import pytest
import soundfile

from polymodal.corpora.folders import read_folders
from polymodal.errors import ManifestError

BY_SPEAKER = "(?P<speaker>[^/]+)/(?P<label>[^/]+)/[^/]+"


def write(root, *names, text=None):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(800, 0.1), 16_000, format="WAV")
        if text is not None:
            path.with_suffix(".txt").write_bytes(text)
    return str(root)


def test_every_named_group_becomes_a_column(tmp_path):
    names = ["train/s01/d1/joy/a.wav", "test/s02/d2/anger/b.WAV"]
    pattern = r"(?P<split>\w+)/(?P<speaker>s\d+)/(?P<dialogue>d\d)/(?P<label>\w+)/(?P<take>\w)"
    manifest = read_folders(write(tmp_path, *names), pattern=pattern, classes=["joy", "anger"])
    columns = ["utterance_id", "corpus", "speaker", "dialogue", "audio", "label", "split", "take"]
    assert manifest.frame.select(columns).rows() == [
        ("test/s02/d2/anger/b", tmp_path.name, "s02", "d2", names[1], "anger", "test", "b"),
        ("train/s01/d1/joy/a", tmp_path.name, "s01", "d1", names[0], "joy", "train", "a"),
    ]
    assert manifest.frame["duration_s"].to_list() == [0.05, 0.05]


def test_a_group_may_say_the_id_and_may_be_optional(tmp_path):
    root = write(tmp_path, "joy/007-x.wav", "joy/008.wav")
    pattern = r"(?P<label>\w+)/(?P<utterance_id>\d+)(-(?P<mood>\w))?"
    options = {"pattern": pattern, "speaker": "me", "corpus": "mine"}
    frame = read_folders(root, **options).frame
    columns = ["utterance_id", "speaker", "corpus", "mood"]
    assert frame.select(columns).rows() == [("007", "me", "mine", "x"), ("008", "me", "mine", None)]
    assert len(read_folders(root, **options, where={"mood": "x"})) == 1


@pytest.mark.parametrize(
    ("written", "encoding"),
    [
        ("\ufeff정말 좋아요\n".encode(), "utf-8"),
        (b"\xef\xbb\xbf" + "정말 좋아요".encode(), "UTF-8"),
        ("정말 좋아요\r\n".encode("cp949"), "cp949"),
    ],
)
def test_the_text_beside_a_file_is_what_is_said(tmp_path, written, encoding):
    root = write(tmp_path, "joy/a.wav", text=written)
    write(tmp_path, "joy/b.wav")
    (tmp_path / "readme.txt").write_text("about")
    manifest = read_folders(root, speaker="s", encoding=encoding)
    assert manifest.frame["text"].to_list() == ["정말 좋아요", None]
    assert manifest.handled == {"text without audio": 1}


def test_hidden_and_other_files_are_left_alone(tmp_path):
    root = write(tmp_path, "joy/a.wav", "joy/._a.wav", ".trash/b.wav", "joy/c.wav")
    (tmp_path / "joy" / "c.wav").rename(tmp_path / "joy" / "c.m4a")
    assert read_folders(root, speaker="s").frame["audio"].to_list() == ["joy/a.wav"]
    assert read_folders(write(tmp_path, "joy/d.mp3"), speaker="s", suffixes=[".MP3"]).frame[
        "utterance_id"
    ].to_list() == ["joy/d"]


def test_a_letter_in_parts_meets_a_class_in_one(tmp_path):
    root = write(tmp_path, "\u1100\u1175\u1108\u1173\u11b7/a.wav")
    frame = read_folders(root, speaker="s", classes=["기쁨"]).frame
    assert frame["label"].to_list() == ["기쁨"]
    assert frame["utterance_id"].to_list() == ["기쁨/a"]
    assert (tmp_path / frame["audio"][0]).is_file()


def undecodable(root):
    (root / "joy" / "b.txt").write_bytes("가".encode("cp949"))


def link_out(root):
    (root / "joy" / "b.wav").unlink()
    (root / "joy" / "b.wav").symlink_to(write(root.parent, "out/a.wav") + "/out/a.wav")


def link_text_out(root):
    (root.parent / "secret").write_text("x")
    (root / "joy" / "b.txt").symlink_to(root.parent / "secret")


def link_folder_out(root):
    (root / "joy" / "b.wav").unlink()
    write(root.parent, "out/a.wav")
    (root / "more").symlink_to(root.parent / "out")


def no_utf8(root):
    (root / "joy" / "b.wav").rename(root / "joy" / "b\udcff.wav")


@pytest.mark.parametrize(
    ("change", "rule", "reason"),
    [
        (lambda root: write(root, "b.wav"), "path does not match the pattern", "'b', "),
        (lambda root: write(root, "x/joy/b.wav"), "path does not match the pattern", "'x/joy/b'"),
        (undecodable, "unreadable text", "joy/b.txt: 'utf-8"),
        (link_out, "path outside the corpus", "'joy/b.wav' leaves"),
        (link_text_out, "path outside the corpus", "'joy/b.txt' leaves"),
        (link_folder_out, "path outside the corpus", "'more' leaves"),
        (no_utf8, "unreadable name", "not UTF-8"),
        (lambda root: write(root, "joyful/b.wav"), "unknown label", "did you mean 'joy'"),
        (lambda root: (root / "joy" / "b.wav").write_bytes(b"x"), "unreadable audio", "joy/b.wav"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(tmp_path, change, rule, reason):
    root = tmp_path / "corpus"
    write(root, "joy/a.wav", "joy/b.wav")
    change(root)
    options = {"speaker": "s", "classes": ["joy"]}
    with pytest.raises(ManifestError, match="1 rows were rejected"):
        read_folders(str(root), **options)
    manifest = read_folders(str(root), **options, max_refused=1)
    assert manifest.rejected_by_rule() == {rule: 1}
    assert reason in manifest.refused[0].reason
    assert "joy/a" in manifest.frame["utterance_id"]


def test_two_files_of_one_name_are_refused_and_a_link_within_is_counted(tmp_path):
    root = write(tmp_path, "joy/a.wav", "joy/a.flac", "joy/b.wav")
    (tmp_path / "again").symlink_to(tmp_path / "joy")
    manifest = read_folders(root, speaker="s", max_refused=2)
    assert manifest.frame["utterance_id"].to_list() == ["joy/b"]
    assert manifest.rejected_by_rule() == {"duplicate id": 2}
    assert manifest.handled == {"link to a folder of the corpus": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "(?P<label"}, r"(?s)not a regular expression.*\(\?P<speaker>\[\^/\]\+\)"),
        ({"pattern": ".*", "speaker": "s"}, r"(?s)has no named group.*\(\?P<speaker>"),
        ({}, r"(?s)gives the speaker.*\(\?P<speaker>.*corpus.speaker=NAME"),
        ({"pattern": "(?P<audio>.*)", "speaker": "s"}, "'audio', which a path cannot give"),
        ({"speaker": "s", "encoding": "utf-9"}, "corpus.encoding=utf-9"),
        ({"speaker": "s", "suffixes": [".aac"]}, r"no file below .* ends in .aac"),
        ({"speaker": "s", "where": {"lable": "joy"}}, "did you mean 'label'"),
    ],
)
def test_what_is_wrong_with_the_options_is_said(tmp_path, options, message):
    with pytest.raises(ManifestError, match=message):
        read_folders(write(tmp_path, "joy/a.wav"), **options)


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(ManifestError, match="there is no folder"):
        read_folders(str(tmp_path / "none"), speaker="s")


def test_the_order_in_which_files_are_listed_moves_nothing(tmp_path):
    names = ["s1/joy/a.wav", "s2/anger/b.wav", "s1/anger/c.wav", "odd.wav"]
    opened = []
    for order in (names, names[::-1]):
        root = write(tmp_path / "corpus", *order, text=b"x")
        manifest = read_folders(root, pattern=BY_SPEAKER, max_refused=1)
        opened.append((manifest.fingerprint(), manifest.refused))
        shutil.rmtree(root)
    assert opened[0] == opened[1]
