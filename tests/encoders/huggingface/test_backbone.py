"""Where pretrained models come from, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

from polymodal.encoders.huggingface import checkpoint
from polymodal.encoders.huggingface.backbone import LayerMixture
from polymodal.encoders.huggingface.checkpoint import Checkpoint, load, locate
from polymodal.encoders.huggingface.speech import PretrainedSpeechEncoder
from polymodal.encoders.huggingface.text_settings import FAMILIES
from polymodal.errors import CheckpointError, ConfigError, MissingExtraError, UserError

transformers = pytest.importorskip("transformers")

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
TINY |= {"intermediate_size": 8, "max_position_embeddings": 8}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path) -> Path:
    model = transformers.BertModel(transformers.BertConfig(**TINY))
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", ["nobody/nothing", "no/such/folder", "/no/such/folder", "hubrt"])
def test_what_is_neither_a_folder_nor_on_the_hub_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"is not a folder here(.|\n)*set name to the folder"
    ) as caught:
        locate(name)
    assert name in caught.value.message


def test_an_unreachable_hub_is_told_with_its_revision(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="at revision main"):
        locate("klue/roberta-base", "main")


def test_a_name_of_the_hub_keeps_the_commit_that_it_was_resolved_to(folder, tmp_path, monkeypatch):
    """A cache as the hub's client lays it out, with a branch that points to a commit."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    cached = tmp_path / "hub" / "models--someone--bert"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    (cached / "snapshots").mkdir()
    folder.rename(cached / "snapshots" / COMMIT)
    for revision in (None, "main", COMMIT):
        located = locate("someone/bert", revision)
        assert (located.commit, located.revision) == (COMMIT, COMMIT)
    assert len(located.digest) == 64


def test_no_more_than_data_is_asked_of_the_hub(tmp_path, monkeypatch):
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        raise OSError("enough")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(ConfigError, match="enough"):
        locate("someone/bert", "abc")
    assert (asked["name"], asked["revision"]) == ("someone/bert", "abc")
    allowed = {pattern.rpartition(".")[2] for pattern in asked["allow_patterns"]}
    assert allowed == {"json", "txt", "model", "safetensors"}


@pytest.mark.parametrize("message", ["", "Server disconnected\nwithout a response"])
def test_any_error_of_the_hubs_client_becomes_one_that_says_what_to_do(message, monkeypatch):
    class HttpError(Exception):
        """As the HTTP library raises for a refusing proxy or a dropped connection."""

    def download(name, **options):
        raise HttpError(message)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    first_line = message.partition("\n")[0] or "HttpError"
    with pytest.raises(
        ConfigError, match=rf"did not provide it: {first_line}\n(.|\n)*set name to the folder"
    ):
        locate("someone/bert")


@pytest.mark.parametrize("pickled", [["pytorch_model.bin"], []])
def test_pickled_weights_are_refused_and_never_opened(folder, pickled):
    (folder / "model.safetensors").unlink()
    for name in pickled:
        (folder / name).write_bytes(b"\x80\x04cos\nsystem\n")
    named = pickled[0] if pickled else "none"
    with pytest.raises(CheckpointError, match=rf"others: {named}(.|\n)*model\.safetensors"):
        locate(str(folder))


def test_pickled_weights_are_not_loaded_either_where_nothing_looked_before(folder):
    model = transformers.BertModel.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no file named model\.safetensors"):
        load(Checkpoint(folder), FAMILIES["bert"])


def test_an_adapter_alone_or_no_model_at_all_is_refused(folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        locate(str(tmp_path))
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="adapter of another model"):
        locate(str(folder))


def test_another_architecture_is_refused_also_with_code_of_its_own(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('was run')")
    with pytest.raises(ConfigError, match=r"'evil'(.|\n)*bert"):
        locate(str(folder)).family(FAMILIES)
    with pytest.raises(ConfigError, match="encoder of the other modality"):
        PretrainedSpeechEncoder(str(folder))


def test_a_configuration_that_cannot_be_read_is_named(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json(.|\n)*download the files again"):
        locate(str(folder)).family(FAMILIES)


def test_weights_of_another_model_are_refused_instead_of_drawn(folder, tmp_path):
    config = transformers.BertConfig(**{**TINY, "num_hidden_layers": 2})
    config.save_pretrained(folder)
    with pytest.raises(CheckpointError, match=r"lacks weights of 16 parameters, such as encoder"):
        load(locate(str(folder)), FAMILIES["bert"])


def test_damaged_weights_are_named(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load(locate(str(folder)), FAMILIES["bert"])


def test_half_precision_is_loaded_as_float32_and_quietly(folder, capfd):
    transformers.BertModel(transformers.BertConfig(**TINY)).half().save_pretrained(folder)
    capfd.readouterr()
    model = load(locate(str(folder)), FAMILIES["bert"])
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert "".join(capfd.readouterr()) == ""


def test_the_digest_follows_the_content_and_not_the_place(folder, tmp_path):
    before = locate(str(folder))
    assert before.commit is None
    digest = before.digest
    assert before.revision == f"sha256:{digest}"
    moved = folder.rename(tmp_path / "moved")
    assert locate(str(moved)).digest == digest
    (moved / "README.md").write_text("nothing of weight")
    assert locate(str(moved)).digest == digest
    transformers.BertModel(transformers.BertConfig(**TINY)).save_pretrained(moved)
    assert locate(str(moved)).digest != digest


def test_a_missing_package_names_its_extra(folder, monkeypatch):
    def absent(package, extra):
        raise MissingExtraError(package, extra)

    monkeypatch.setattr(checkpoint, "package_version", absent)
    with pytest.raises(MissingExtraError, match=r"polymodal\[pretrained\]"):
        locate(str(folder))


def test_a_mixture_of_one_layer_is_that_layer():
    mixture, layers = LayerMixture(3), [torch.full((1, 2, 1), float(value)) for value in range(3)]
    assert mixture(layers).unique().tolist() == pytest.approx([1.0])
    with torch.no_grad():
        mixture.logits.copy_(torch.tensor([0.0, 0.0, 50.0]))
    torch.testing.assert_close(mixture(layers), layers[2])


def test_a_checkpoint_knows_its_architecture(folder):
    assert Checkpoint(folder).model_type == "bert"
