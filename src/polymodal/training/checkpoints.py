"""Checkpoints that survive a kill, are verified when read, and never run code."""

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
    """Writes the weights of a checkpoint alone, as safetensors.

    Args:
        checkpoint: As `read_checkpoint` gives it.
        path: The file, `.safetensors`.

    Raises:
        CheckpointError: It holds something else than tensors.
    """
    from safetensors.torch import save_file

    state = checkpoint["state_dict"]
    if strange := [name for name, one in state.items() if not isinstance(one, torch.Tensor)]:
        raise CheckpointError(f"{strange[0]} of the checkpoint is no tensor")
    whole = {name: one.clone().contiguous() for name, one in state.items()}  # none shares memory
    save_file(whole, path, {CLASSES: json.dumps(list(checkpoint.get(CLASSES, ())))})


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
    """Returns the file that holds the hash of a checkpoint."""
    return path.with_name(path.name + ".sha256")


def verified_digest(path: Path) -> str:
    """Return the SHA-256 of a checkpoint, compared with the one that was written beside it.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.

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


def best_checkpoint(trainer: Trainer) -> Path | None:
    """Return the checkpoint that the first monitoring callback holds to be the best, or None."""
    callbacks = (one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint))
    paths = (one.best_model_path for one in callbacks if one.monitor)
    return next((Path(path) for path in paths if path), None)


class VerifiedCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target, then renames it; keeps and checks its SHA-256."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Writes a checkpoint and its hash; what stood there stays whole until both are written.

        Args:
            checkpoint: Tensors and plain types.
            path: The file.
            storage_options: Not supported.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
        beside = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            digest = sha256_of(beside)
            digest_path(target).unlink(missing_ok=True)
            beside.replace(target)
            digest_path(target).write_text(f"{digest}  {target.name}\n", encoding="utf-8")
        finally:
            beside.unlink(missing_ok=True)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads a checkpoint after checking its hash.

        Args:
            path: The file.
            map_location: Where tensors go; the CPU by default.
            weights_only: Ignored: nothing but tensors and plain types is ever read.

        Returns:
            The checkpoint.

        Raises:
            CheckpointError: The file is missing, damaged, or holds anything else.
        """
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Removes a checkpoint and its hash.

        Args:
            path: The file.
        """
        Path(path).unlink(missing_ok=True)
        digest_path(Path(path)).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of tensors and plain types, on the CPU.

    Args:
        path: The file.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: The file is missing, does not match its hash, or holds anything else.
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
