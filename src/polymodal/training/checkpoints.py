"""Checkpoints that are written atomically, verified when read, and never run code."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from polymodal.errors import CheckpointError
from polymodal.security.files import sha256_of

SAFE = ".safetensors"
CLASSES = "polymodal_classes"  # key of a checkpoint


def write_weights(checkpoint: dict[str, Any], path: Path) -> None:
    """Write only the weights of a checkpoint, as safetensors.

    Raises:
        CheckpointError: The weights are not all tensors.
    """
    from safetensors.torch import save_file

    state = checkpoint["state_dict"]
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise CheckpointError(f"{name} of the checkpoint is not a tensor")
    # Copies, as safetensors rejects tensors that share memory.
    copies = {name: value.clone().contiguous() for name, value in state.items()}
    save_file(copies, path, {CLASSES: json.dumps(list(checkpoint.get(CLASSES, ())))})


def _read_weights(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            classes = json.loads((file.metadata() or {}).get(CLASSES, "[]"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", hint="copy it again") from None
    return {"state_dict": state, CLASSES: classes}


def digest_path(path: Path) -> Path:
    """Return the file that holds the hash of a checkpoint."""
    return path.with_name(path.name + ".sha256")


def verified_digest(path: Path) -> str:
    """Return the SHA-256 of a checkpoint, after comparing it with the file of its hash.

    Raises:
        CheckpointError: The two differ.
    """
    digest, stated = sha256_of(path), digest_path(path)
    if stated.is_file() and stated.read_text(encoding="utf-8").split()[0] != digest:
        raise CheckpointError(
            f"checkpoint {path} does not match its SHA-256",
            hint="copy it again, or use another checkpoint",
        )
    return digest


def keeps_checkpoints(target: object) -> bool:
    """Return whether something is a class of callbacks that keep checkpoints."""
    return isinstance(target, type) and issubclass(target, Checkpoint)


def keeps_best(target: object) -> bool:
    """Return whether something is a class of callbacks that know their best checkpoint."""
    return isinstance(target, type) and issubclass(target, ModelCheckpoint)


def best_checkpoint(trainer: Trainer) -> Path | None:
    """Return the checkpoint that the first monitoring callback holds to be the best.

    Returns:
        The checkpoint; None if no callback monitors a score.

    Raises:
        CheckpointError: None of them has kept one, as its score was never computed.
    """
    callbacks = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    monitoring = [callback for callback in callbacks if callback.monitor]
    best = next((c.best_model_path for c in monitoring if c.best_model_path), None)
    if monitoring and best is None:
        raise CheckpointError(
            f"training ended before {monitoring[0].monitor} was computed, so that no checkpoint is "
            "the best",
            expected="at least one validation, which is at the end of an epoch",
            hint="train for longer (trainer.max_steps, trainer.max_time), or use callbacks=last",
        )
    return Path(best) if best else None


class VerifiedCheckpointIO(TorchCheckpointIO):
    """Write checkpoints atomically, with a file of their SHA-256, and check it when reading."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint and its hash; an existing one stays until both are complete."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
        tmp_path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            digest = sha256_of(tmp_path)
            digest_path(target).unlink(missing_ok=True)
            tmp_path.replace(target)
            digest_path(target).write_text(f"{digest}  {target.name}\n", encoding="utf-8")
        finally:
            tmp_path.unlink(missing_ok=True)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint on the CPU, always with `weights_only`; see `read_checkpoint`.

        A callback that kept checkpoints in the folder of this one finds them there, wherever the
        folder is by now: Lightning forgets the best of a folder that was moved or copied.
        """
        checkpoint = read_checkpoint(Path(path))
        folder = os.path.realpath(Path(path).parent)
        for key, state in checkpoint.get("callbacks", {}).items():
            if isinstance(state, dict) and isinstance(state.get("dirpath"), str):
                checkpoint["callbacks"][key] = _moved(state, state["dirpath"], folder)
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint and its hash."""
        Path(path).unlink(missing_ok=True)
        digest_path(Path(path)).unlink(missing_ok=True)


def _moved(value: Any, before: str, now: str) -> Any:
    """Return plain values with every path in one folder turned into one in another."""
    if isinstance(value, dict):
        return {_moved(key, before, now): _moved(item, before, now) for key, item in value.items()}
    if isinstance(value, str) and (value == before or value.startswith(before + os.sep)):
        return now + value[len(before) :]
    return value


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of tensors and plain types, on the CPU.

    Raises:
        CheckpointError: The file is missing, does not match its hash, or holds other types.
    """
    if not path.is_file():
        raise CheckpointError(
            f"there is no checkpoint {path}", hint="name a run that has finished an epoch"
        )
    if digest_path(path).is_file():
        verified_digest(path)
    if path.suffix == SAFE:
        return _read_weights(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged file
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"checkpoint {path} cannot be read: {type(error).__name__} {reason}",
            expected="tensors and plain types",
            hint="use another checkpoint",
        ) from None
    return dict(checkpoint)
