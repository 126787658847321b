"""Runs on features that were computed elsewhere, of which some rows lack one."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.conftest import newest_run

NO_VOICE = {"u01", "u06", "u11"}
RUN = [
    *("run", "corpus=features", "corpus.root=features", "corpus.classes=[a,b,c]"),
    "corpus.modalities={face: face.npz, voice: voice.npz}",
    *("split=k_folds", "split.num_folds=2", "split.val=0.3"),
    *("trainer.max_epochs=2", "trainer.accelerator=cpu", "tracker=none", "callbacks=last"),
]
BOTH = ["encoder=[face,voice]", "model=fusion/gated", "model.width=8"]
# Scales of real features: counts, decibels, probabilities.
SCALES = np.array([1e3, 1.0, 1e-3, 30.0], dtype=np.float32)


@pytest.fixture
def features(workplace):
    """A project with 36 utterances of 12 speakers: faces, and voices that three rows lack."""
    rng = np.random.default_rng(0)
    names, labels = [f"u{row:02}" for row in range(36)], rng.integers(3, size=36)
    Path("features").mkdir()
    Path("configs/encoder").mkdir(parents=True)
    for modality in ("face", "voice"):
        arrays = {
            name: (rng.normal(size=(1 + row % 3, 4)) + label).astype(np.float32) * SCALES
            for row, (name, label) in enumerate(zip(names, labels, strict=True))
            if modality == "face" or name not in NO_VOICE
        }
        np.savez(f"features/{modality}.npz", **arrays)
        Path(f"configs/encoder/{modality}.yaml").write_text(
            f"{modality}:\n  _target_: polymodal.encoders.precomputed.PrecomputedEncoder\n"
            f"  signal: {modality}\n  feature_size: 4\n"
        )
    rows = [
        f"{name},s{row % 12:02},{'abc'[label]}"
        for row, (name, label) in enumerate(zip(names, labels, strict=True))
    ]
    lines = ["utterance_id,speaker,label", *rows]
    Path("features/manifest.csv").write_text("\n".join(lines) + "\n")
    return workplace


def record():
    return json.loads((newest_run() / "run.json").read_text())


def test_rows_without_one_of_two_features_are_kept_left_out_or_refused(features, polymodal):
    code, _, error = polymodal(*RUN, *BOTH, "test_subsets=true")
    assert code == 0, error
    data = record()["data"]
    assert (data["rows"], data["lacking"]) == (36, {"face": 0, "voice": 3})
    subsets = pl.read_parquet(newest_run() / "predictions/test@subsets.parquet")
    rows = {split: set(ids) for split, ids in subsets.group_by("split").agg("utterance_id").rows()}
    assert rows["test@face"] - rows["test@voice"] == NO_VOICE

    code, _, error = polymodal(*RUN, *BOTH, "data.missing=drop")
    assert code == 0, error
    data = record()["data"]
    assert (data["rows"], data["lacking"]) == (33, {"face": 0, "voice": 0})
    assert data["handled"]["rows left out by data.missing=drop"] == 3

    code, _, error = polymodal(*RUN, *BOTH, "data.missing=refuse")
    assert code == 2
    assert "3 of 36 utterances lack a modality or signal" in error
    assert "encoder.voice in 3" in error

    code, out, _ = polymodal("check", *RUN[1:], *BOTH)
    assert code == 0, out
    assert "3 of 36 utterances lack what encoder.voice reads" in " ".join(out.split())


def test_a_row_without_what_the_only_encoder_reads_is_not_trained_on(features, polymodal):
    code, _, error = polymodal(*RUN, "encoder=voice", "model=mlp")
    assert code == 0, error
    assert record()["data"]["lacking"] == {"voice": 3}


def test_every_fold_is_standardised_by_its_own_training_rows(features, polymodal):
    """`predict` uses mean and scale of the checkpoint, not those of the rows that it is given."""
    code, _, error = polymodal(*RUN, "encoder=face", "model=mlp")
    assert code == 0, error
    run = newest_run()
    arrays, folds = np.load("features/face.npz"), json.loads((run / "folds.json").read_text())
    speaker_of = dict(pl.read_csv("features/manifest.csv")["utterance_id", "speaker"].iter_rows())
    for index, fold in enumerate(folds["folds"]):
        splits = fold["assignment"]["speaker"]
        frames = np.concatenate(
            [arrays[name] for name in arrays if splits[speaker_of[name]] == "train"]
        )
        path = run / f"folds/{index}/checkpoints/last.ckpt"
        state = torch.load(path, weights_only=True)["state_dict"]
        np.testing.assert_allclose(state["encoders.face.mean"], frames.mean(0), rtol=1e-4)
        np.testing.assert_allclose(state["encoders.face.scale"], frames.std(0), rtol=1e-4)

    assert polymodal("predict", str(run), "corpus.where={label: a}", "--out", "a.parquet")[0] == 0
    assert polymodal("predict", str(run), "--out", "all.parquet")[0] == 0
    rows = ["utterance_id"]
    every, some = (pl.read_parquet(f"{name}.parquet").sort(rows) for name in ("all", "a"))
    every = every.join(some.select(rows), on=rows, how="semi", maintain_order="left")
    logits = [name for name in some.columns if name.startswith("logit")]
    np.testing.assert_allclose(every[logits], some[logits], rtol=1e-4, atol=1e-5)
