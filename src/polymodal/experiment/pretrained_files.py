"""The files of pretrained models that a run was trained with, compared with those that are there.

A run has its own copy of all but the weights (`encoders/<modality>/`) of an encoder that it
trained, whose weights are in its checkpoints: it is applied without the folder that it began with.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from polymodal.encoders.base import Encoder
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.encoders.huggingface.checkpoint import Checkpoint
from polymodal.errors import CheckpointError
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.run_folder import ENCODERS

OWN_FILES = "encoder_files"  # a note of the record: modality to the digests of its own copies


def pretrained_models(
    encoders: Mapping[str, Encoder], trained: Collection[str] = ()
) -> dict[str, Checkpoint]:
    """Return the files of the pretrained models among encoders.

    Args:
        encoders: Modality to encoder.
        trained: Modalities whose encoder is that of a run, whose checkpoints are compared instead.
    """
    models = {}
    for name, encoder in encoders.items():
        if name in trained:
            continue
        reader = encoder.extractor if isinstance(encoder, FrozenEncoder) else encoder
        checkpoint = getattr(reader, "checkpoint", None)
        if isinstance(checkpoint, Checkpoint):
            models[name] = checkpoint
    return models


def file_digests(models: Mapping[str, Checkpoint]) -> dict[str, dict[str, str]]:
    """Return modality to file to SHA-256, of models in folders; a commit tells those of the hub."""
    return {name: dict(model.digests) for name, model in models.items() if model.commit is None}


def own_file_digests(run: Path) -> dict[str, dict[str, str]]:
    """Return modality to file to SHA-256, of what a run has copied of its pretrained encoders."""
    folders = [path.parent for path in (run / ENCODERS).glob("*/config.json")]
    return {folder.name: dict(Checkpoint(folder).digests) for folder in sorted(folders)}


def require_own_files(run: Path, record: RunRecord, modality: str) -> None:
    """Refuse to read the copied files of an encoder if they are not those that were recorded.

    Raises:
        CheckpointError: With the names of the files that differ.
    """
    folder, recorded = run / ENCODERS / modality, record.notes.get(OWN_FILES) or {}
    if changed := _changed(recorded.get(modality), Checkpoint(folder).digests):
        raise CheckpointError(
            f"{record.run_id}: {', '.join(changed)} in {folder} changed since the run",
            expected="the files of the encoder as it was trained",
            hint="copy the run again",
        )


def require_same_files(record: RunRecord, run: Path, models: Mapping[str, Checkpoint]) -> None:
    """Refuse to apply a run to pretrained models whose files are other ones by now.

    Args:
        record: The record of the run.
        run: Its folder.
        models: Modality to the files that are there now, as of `pretrained_models`.

    Raises:
        CheckpointError: With the encoder and the names of the files that differ.
    """
    revisions, files = record.data.get("revisions") or {}, record.data.get("files") or {}
    for name, model in models.items():
        copied = run / ENCODERS / name
        if model.folder.resolve() == copied.resolve():
            require_own_files(run, record, name)
            continue
        if name not in revisions or revisions[name] == model.revision:
            continue  # an early record may have none
        changed = _changed(files.get(name), model.digests)
        own = f"; encoder.{name}.name={copied} reads the run's own copy"
        raise CheckpointError(
            f"{record.run_id} was trained with other files of the encoder {name} than "
            f"{model.folder} has now: {', '.join(changed) or model.revision}",
            expected=f"its weights, tokenizer and configuration of {revisions[name]}",
            hint=f"put them back, or set encoder.{name}.name to a copy of the folder as it was"
            f"{own if (copied / 'config.json').is_file() else ''}",
        )


def _changed(before: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    """Name the files that differ, as far as each was recorded."""
    names = sorted({*before, *now}) if before else []
    return [name for name in names if before and before.get(name) != now.get(name)]
