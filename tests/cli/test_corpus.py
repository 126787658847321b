"""`polymodal corpus`: a raw folder goes in, a checked manifest and a page come out."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from benchmarks.kemdy_tree import write_kemdy19, write_kemdy20


@pytest.fixture
def table(workplace):
    """Six clips of three speakers, one row of them without a file."""
    root = workplace / "my corpus=1"  # a name that an override would not survive
    root.mkdir()
    rng = np.random.default_rng(0)
    lines = ["audio,speaker,label,text,split"]
    for number in range(6):
        soundfile.write(root / f"{number}.wav", rng.normal(0, 0.1, 16000), 16000)
        part = "train" if number < 4 else "test"
        lines.append(f"{number}.wav,s{number // 2},{'ab'[number % 2]},(Ja)  {number}!,{part}")
    (root / "manifest.csv").write_text("\n".join([*lines, "gone.wav,s0,a,x,train"]) + "\n")
    return root


def test_a_table_becomes_a_manifest_with_its_report(polymodal, table):
    code, out, error = polymodal("corpus", "table", str(table), "text.brackets=drop", "--hash")
    assert code == 0, error
    assert "6 utterances, 3 speakers" in out
    assert "missing audio: 1" in out
    assert "polymodal corpus check table.parquet" in out
    frame = pl.read_parquet("table.parquet")
    assert frame["text"].to_list() == [f"{number}!" for number in range(6)]
    assert frame["text_raw"][0] == "(Ja)  0!"
    assert frame["audio_sha256"].null_count() == 0
    assert json.loads(Path("table.json").read_text())["refused_by_rule"] == {"missing audio": 1}


def test_strict_refuses_the_corpus(polymodal, table):
    code, _, error = polymodal("corpus", "table", str(table), "--strict")
    assert code == 2
    assert "missing audio" in error
    assert not Path("table.parquet").exists()


@pytest.mark.parametrize(
    ("write", "name"), [(write_kemdy19, "kemdy19"), (write_kemdy20, "kemdy20")]
)
def test_kemdy_is_read_checked_and_run(polymodal, workplace, write, name):
    root = write(workplace, sessions=3)
    assert polymodal("corpus", name, str(root), "--out", "out/k.parquet")[0] == 0
    code, out, error = polymodal("corpus", "check", "out/k.parquet")
    assert code == 0, out + error
    assert Path("out/k.prepared").is_dir()
    code, _, error = polymodal(
        "run",
        "corpus=manifest",
        "corpus.file=out/k.parquet",
        "corpus.classes=[angry,disgust,fear,happy,neutral,sad,surprise]",
        "encoder=[logmel,characters,signals]",
        "split.groups=[session]",
        "debug=fast",
        "tracker=none",
    )
    assert code == 0, error


def test_the_check_ends_with_a_verdict_a_json_and_a_page(polymodal, table):
    assert polymodal("corpus", "table", str(table), "--hash", "--out", "m.parquet")[0] == 0
    code, out, _ = polymodal("corpus", "check", "m.parquet")
    assert code == 0
    assert out.splitlines()[-1].startswith("usable")
    assert {path.name for path in Path("m.check").iterdir()} == {"check.json", "check.html"}

    soundfile.write(table / "3.wav", np.full(16000, 0.1), 16000)  # replaced, of the same size
    (table / "4.wav").write_bytes((table / "4.wav").read_bytes()[:9000])
    code, out, _ = polymodal("corpus", "check", "m.parquet", "--to", "here", "--workers", "1")
    assert code == 2
    assert out.splitlines()[-1].startswith("not usable")
    found = json.loads(Path("here/check.json").read_text())
    assert "3" in json.dumps(found)


def test_a_corpus_that_has_moved_is_found_by_its_new_folder(polymodal, table):
    assert polymodal("corpus", "table", str(table), "--out", "m.parquet")[0] == 0
    shutil.move(table, table.parent / "moved")
    code, _, error = polymodal("corpus", "check", "m.parquet")
    assert code == 2
    assert "corpus.root=FOLDER" in error
    assert polymodal("corpus", "check", "m.parquet", "--audio", "moved")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tabel", "."], ["no option 'tabel'", "'table'"]),
        (["table", "nowhere"], ["no folder nowhere"]),
        (["emodb", "."], ["no utterance is left"]),
        (["kemdy19", "."], ["no folder of KEMDy19", "annotation/*.csv"]),
        (["check", "none.parquet"], ["none.parquet"]),
        (["check", "none.parquet", "foo=bar"], ["takes no options"]),
        (["sample", ".", "--out", "x.json"], ["ends with .parquet"]),
        (["sample", ".", "--out", "/proc/x.parquet"], ["cannot be written"]),
        (["table", ".", "corpus.fil=x"], ["no option 'corpus.fil'"]),
    ],
)
def test_a_mistake_is_one_clear_message(polymodal, workplace, arguments, words):
    code, _, error = polymodal("corpus", *arguments)
    assert code == 2
    assert "Traceback" not in error
    for word in words:
        assert word in error
    assert not list(workplace.glob("*.parquet"))


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ('{"format": 1, "fingerprint": "", "folds": []}', "no fold"),
        (
            '{"format": 1, "fingerprint": "", "folds": '
            '[{"index": 0, "assignment": {"place": {"x": "test"}}}]}',
            "no column 'place'",
        ),
    ],
)
def test_folds_that_do_not_fit_are_told(polymodal, table, body, word):
    assert polymodal("corpus", "table", str(table), "--out", "m.parquet")[0] == 0
    Path("folds.json").write_text(body)
    code, _, error = polymodal("corpus", "check", "m.parquet", "--folds", "folds.json")
    assert code == 2
    assert word in error
    Path("taken").write_text("")
    code, _, error = polymodal("corpus", "check", "m.parquet", "--to", "taken")
    assert code == 2
    assert "is a file" in error


def test_check_says_which_column_tells_the_class(polymodal, workplace):
    rows = [f"u{row},s{row % 8},{('joy', 'anger')[row % 2]}" for row in range(64)]
    Path("list.csv").write_text("\n".join(["utterance_id,speaker,label", *rows]) + "\n")
    assert polymodal("corpus", "table", ".", "corpus.file=list.csv", "--out", "m.parquet")[0] == 0
    code, out, _ = polymodal("corpus", "check", "m.parquet", "--to", "checked")
    assert code == 0
    assert "guessed from the column speaker alone: UAR 1.00, chance 0.50" in " ".join(out.split())
    shared = json.loads(Path("checked/check.json").read_text())["shared"]
    assert (shared["speaker"]["guess_uar"], shared["speaker"]["is_clear"]) == (1.0, True)
    assert "what tells the class" in Path("checked/check.html").read_text()
