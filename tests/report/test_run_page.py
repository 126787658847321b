"""The page of a run: what it holds follows from the tables, and no name is taken as HTML."""

import csv
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from polymodal.evaluation.classification import Accuracy, UnweightedAverageRecall
from polymodal.report.run_page import PlayableExample, RunPage, write_page
from polymodal.schemas.predictions import PredictionTable, concatenate
from polymodal.schemas.run_record import RunRecord

EVIL = '<script>alert("x")</script>'
CLASSES = ("calm", EVIL, "joy")


def table(part="test", num=60, labelled=True):
    random = np.random.default_rng(0)
    targets = random.integers(3, size=num) if labelled else np.full(num, -1)
    logits = random.normal(size=(num, 3)).astype(np.float32) + 2 * np.eye(3)[targets]
    ids = [f"u{place}{EVIL}" for place in range(num)]
    made = PredictionTable.from_logits(ids, logits.astype("f"), targets, CLASSES, split=part)
    names = [f"s{place % 6}" for place in range(num)]
    return made.with_frame(made.frame.with_columns(speaker=np.array(names)))


def page(**changes):
    record = RunRecord(
        "20260101-x",
        EVIL,
        status="finished",
        command=["polymodal", "run", EVIL],
        data={"rows": 60, "classes": {EVIL: 3}, "leaks": {}, "refused": {}},
        notes={"stage_s": {"fit": 12.5}, "peak_memory_mb": 600.0},
        versions={"torch": "2.13.0"},
    )
    lines = [
        {"fold": fold, "epoch": epoch, "step": epoch, name: 1 / (1 + epoch + fold)}
        for fold in (0, 1)
        for epoch in range(4 + fold)
        for name in ("train/loss", "val/loss", "val/uar", "train/lr")
    ]
    scores = {"uar": UnweightedAverageRecall(), "accuracy": Accuracy()}
    made = RunPage(record, {"test": table()}, scores, "uar", lines, "lr: 1")
    return replace(made, **changes)


def shown(page, folder):
    return write_page(page, folder).read_text(encoding="utf-8")


def test_everything_that_is_there_is_shown(tmp_path):
    asked = []

    def heard(ids):
        asked.extend(ids)
        return {ids[0]: PlayableExample("what was said", "data:audio/wav;base64,AAAA")}

    text = shown(page(heard=heard), tmp_path)
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert titles[:4] == ["Scores", "Training", "Confusion", "Classes"]
    assert titles[4:] == [
        *("Calibration", "Speakers", "Most confident errors", "Data and leaks"),
        *("Time and memory", "Repeat it"),
    ]
    assert "60 utterances of 6 speakers" in text
    assert text.count("<svg") == 5  # losses, score, learning rate, calibration, speakers
    assert asked
    assert "what was said" in text
    assert text.count("<audio") == 1
    assert "polymodal run --again 20260101-x" in text


def test_no_text_becomes_markup_and_nothing_is_loaded(tmp_path):
    text = shown(page(), tmp_path)
    assert "<script" not in text
    assert not re.search(r'(?:src|href)="(?!#|tables/|data:)', text)
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)


def test_thousands_of_curves_leave_the_page_readable(tmp_path):
    names = [f"val/s{number}" for number in range(2_000)]
    lines = [{"epoch": epoch, **dict.fromkeys(names, 0.5)} for epoch in range(2)]
    text = shown(page(lines=lines), tmp_path)
    assert text.count("<svg") == 14  # twelve of them, calibration, speakers
    assert "1,988 further curves stand in metrics.jsonl" in text


def test_pictures_are_written_for_papers(tmp_path):
    shown(page(), tmp_path)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {name.rpartition(".")[2] for name in names} == {"svg", "pdf"}
    assert len(names) == 10  # losses, score, learning rate, calibration, speakers
    for name in names:
        written = (tmp_path / "figures" / name).read_bytes()
        assert written.startswith(b"%PDF" if name.endswith("pdf") else b"<?xml")
        assert b"var(--" not in written
        assert b"#010204" not in written
    before = {name: (tmp_path / "figures" / name).read_bytes() for name in names}
    shown(page(), tmp_path)
    assert {name: (tmp_path / "figures" / name).read_bytes() for name in names} == before


