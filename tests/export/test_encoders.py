"""A pushed run takes its encoders along: it needs neither the runs nor the folders of these."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from polymodal.config.compose import load_config
from polymodal.errors import DataError

SIZE = ["corpus.num_speakers=6", "corpus.num_utterances=6", "trainer.max_epochs=1", "tracker=none"]
SIZE += ["paths.store=store", "data.extract_workers=0"]
TEXT = ["experiment=sample/text", *SIZE]


@pytest.fixture
def trained(polymodal):
    """Train; returns the run folder."""

    def train(*words):
        code, _, error = polymodal("run", *words)
        assert code == 0, error
        return Path("runs") / Path("runs/last").read_text()

    return train


@pytest.fixture
def predicted(polymodal):
    """Predict; returns the probabilities by id."""

    def predict(run, *words):
        code, _, error = polymodal("predict", str(run), "--out", "p.parquet", *words)
        assert code == 0, error
        table = pl.read_parquet("p.parquet").sort("utterance_id")
        return table.select(pl.selectors.starts_with("logit_")).to_numpy()

    return predict


def moved(polymodal, run, workplace):
    """The pushed run, elsewhere, without the runs and stored features that it came from."""
    code, _, error = polymodal("push", str(run), "pushed")
    assert code == 0, error
    for name in ("runs", "store"):
        shutil.rmtree(workplace / name, ignore_errors=True)
    target = workplace / "elsewhere" / "model"
    target.parent.mkdir()
    return (workplace / "pushed").rename(target)


def test_a_fusion_over_an_encoder_of_a_run_moves_with_it(polymodal, trained, predicted, workplace):
    source = trained(*TEXT, "split=k_folds", "split.num_folds=2")
    folds = ["split=file", f"split.file={source}/folds.json"]
    fusion = trained(
        *["encoder=[logmel,characters]", "encoder.speech.width=32", "model=fusion/gated", *SIZE],
        *[f"encoder.text.from_run={source.name}", *folds],
    )
    ids = pl.read_parquet(fusion / "predictions" / "test.parquet")["utterance_id"]
    ours = predicted(fusion)
    model = moved(polymodal, fusion, workplace)
    assert not (workplace / "runs").exists()
    assert np.allclose(predicted(model), ours, atol=1e-5)
    files = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert {one for one in files if one.startswith("sources/")} == {
        "sources/text/config.yaml",
        "sources/text/run.json",
        *(f"sources/text/folds/{fold}/model.safetensors" for fold in (0, 1)),
    }
    everything = b"".join((model / one).read_bytes() for one in files)
    for one in (*ids, str(workplace)):
        assert one.encode() not in everything, one
    record = json.loads((model / "run.json").read_text())
    assert record["encoders"]["text"]["run"] == source.name
    code, _, error = polymodal("push", str(model), "again")  # from which it can be pushed anew
    assert code == 0, error
    assert np.allclose(predicted("again"), ours, atol=1e-5)


def test_weights_that_were_exchanged_in_the_pushed_folder_are_refused(
    polymodal, trained, workplace
):
    source = trained(*TEXT)
    fusion = trained(*TEXT, f"encoder.text.from_run={source.name}", "model=mlp")
    assert polymodal("push", str(fusion), "pushed")[0] == 0
    other = trained(*TEXT, "seed=5")
    assert polymodal("push", str(other), "other")[0] == 0
    shutil.copyfile("other/model.safetensors", "pushed/sources/text/model.safetensors")
    code, _, error = polymodal("predict", "pushed")
    assert code == 2
    assert "other weights" in error


def test_a_warm_start_needs_its_run_no_more(polymodal, trained, predicted, workplace):
    source = trained(*TEXT)
    run = trained(*TEXT, f"encoder.text.from_run={source.name}", "encoder.text.mode=trainable")
    ours = predicted(run)
    model = moved(polymodal, run, workplace)
    assert np.allclose(predicted(model), ours, atol=1e-6)
    assert "from_run" not in yaml.safe_load((model / "config.yaml").read_text())["encoder"]["text"]


def test_a_fine_tuned_encoder_needs_its_pretrained_folder_no_more(
    polymodal, trained, predicted, workplace
):
    transformers = pytest.importorskip("transformers")
    options = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    options |= {"intermediate_size": 32, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 8}
    options |= {"num_conv_pos_embedding_groups": 2}
    folder = workplace / "hubert"
    transformers.HubertModel(transformers.HubertConfig(**options)).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    hubert = ["encoder=[hubert]", f"encoder.speech.name={folder}", "model=unimodal", *SIZE]
    source = trained(*hubert)
    ours = predicted(source)
    fusion = trained(*TEXT, "encoder=[hubert]", f"encoder.speech.from_run={source}", "model=mlp")
    fused = predicted(fusion)
    assert polymodal("push", str(source), "alone")[0] == 0
    model = moved(polymodal, fusion, workplace)
    shutil.rmtree(folder)
    assert np.allclose(predicted("alone"), ours, atol=1e-4)
    assert np.allclose(predicted("alone", "data.reuse_prefix=true"), ours, atol=1e-4)
    assert np.allclose(predicted(model), fused, atol=1e-4)
    for path in (*Path("alone").rglob("*.json"), *model.rglob("*.json")):
        assert str(workplace) not in path.read_text(), path


def test_a_configuration_leads_nowhere_but_below_its_own_folder(tmp_path):
    config = {"encoder": {"text": {"from_run": "folder:../other"}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(DataError, match="leaves"):
        load_config(tmp_path / "config.yaml", "x")
