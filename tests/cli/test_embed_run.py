"""`polymodal embed RUN`: the embeddings of a finished run, by the fold that may embed a row."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from polymodal.config.compose import load_config
from polymodal.experiment.experiment import Experiment
from polymodal.schemas.batch import PaddedSequence
from polymodal.training.checkpoints import read_checkpoint

SIZE = ("corpus.num_speakers=6", "corpus.num_utterances=4")
SMALL = ("experiment=sample/text", *SIZE, "trainer.max_epochs=1", "tracker=none")
STORE = ("paths.store=store", "data.extract_workers=0")
FOLDS = ("split=k_folds", "split.num_folds=2")


@pytest.fixture
def trained(polymodal):
    """Train a small text encoder; returns the run folder."""

    def train(*words):
        code, _, error = polymodal("run", *SMALL, *words)
        assert code == 0, error
        return Path("runs") / Path("runs/last").read_text()

    return train


@pytest.fixture
def embedded(polymodal):
    """Call `embed` on a run; returns the table."""

    def embed(run, *words):
        code, _, error = polymodal("embed", str(run), "--out", "e.parquet", *STORE, *words)
        assert code == 0, error
        return pl.read_parquet("e.parquet")

    return embed


def by_hand(run, fold, text):
    """The vectors of a text, by the encoder that the checkpoint of a fold holds."""
    experiment = Experiment.prepare(load_config(run / "config.yaml", "").resolved())
    encoder = experiment.build_module(experiment.folds[fold]).encoders["text"]
    place = run / "folds" / str(fold) if len(experiment.folds) > 1 else run
    state = read_checkpoint(place / "checkpoints" / "best.ckpt")["state_dict"]
    prefix = "encoders.text."
    encoder.load_state_dict(
        {key.removeprefix(prefix): one for key, one in state.items() if key.startswith(prefix)}
    )
    raw = encoder.eval().transform()(text)
    values = torch.as_tensor(raw)[None]
    with torch.no_grad():
        mask = torch.ones(values.shape[:2], dtype=torch.bool)
        return encoder(PaddedSequence(values, mask)).values[0].numpy()


def test_each_row_is_embedded_by_the_fold_that_tested_it(trained, embedded):
    run = trained(*FOLDS)
    table = embedded(run)
    tested = pl.read_parquet(run / "predictions" / "test.parquet")
    assert sorted(table["utterance_id"]) == sorted(tested["utterance_id"])
    joined = table.join(tested, on="utterance_id")
    assert joined["fold"].equals(joined["fold_right"])
    assert {*table["split"]} == {"test"}
    row = table.filter(fold=1).row(0, named=True)
    frame = Experiment.prepare(load_config(run / "config.yaml", "").resolved()).manifest.frame
    text = frame.filter(utterance_id=row["utterance_id"])["text"][0]
    frames = by_hand(run, 1, text)
    assert np.allclose(row["embedding"], frames.mean(axis=0), atol=1e-5)
    other = by_hand(run, 0, text)
    assert not np.allclose(row["embedding"], other.mean(axis=0), atol=1e-5)


def test_frames_of_every_fold_are_written_with_their_splits(polymodal, trained):
    run = trained(*FOLDS)
    code, _, error = polymodal(
        "embed", str(run), "--out", "e.npz", "--pooling", "none", "--fold", "all", *STORE
    )
    assert code == 0, error
    read = np.load("e.npz", allow_pickle=False)
    assert np.bincount(read["text/folds"]).tolist() == [24, 24]
    assert {*read["text/splits"]} == {"train", "val", "test"}
    assert len(read["text/offsets"]) == 49
    assert read["text/offsets"][-1] == len(read["text/values"])


def test_rows_that_no_fold_tested_need_a_fold_to_be_named(polymodal, trained, embedded):
    run = trained(*FOLDS)
    frame = Experiment.prepare(load_config(run / "config.yaml", "").resolved()).manifest.frame
    rows = frame.select(pl.format("new {}", "utterance_id").alias("utterance_id"), "text")
    rows.with_columns(speaker=pl.lit("somebody new")).write_csv("new.csv")
    other = ("corpus=table", "corpus.root=.", "corpus.file=new.csv")
    code, _, error = polymodal("embed", str(run), "--out", "none.parquet", *STORE, *other)
    assert code == 2
    assert f"{len(rows)} of {len(rows)} rows" in error
    assert "--fold" in error
    assert not Path("none.parquet").exists()
    table = embedded(run, *other, "--fold", "1")
    assert {*table["fold"]} == {1}
    assert {*table["split"]} == {None}
    assert len(table) == len(rows)


def test_a_run_of_one_fold_embeds_every_row(trained, embedded, polymodal):
    run = trained()
    table = embedded(run)
    assert len(table) == 24
    assert {*table["split"]} == {"train", "val", "test"}
    code, out, error = polymodal("embed", "last", *STORE)
    assert code == 0, error
    assert f"{run.name}-embeddings.parquet" in out
    assert pl.read_parquet(f"{run.name}-embeddings.parquet").equals(table)


def test_encoders_of_another_run_embed_as_they_do_there(trained, embedded, polymodal):
    source = trained()
    code, _, error = polymodal(
        "run", *SMALL, *STORE, f"encoder.text.from_run={source.name}", "model=mlp"
    )
    assert code == 0, error
    fusion = Path("runs") / Path("runs/last").read_text()
    assert json.loads((fusion / "run.json").read_text())["encoders"]["text"]["run"] == source.name
    assert embedded(fusion).equals(embedded(source))


def test_untrained_encoders_give_their_features_once(polymodal):
    pytest.importorskip("neurokit2")
    words = ("encoder=physiology", "model=mlp", *SIZE, *STORE, "trainer.max_epochs=1")
    code, _, error = polymodal("run", *words, *FOLDS, "tracker=none")
    assert code == 0, error
    code, _, error = polymodal("embed", "last", "--out", "e.parquet", "--fold", "all", *STORE)
    assert code == 0, error
    table = pl.read_parquet("e.parquet")
    assert table["utterance_id"].is_unique().all()
    assert {*table["fold"]} == {*table["split"]} == {None}


def test_bad_input_is_said_and_writes_nothing(polymodal, trained, workplace):
    trained()
    before = {*workplace.iterdir()}
    for words, message in (
        (["--modality", "speach"], "no modality 'speach'"),
        (["--fold", "3"], "--fold 3"),
        (["--fold", "held"], "--fold held"),
        (["--layer", "2"], "no layers to choose from"),
        (["--out", "a.csv"], "a.csv"),
        (["corpus.rot=x"], "corpus.rot"),
    ):
        code, _, error = polymodal("embed", "last", *words, *STORE)
        assert code == 2
        assert message in error
        assert "from_run" not in error
        assert {*workplace.iterdir()} == before


def test_damaged_missing_and_unfinished_weights_are_refused(polymodal, trained):
    run = trained()
    best = run / "checkpoints" / "best.ckpt"
    content = best.read_bytes()
    best.write_bytes(content[:-7] + b"changed")
    assert "does not match its SHA-256" in polymodal("embed", "last", *STORE)[2]
    for path in (run / "checkpoints").glob("*.ckpt"):
        path.unlink()
    code, _, error = polymodal("embed", "last", *STORE)
    assert (code, "there is no checkpoint" in error) == (2, True)
    best.write_bytes(content)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "failed"}))
    code, _, error = polymodal("embed", "last", *STORE)
    assert (code, "is failed" in error, "from_run" in error) == (2, True, False)


def test_options_of_a_run_are_refused_without_one(polymodal):
    code, _, error = polymodal("embed", "encoder=physiology", "--fold", "all")
    assert code == 2
    assert "--fold needs a run" in error
