"""A pushed run predicts as the run does, tells what it is, and gives nothing of the corpus away."""

import json
from pathlib import Path

import polars as pl
import pytest
import yaml

from polymodal.config.compose import compose
from polymodal.export.huggingface import portable

SMALL = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "split.val=0.3",
    "trainer.max_epochs=2",
    "tracker=none",
]
SECRET = "hf_" + "abcdefgh" * 4


@pytest.fixture
def last(polymodal, monkeypatch):
    code, _, error = polymodal("run", *SMALL)
    assert code == 0, error
    return Path("runs") / Path("runs/last").read_text()


def predicted(polymodal, run, out):
    code, _, error = polymodal("predict", str(run), "--out", out)
    assert code == 0, error
    return pl.read_parquet(out).drop("split").sort("utterance_id")


def test_it_predicts_as_the_run_and_gives_nothing_away(polymodal, last, workplace):
    code, out, error = polymodal("push", "last", "out/model", "--language", "en")
    assert code == 0, error
    assert "no licence was chosen" in out
    folder = workplace / "out" / "model"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} == {
        *("README.md", "data_card.md", "config.json", "config.yaml", "run.json"),
        "model.safetensors",
    }
    ours = predicted(polymodal, last, "ours.parquet")
    theirs = predicted(polymodal, folder, "theirs.parquet")
    logits = [name for name in ours.columns if name.startswith("logit_")]
    assert ours.select("utterance_id", *logits).equals(theirs.select("utterance_id", *logits))
    everything = b"".join(path.read_bytes() for path in folder.iterdir())
    for one in (*ours["utterance_id"], *ours["speaker"].unique(), str(workplace)):
        assert one.encode() not in everything, one
    labels = json.loads((folder / "config.json").read_text())["id2label"]
    assert list(labels.values()) == [name.removeprefix("logit_") for name in logits]


def test_of_several_folds_every_model_goes_along(polymodal, workplace):
    code, _, error = polymodal("run", *SMALL, "split=k_folds", "split.num_folds=2")
    assert code == 0, error
    assert polymodal("push", "last", "model")[0] == 0
    run = Path("runs") / Path("runs/last").read_text()
    names = {path.as_posix() for path in Path("model").rglob("*.safetensors")}
    assert names == {f"model/folds/{fold}/model.safetensors" for fold in (0, 1)}
    ours = predicted(polymodal, run, "ours.parquet")
    theirs = predicted(polymodal, Path("model"), "theirs.parquet")
    assert ours["logit_anger"].equals(theirs["logit_anger"])
    assert "2 models" in Path("model/README.md").read_text()


def test_its_cards_are_those_of_hugging_face_and_say_what_is_not_known(polymodal, last, workplace):
    code, _, error = polymodal("push", "last", "model", "--licence", "cc-by-4.0")
    assert code == 0, error
    _, front, body = Path("model/README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert (card["license"], card["library_name"]) == ("cc-by-4.0", "polymodal")
    assert card["pipeline_tag"] == "text-classification"
    assert "language" not in card
    (result,) = card["model-index"][0]["results"]
    assert result["dataset"]["split"] == "test"
    score = json.loads((last / "run.json").read_text())["scores"]["test/uar"]
    assert {"type": "recall", "value": pytest.approx(score)}.items() <= {
        **result["metrics"][0],
        "value": pytest.approx(result["metrics"][0]["value"]),
    }.items()
    for words in ("95 % interval", "The language of the data was not told", "worst: recall"):
        assert words in body
    data = Path("model/data_card.md").read_text()
    assert "task_categories" in yaml.safe_load(data.split("---\n", 2)[1])
    assert "No id" in data or "no id" in data
    from huggingface_hub import ModelCard

    assert ModelCard(Path("model/README.md").read_text()).data.license == "cc-by-4.0"


@pytest.mark.parametrize("run", ["last", "nothing"])
def test_what_has_no_checkpoint_leaves_nothing(polymodal, last, workplace, run):
    for path in (last / "checkpoints").glob("*.ckpt"):
        path.unlink()
    code, _, error = polymodal("push", run, "model")
    assert code == 2
    assert ("there is no checkpoint" if run == "last" else "no run 'nothing'") in error
    assert not (workplace / "model").exists()


def test_a_folder_of_somebody_else_is_left_alone(polymodal, last, workplace):
    (workplace / "mine").mkdir()
    (workplace / "mine" / "thesis.tex").write_text("x")
    code, _, error = polymodal("push", "last", "mine")
    assert code == 2
    assert "is not empty" in error
    assert [one.name for one in (workplace / "mine").iterdir()] == ["thesis.tex"]
    assert polymodal("push", "last", "new")[0] == polymodal("push", "last", "new")[0] == 0
    assert polymodal("push", "new", "new")[0] == 2
    (workplace / "new" / "LICENSE").write_text("mine")
    assert "LICENSE, which push did not write" in polymodal("push", "last", "new")[2]
    assert (workplace / "new" / "LICENSE").read_text() == "mine"


def test_an_earlier_push_is_replaced_from_within(polymodal, last, workplace, monkeypatch):
    assert polymodal("push", "last", "new")[0] == 0
    monkeypatch.chdir(workplace / "new")
    monkeypatch.setenv("POLYMODAL_RUNS", str(workplace / "runs"))
    code, _, error = polymodal("push", "last", ".")
    assert code == 0, error
    assert (workplace / "new" / "model.safetensors").is_file()


def test_without_a_token_nothing_is_uploaded_nor_written(polymodal, last, workplace, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    code, _, error = polymodal("push", "last", "model", "--upload", "me/model")
    assert code == 2
    assert "there is no token" in error
    assert not (workplace / "model").exists()


def test_paths_and_rows_do_not_go_along_and_secrets_are_redacted():
    words = ["experiment=sample/text", "corpus.root=/home/me/data", "+split.speakers=[anna,bert]"]
    text = compose([*words, "+corpus.where=speaker", f"+data.token={SECRET}"]).text()
    config, asked = portable(text)
    places = {"file": "m.csv", "speaker": "Alice", "a.b": "/x", "list": ["/home/me/a.pt"]}
    more = portable(json.dumps({"corpus": places, "split": {"file": "runs/f.json"}}))
    assert more[1] == ["corpus.file", "corpus.speaker", "corpus.a.b", "split.file"]
    assert "Alice" not in json.dumps(more[0])
    assert portable(json.dumps({"encoder": {"a": ["/home/me"]}}))[0]["encoder"]["a"] == "???"
    assert asked == ["corpus.root"]
    assert config["corpus"]["root"] == "???"
    assert config["corpus"]["classes"]
    shown = json.dumps(config)
    for word in ("anna", "where", SECRET, "/home/me", "paths.runs", "tracker"):
        assert word not in shown
