"""Pickled weights become safetensors, and no code in them is ever run."""

import collections
import contextlib
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from polymodal.encoders.huggingface import convert as conversion
from polymodal.encoders.huggingface import unpickle
from polymodal.encoders.huggingface.checkpoint import load, locate
from polymodal.encoders.huggingface.convert import convert
from polymodal.encoders.huggingface.text_settings import FAMILIES
from polymodal.encoders.huggingface.unpickle import UnusableError, named_tensors
from polymodal.errors import CheckpointError, ConfigError, DataError
from polymodal.security.files import sha256_of

transformers = pytest.importorskip("transformers")

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
TINY |= {"intermediate_size": 8, "max_position_embeddings": 8}


class Payload:
    """What a hostile file holds; unpickled without a limit, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.makedirs, (str(self.marker),)


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**TINY), add_pooling_layer=False)
    return {name: tensor.half() for name, tensor in model.state_dict().items()}


@pytest.fixture
def pickled(tmp_path, weights) -> Path:
    folder = tmp_path / "pickled"
    transformers.BertConfig(**TINY).save_pretrained(folder)
    (folder / "vocab.txt").write_text("[PAD]\na\n")
    (folder / "modeling_evil.py").write_text("raise SystemExit('was run')")
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


@pytest.fixture
def in_process(monkeypatch):
    """Spares the second that a process takes, where it is not the point."""

    def run(command, **options):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = unpickle.main(
                command[command.index("polymodal.encoders.huggingface.unpickle") + 1 :]
            )
        return subprocess.CompletedProcess(command, code, output.getvalue(), "")

    monkeypatch.setattr(conversion.subprocess, "run", run)


def test_a_converted_model_is_the_model_and_says_where_it_is_from(polymodal, pickled, weights):
    code, out, error = polymodal("encoder", "convert", str(pickled), "new")
    assert (code, error) == (0, "")
    assert "float16" in out
    new = Path("new")
    tensors = load_file(new / "model.safetensors")
    assert tensors.keys() == weights.keys()
    assert all(torch.equal(tensors[name], weights[name]) for name in weights)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert sorted(path.name for path in new.iterdir()) == [
        "config.json",
        "converted.json",
        "model.safetensors",
        "vocab.txt",
    ]
    note = json.loads((new / "converted.json").read_text())
    assert note["source"] == str(pickled)
    assert note["pickles"] == {"pytorch_model.bin": sha256_of(pickled / "pytorch_model.bin")}
    assert note["safetensors"] == {"model.safetensors": sha256_of(new / "model.safetensors")}
    load(locate("new"), FAMILIES["bert"])


def test_the_date_of_a_conversion_does_not_make_it_another_model(in_process, pickled, tmp_path):
    digests = []
    for name in ("one", "two"):
        convert(str(pickled), tmp_path / name)
        note = json.loads((tmp_path / name / "converted.json").read_text())
        (tmp_path / name / "converted.json").write_text(json.dumps({**note, "date": name}))
        digests.append(locate(str(tmp_path / name)).digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("legacy", [False, True])
def test_a_payload_is_never_run(pickled, tmp_path, legacy, monkeypatch):
    marker = tmp_path / "was run"
    torch.save(
        {"weight": torch.zeros(1), "more": Payload(marker)},
        pickled / "pytorch_model.bin",
        _use_new_zipfile_serialization=not legacy,
    )
    # It lifts the limit where a caller leaves it to the default.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(CheckpointError, match=r"running code(.|\n)*os\.makedirs|makedirs"):
        convert(str(pickled), tmp_path / "new")
    assert not marker.exists()
    assert not (tmp_path / "new").exists()


def test_a_module_that_lies_in_the_working_folder_is_not_run(pickled, workplace):
    Path("torch.py").write_text("import pathlib; pathlib.Path('was run').touch()")
    convert(str(pickled), workplace / "new")
    assert not Path("was run").exists()


def test_parts_are_joined_as_their_index_says(in_process, pickled, tmp_path, weights):
    (pickled / "pytorch_model.bin").unlink()
    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    for number, file in enumerate(names):
        torch.save(dict(list(weights.items())[number::2]), pickled / file)
    with pytest.raises(CheckpointError, match=r"no pytorch_model\.bin\.index\.json"):
        convert(str(pickled), tmp_path / "new")
    index = pickled / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(weights, names[0]) | {"z": names[1]}}))
    convert(str(pickled), tmp_path / "new")
    assert load_file(tmp_path / "new" / "model.safetensors").keys() == weights.keys()
    assert not (tmp_path / "new" / index.name).exists()
    (pickled / names[1]).unlink()
    with pytest.raises(CheckpointError, match="lacks pytorch_model-00002-of-00002"):
        convert(str(pickled), tmp_path / "other")


def test_tied_weights_keep_both_names(tmp_path):
    full = torch.arange(12.0).reshape(3, 4)
    held = {"whole": full, "same": full, "part": full[1:], "turned": full.T}
    torch.save(held, tmp_path / "pytorch_model.bin")
    tensors = named_tensors([tmp_path / "pytorch_model.bin"])
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors.values()}) == 4
    for name, tensor in held.items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].is_contiguous()


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"state_dict": {}, "epoch": 3}, r"dict under 'state_dict'(.|\n)*checkpoint of a training"),
        ({"epoch": 3}, "int under 'epoch'"),
        ({1: torch.zeros(1)}, "under 1"),
        ([torch.zeros(1)], "holds list"),
        (torch.zeros(1), "holds Tensor"),
    ],
)
def test_what_is_no_named_tensor_is_refused(tmp_path, held, message):
    torch.save(held, tmp_path / "pytorch_model.bin")
    with pytest.raises(UnusableError, match=message):
        named_tensors([tmp_path / "pytorch_model.bin"])


def test_a_name_in_two_parts_is_refused(tmp_path):
    for name in ("a", "b"):
        torch.save(collections.OrderedDict(weight=torch.zeros(1)), tmp_path / name)
    with pytest.raises(UnusableError, match="so does another file"):
        named_tensors([tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize("keep", [0, 1, 200])
def test_a_damaged_pickle_is_named(pickled, keep):
    path = pickled / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UnusableError, match=r"pytorch_model\.bin is damaged"):
        named_tensors([path])


def test_nothing_is_written_over_unless_it_was_a_conversion(
    polymodal, in_process, pickled, tmp_path
):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.tex").touch()
    code, _, error = polymodal("encoder", "convert", str(pickled), str(taken), "--force")
    assert code == 2
    assert "not written by a conversion" in error
    assert convert(str(pickled), tmp_path / "new").folder == tmp_path / "new"
    code, _, error = polymodal("encoder", "convert", str(pickled), str(tmp_path / "new"))
    assert code == 2
    assert "--force" in error
    (tmp_path / "new" / "old").touch()
    convert(str(pickled), tmp_path / "new", force=True)
    assert not (tmp_path / "new" / "old").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_full_disk_is_told_with_what_is_needed(pickled, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"No space left(.|\n)*MB are free"):
        convert(str(pickled), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_needs_no_conversion_or_cannot_have_one_is_told(in_process, pickled, tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        convert(str(pickled), tmp_path / "new", revision="main")
    convert(str(pickled), tmp_path / "new")
    with pytest.raises(ConfigError, match="has safetensors already"):
        convert(str(tmp_path / "new"), tmp_path / "other")
    (pickled / "pytorch_model.bin").rename(pickled / "tf_model.h5")
    with pytest.raises(CheckpointError, match=r"no pytorch_model\.bin(.|\n)*TensorFlow"):
        convert(str(pickled), tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        convert(str(tmp_path), tmp_path / "other")


def test_a_name_of_the_hub_is_asked_for_pickles_only_where_there_is_nothing_else(
    in_process, pickled, tmp_path, monkeypatch
):
    asked = []

    def download(name, revision=None, allow_patterns=()):
        asked.append((revision, [pattern for pattern in allow_patterns if ".bin" in pattern]))
        return str(pickled)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    convert("someone/bert", tmp_path / "new", revision="v1")
    assert asked == [("v1", []), (pickled.name, ["pytorch_model.bin", "pytorch_model-*.bin"])]
    note = json.loads((tmp_path / "new" / "converted.json").read_text())
    assert (note["source"], note["revision"]) == ("someone/bert", pickled.name)


def test_the_error_of_a_pickle_names_the_command_that_helps(pickled):
    with pytest.raises(CheckpointError, match=f"polymodal encoder convert {pickled} FOLDER"):
        locate(str(pickled))
