"""Checkpoints: whole or refused, never code."""

import os
import subprocess
import sys

import pytest
import torch

from polymodal.errors import CheckpointError
from polymodal.training.checkpoints import VerifiedCheckpointIO, digest_path, read_checkpoint

STATE = {"state_dict": {"w": torch.arange(4.0)}, "epoch": 3}


@pytest.fixture
def path(tmp_path):
    VerifiedCheckpointIO().save_checkpoint(STATE, tmp_path / "a" / "last.ckpt")
    return tmp_path / "a" / "last.ckpt"


def test_what_is_written_is_read_again(path):
    assert read_checkpoint(path)["state_dict"]["w"].tolist() == [0, 1, 2, 3]
    assert sorted(p.name for p in path.parent.iterdir()) == ["last.ckpt", "last.ckpt.sha256"]
    VerifiedCheckpointIO().remove_checkpoint(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damage_is_found(path, damage):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[:99]), "empty": b""}[damage])
    with pytest.raises(CheckpointError, match="SHA-256"):
        read_checkpoint(path)
    digest_path(path).unlink()
    if damage != "flip":  # without its hash a flipped bit cannot be told
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_checkpoint(path)


class Payload:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.makedirs, (str(self.folder),)


def test_a_pickle_is_refused_even_when_the_environment_says_otherwise(tmp_path):
    path, marker = tmp_path / "bad.ckpt", tmp_path / "marker"
    torch.save({"state_dict": Payload(marker)}, path)
    code = (
        "import sys; from pathlib import Path\n"
        "from polymodal.errors import CheckpointError\n"
        "from polymodal.training.checkpoints import read_checkpoint\n"
        "try: read_checkpoint(Path(sys.argv[1]))\n"
        "except CheckpointError: print('refused')\n"
    )
    environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "refused", done.stderr
    assert not marker.exists()


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint .*none\.ckpt"):
        read_checkpoint(tmp_path / "none.ckpt")


def test_a_failed_write_leaves_the_old_checkpoint_whole(path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="space"):
        VerifiedCheckpointIO().save_checkpoint(STATE, path)
    assert read_checkpoint(path)["epoch"] == 3
    assert len(list(path.parent.iterdir())) == 2


def test_a_copied_folder_keeps_its_best_checkpoint(tmp_path):
    """Lightning forgets the best score where the folder of the state is another one."""
    before = str(tmp_path / "before")
    best = os.path.join(before, "best.ckpt")
    state = {"dirpath": before, "best_model_path": best, "best_k_models": {best: 1.0}}
    others = {"patience": 3, "note": f"{before} and more"}
    path = tmp_path / "now" / "last.ckpt"
    VerifiedCheckpointIO().save_checkpoint({"callbacks": {"keeper": state, "o": others}}, path)
    read = VerifiedCheckpointIO().load_checkpoint(path)["callbacks"]
    now = os.path.realpath(path.parent)
    assert read["keeper"]["dirpath"] == now
    assert read["keeper"]["best_k_models"] == {os.path.join(now, "best.ckpt"): 1.0}
    assert read["o"] == others
