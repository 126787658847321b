"""A run is applied to the pretrained model that it was trained with, or to its own copy of it."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

SMALL = [
    *("corpus=sample", "corpus.num_speakers=6", "corpus.num_utterances=4", "split.val=0.3"),
    *("tracker=none", "trainer.max_epochs=1", "trainer.accelerator=cpu", "paths.store=store"),
    *("model=unimodal", "encoder.text.name=pretrained"),
]
FINE_TUNED, FROZEN = "encoder=[roberta]", "encoder=[klue_roberta_frozen]"


def trained(polymodal, small_models, encoder) -> Path:
    shutil.copytree(small_models / "roberta", "pretrained")
    code, _, error = polymodal("run", *SMALL, encoder)
    assert code == 0, error
    return Path("runs") / Path("runs/last").read_text()


def predicted(polymodal, run, out):
    code, _, error = polymodal("predict", str(run), "--out", out)
    assert code == 0, error
    return pl.read_csv(out)


def change_vocabulary(folder):
    """As when a folder is filled again: the shapes stay, the words have other numbers."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {"<unk>": 0, "<s>": 3}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize("encoder", [FINE_TUNED, FROZEN])
def test_another_vocabulary_is_refused_by_name(polymodal, small_models, encoder):
    run = trained(polymodal, small_models, encoder)
    change_vocabulary(Path("pretrained"))
    assert encoder == FINE_TUNED or polymodal("embed", str(run))[0] == 2
    for command in ("test", "predict"):
        code, _, error = polymodal(command, str(run))
        assert code == 2
        assert "other files of the encoder text" in error
        assert "tokenizer.json" in error
        assert "safetensors" not in error
    own = f"encoder.text.name={run / 'encoders' / 'text'}"
    assert (own in error) is (encoder == FINE_TUNED)
    if encoder == FINE_TUNED:
        code, _, error = polymodal("predict", str(run), own)
        assert code == 0, error
        change_vocabulary(run / "encoders" / "text")
        for words in (["predict", str(run), own], ["push", str(run), "pushed"]):
            code, _, error = polymodal(*words)
            assert code == 2
            assert "tokenizer.json in" in error


def test_a_fine_tuned_run_predicts_the_same_without_the_folder(polymodal, small_models):
    run = trained(polymodal, small_models, FINE_TUNED)
    before = predicted(polymodal, run, "before.csv")
    shutil.rmtree("pretrained")
    assert predicted(polymodal, run, "after.csv").equals(before)
    assert polymodal("test", str(run))[0] == 0
    code, _, error = polymodal("push", str(run), "pushed")
    assert code == 0, error
    assert predicted(polymodal, "pushed", "pushed.csv").equals(before)
    change_vocabulary(Path("pushed/encoders/text"))
    code, _, error = polymodal("predict", "pushed")
    assert code == 2
    assert "tokenizer.json in" in error


def test_frozen_weights_are_asked_for(polymodal, small_models):
    run = trained(polymodal, small_models, FROZEN)
    shutil.rmtree("pretrained")
    code, _, error = polymodal("predict", str(run))
    assert code == 2
    assert "pretrained is not a folder here" in error
    assert "hint:" in error
