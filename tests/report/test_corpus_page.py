"""The page of a check: complete, self-contained, small, and no data is taken as HTML."""

import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
import soundfile

from polymodal.cli.corpus_check import check_corpus
from polymodal.corpora.validation.audio import MEASURES
from polymodal.corpora.validation.inspection import inspect_manifest
from polymodal.corpora.validation.issues import Inspection
from polymodal.report.corpus_page import write_page
from polymodal.schemas.manifest import Manifest

pytest.importorskip("matplotlib")

EVIL = '<script>alert("x")</script>&<!-- -- ]]> $x_1$ \x00'
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Nesting(HTMLParser):
    """Elements that are open, and all that ever were."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.attributes, self.words = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def corpus(folder, name="u", num_rows=12):
    rows = []
    for number in range(num_rows):
        scale = 0.03 * (number + 1) if number % 5 else 2
        samples = np.clip(scale * np.sin(np.arange(8_000 + 400 * number) / 9), -1, 1)
        soundfile.write(folder / f"{number}.wav", samples, 16_000)
        row = {"utterance_id": f"{name}{number}", "speaker": f"{name} s{number % 3}"}
        rows.append({**row, "audio": f"{number}.wav", "label": f"{name} {number % 4}"})
    frame = pl.DataFrame(rows).with_columns(corpus=pl.lit(name), text=pl.lit("ja"))
    return Manifest(frame, folder)


def page_of(manifest, folder, **options):
    path = folder / "check.html"
    write_page(manifest, inspect_manifest(manifest, num_workers=1), path, **options)
    return path.read_text(encoding="utf-8")


def test_nothing_of_the_data_becomes_html(tmp_path):
    manifest = corpus(tmp_path, EVIL)
    split = pl.Series([EVIL, "train"] * 6)
    page = page_of(manifest, tmp_path, split=split)
    reader = Nesting()
    reader.feed(page)
    assert reader.open == []
    assert "script" not in reader.seen
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x00" not in page
    assert not [name for name, _ in reader.attributes if name.startswith("on")]


def test_it_asks_for_nothing_from_elsewhere(tmp_path):
    page = page_of(corpus(tmp_path), tmp_path)
    assert "http:" not in page
    assert "https:" not in page
    assert not re.search(r"@import|url\((?!#)|<link|<img|\bsrc=", page)
    targets = re.findall(r'href="([^"]*)"', page)
    assert targets
    assert all(target.startswith("#") for target in targets)


def test_every_plot_is_there_with_title_and_units_as_text(tmp_path):
    manifest = corpus(tmp_path, "기쁨")
    page = page_of(manifest, tmp_path, split=pl.Series(["train", "test"] * 6))
    assert page.count("<svg") == 5
    reader = Nesting()
    reader.feed(page)
    words = {word.strip() for word in reader.words}
    assert {
        "Durations by class",
        "seconds (s)",
        "Loudness by class",
        "loudness (RMS, dBFS)",
        "Utterances a class and split",
        "Utterances a speaker",
        "Peak and loudness",
        "peak (1 = full scale)",
        "clipped",
        "기쁨 0",
    } <= words
    assert "prefers-color-scheme: dark" in page
    assert "currentColor" in page
    assert "#010203" not in page


def test_the_verdict_and_absent_classes_are_in_words(tmp_path):
    manifest = corpus(tmp_path)
    assert "Verdict: usable with warnings" in page_of(manifest, tmp_path)
    split = pl.Series(["test"] + ["train"] * 11)
    assert "u 1 in test, u 2 in test, u 3 in test" in page_of(manifest, tmp_path, split=split)
    (tmp_path / "3.wav").unlink()
    assert "Verdict: not usable" in page_of(manifest, tmp_path)
    quiet = manifest.take(manifest.frame.filter(~pl.col("audio").is_in(["0.wav", "5.wav"])))
    clean = quiet.take(quiet.frame.filter(~pl.col("audio").is_in(["3.wav", "10.wav"])))
    assert "Verdict: usable<" in page_of(clean, tmp_path)


def test_a_corpus_of_text_alone_has_a_page(tmp_path):
    frame = pl.DataFrame({"utterance_id": ["a"], "speaker": ["s"], "text": ["ja"]})
    page = page_of(Manifest(frame, tmp_path), tmp_path)
    assert page.count("<svg") == 2
    assert "Verdict: usable<" in page


def test_a_large_corpus_makes_no_large_page(tmp_path):
    num_rows = 60_000
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "utterance_id": [f"u{number}" for number in range(num_rows)],
            "speaker": [f"s{number % 5_000}" for number in range(num_rows)],
            "label": [f"class {number % 200}" for number in range(num_rows)],
        }
    )
    columns = {name: rng.random(num_rows) for name in MEASURES}
    measures = pl.DataFrame({"utterance_id": frame["utterance_id"], **columns})
    measures = measures.with_columns(pl.col("sampling_rate_hz", "channels").cast(pl.Int64))
    found = Inspection((), num_rows, 1.0, 1.0, measures)
    write_page(Manifest(frame, tmp_path), found, tmp_path / "check.html")
    page = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert len(page) < 2_000_000
    assert "5,000 speakers, the 100 largest named" in page
    assert "<details><summary>Utterances by split and speaker" in page
    assert "(others)" in page
    assert "a sample of 1,500 of 60,000 utterances" in page


def test_equal_inspections_make_equal_pages(tmp_path):
    manifest = corpus(tmp_path)
    found = inspect_manifest(manifest)
    for name in ("a.html", "b.html"):
        write_page(manifest, found, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_command_writes_both_files_and_ends_with_the_verdict(tmp_path, capsys):
    manifest = corpus(tmp_path, "[red]<b>")
    out = tmp_path / "new" / "out"
    before = "matplotlib.pyplot" in sys.modules  # another test may have imported it
    found = check_corpus(manifest, out, num_workers=2, split=None)
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == f"usable with warnings: {found.summary}"
    assert captured.err.splitlines()[-1].startswith("12 of 12 utterances")
    values = json.loads((out / "check.json").read_text(encoding="utf-8"))
    assert values["verdict"] == "usable with warnings"
    assert values["classes"]["splits"] == ["all"]
    assert (out / "check.html").is_file()
    assert ("matplotlib.pyplot" in sys.modules) == before
