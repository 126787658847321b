"""A stored manifest: read back as it was, without opening a file of the corpus."""

import json

import numpy as np
import polars as pl
import pytest
import soundfile

from polymodal.corpora.manifest import read_manifest, with_hashes, write_manifest
from polymodal.corpora.table import read_table
from polymodal.errors import ManifestError
from polymodal.schemas.manifest import Manifest


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "corpus"
    root.mkdir()
    for name in "ab":
        soundfile.write(root / f"{name}.wav", np.zeros(1600), 16000)
    (root / "manifest.csv").write_text(
        "audio,speaker,label,set\na.wav,s1,joy,x\nb.wav,s2,anger,y\nc.wav,s3,joy,y\n"
    )
    return read_table(str(root), max_refused=1)


def test_it_is_read_back_with_its_folder_and_report(tmp_path, corpus):
    write_manifest(corpus, tmp_path / "out" / "m.parquet")
    again = read_manifest(str(tmp_path / "out" / "m.parquet"))
    assert again.frame.equals(corpus.frame)
    assert again.root == corpus.root.resolve()
    report = json.loads((tmp_path / "out" / "m.json").read_text())
    assert report["refused"] == [
        {"row": 3, "rule": "missing audio", "reason": "there is no file c.wav"}
    ]
    assert report["fingerprint"] == corpus.fingerprint()


def test_no_file_of_the_corpus_is_opened(tmp_path, corpus, monkeypatch):
    write_manifest(corpus, tmp_path / "m.parquet")
    monkeypatch.setattr(soundfile, "info", None)
    for name in "ab":
        (corpus.root / f"{name}.wav").unlink()
    assert len(read_manifest(str(tmp_path / "m.parquet"))) == 2


def test_rows_are_chosen_and_labels_mapped(tmp_path, corpus):
    write_manifest(corpus, tmp_path / "m.parquet")
    file = str(tmp_path / "m.parquet")
    assert len(read_manifest(file, where={"set": ["y"]})) == 1
    mapped = read_manifest(file, label_map={"joy": "good", "anger": "bad"}, classes=["good", "bad"])
    assert sorted(mapped.frame["label"]) == ["bad", "good"]
    for options, message in (
        ({"where": {"set": "z"}}, "no utterance is left"),
        ({"where": {"sett": "x"}}, "did you mean 'set'"),
        ({"classes": ["joy"]}, "'anger' of 'b'"),
        ({"root": "nowhere"}, "no folder nowhere"),
    ):
        with pytest.raises(ManifestError, match=message):
            read_manifest(file, **options)


def test_a_corpus_that_has_moved_is_asked_for(tmp_path, corpus):
    write_manifest(corpus, tmp_path / "m.parquet")
    corpus.root.rename(tmp_path / "moved")
    with pytest.raises(ManifestError, match=r"corpus\.root=FOLDER"):
        read_manifest(str(tmp_path / "m.parquet"))
    moved = read_manifest(str(tmp_path / "m.parquet"), root=str(tmp_path / "moved"))
    assert moved.root == tmp_path / "moved"


def test_without_the_report_its_own_folder_is_meant(tmp_path, corpus):
    corpus.write(tmp_path / "m.parquet")
    assert read_manifest(str(tmp_path / "m.parquet")).root == tmp_path


def test_hashes_are_of_the_files(corpus):
    hashed = with_hashes(corpus).frame
    first, second = hashed["audio_sha256"]
    assert first == second  # equal files
    assert len(first) == 64
    assert hashed.drop("audio_sha256").equals(corpus.frame.drop("audio_sha256"))


@pytest.mark.parametrize("threads", [1, 2])
def test_equal_rows_make_equal_bytes_whatever_the_number_of_threads(tmp_path, corpus, threads):
    import os
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from polymodal.corpora.table import read_table\n"
        "read_table(sys.argv[1], max_refused=1).write(Path(sys.argv[2]))"
    )
    environment = {**os.environ, "POLARS_MAX_THREADS": str(threads)}
    command = [sys.executable, "-c", code, str(corpus.root), str(tmp_path / "other.parquet")]
    subprocess.run(command, check=True, env=environment)
    corpus.write(tmp_path / "here.parquet")
    assert (tmp_path / "here.parquet").read_bytes() == (tmp_path / "other.parquet").read_bytes()
    assert pl.read_parquet(tmp_path / "other.parquet").height == 2


def test_votes_are_mapped_with_the_label(tmp_path):
    frame = pl.DataFrame(
        {
            "utterance_id": ["a"],
            "speaker": "s",
            "label": ["happy"],
            "votes": [[{"label": "happy", "count": 9}, {"label": "sad", "count": 1}]],
        }
    )
    Manifest(frame, tmp_path).write(tmp_path / "m.parquet")
    mapped = read_manifest(str(tmp_path / "m.parquet"), label_map={"happy": "joy"})
    assert mapped.frame["label"][0] == "joy"
    assert [vote["label"] for vote in mapped.frame["votes"][0]] == ["joy", "sad"]


def test_columns_that_cannot_be_compared_are_named(tmp_path, corpus):
    write_manifest(corpus, tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="'signals', which holds lists"):
        read_manifest(str(tmp_path / "m.parquet"), where={"signals": "x"})
    assert len(read_manifest(str(tmp_path / "m.parquet"), where={"duration_s": "0.1"})) == 2