def test_what_each_modality_adds_is_told(tmp_path):
    both = table(num=40)
    parts = [
        both.with_frame(both.frame.with_columns(split=pl.lit(f"test@{name}")))
        for name in ("speech", "text")
    ]
    text = shown(page(subsets=concatenate(parts)), tmp_path)
    assert "What each modality adds" in text
    rows = list(csv.reader((tmp_path / "tables/modalities.csv").open()))
    assert [row[0] for row in rows] == ["given", "all", "speech", "text"]
    assert "What each modality adds" not in shown(page(), tmp_path)


def test_the_embeddings_of_a_fusion_are_shown(tmp_path):
    points = [{"split": "train", "label": EVIL, "x": 0.0, "y": 1.0}]
    probe = {"train": 0.9, "test": 0.5}
    described = {"speech": {"probe": probe, "points": points}, "text": {"probe": probe}}
    text = shown(page(embeddings=described), tmp_path)
    assert 'id="embeddings"' in text
    assert "<script" not in text
    assert "embeddings-of-speech.pdf" in {path.name for path in (tmp_path / "figures").iterdir()}
    rows = list(csv.reader((tmp_path / "tables/embeddings.csv").open()))
    assert rows[0][0] == "modality"
    assert [row[:4] for row in rows[1:]] == [
        [name, ".900", "\N{EN DASH}", ".500"] for name in ("speech", "text")
    ]


@pytest.mark.parametrize("embeddings", [None, {}, 3, ["speech"], {"speech": None}])
def test_a_run_without_embeddings_has_no_such_section(tmp_path, embeddings):
    assert 'id="embeddings"' not in shown(page(embeddings=embeddings), tmp_path)
    assert not (tmp_path / "tables/embeddings.csv").exists()


def test_leaks_are_a_table(tmp_path):
    counts = {"folds": 2, "values": 3, "test_share": 0.25}
    leaks = {"speaker": counts, "dialogue": {**counts, "guess_uar": 0.9, "chance": 0.25}}
    record = replace(page().record, data={"rows": 60, "leaks": leaks})
    text = shown(page(record=record), tmp_path)
    assert re.search(r"speaker</td><td>2</td><td>3</td><td>25.0 %", text)
    assert re.search(r"dialogue</td>.*25.0 %</td><td>\.900</td><td>\.250</td>", text)
    assert "share nothing" in shown(page(), tmp_path)


def test_the_worst_errors_are_those_it_was_surest_of(tmp_path):
    made = table()
    sure = made.probabilities().max(axis=1)
    wrong = (made.frame["predicted"] != made.frame["label"]).to_numpy()
    worst = made.frame["utterance_id"].to_list()[int(np.where(wrong, sure, -1).argmax())]
    asked = []
    shown(page(heard=lambda ids: asked.extend(ids) or {}), tmp_path)
    assert asked[0] == worst
    assert len(asked) == min(20, int(wrong.sum()))


def test_tables_are_written_for_papers(tmp_path):
    shown(page(), tmp_path)
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert names == {
        f"{name}.{end}"
        for name in ("scores", "classes", "confusion", "speakers")
        for end in ("csv", "md", "tex")
    }
    head, *rows = csv.reader((tmp_path / "tables/scores.csv").open())
    assert head == ["split", "score", "mean", "low", "high", "n"]
    assert [row[:2] for row in rows] == [["test", "uar"], ["test", "accuracy"]]
    exact = table()
    right = float((exact.frame["label"] == exact.frame["predicted"]).mean())
    assert float(rows[1][2]) == pytest.approx(right)


@pytest.mark.parametrize("status", ["failed", "killed", "running", "interrupted"])
def test_a_run_that_did_not_finish_says_so(tmp_path, status):
    record = replace(page().record, status=status, error="ValueError: no", data={})
    text = shown(page(record=record, tables={}, scores={}, lines=[]), tmp_path)
    assert f"The run is {status}: nothing was scored." in text
    assert "ValueError: no" in text
    assert "<h2" in text
    assert "Confusion" not in text


def test_rows_without_a_label_are_not_judged(tmp_path):
    text = shown(page(tables={"test": table(labelled=False)}), tmp_path)
    assert "nothing was scored" in text
