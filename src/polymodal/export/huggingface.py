"""Export a run as a folder in Hugging Face layout: weights, configuration and cards.

The folder is also a small run folder, so that `polymodal predict FOLDER` and `show` accept it. It
has no transcripts, audio, predictions, utterance ids, host, command or local paths.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from omegaconf import OmegaConf

from polymodal.config.compose import compose, load_config
from polymodal.errors import ConfigError, RunError
from polymodal.experiment.pretrained_files import OWN_FILES, own_file_digests
from polymodal.export.encoders import SOURCES, PushedEncoders
from polymodal.export.portable_config import portable
from polymodal.report.cards import About, data_card, model_card
from polymodal.report.load import run_page
from polymodal.runs.nested_cv import chosen_options
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.index import read_record
from polymodal.tracking.run_folder import ENCODERS, WEIGHTS, find_fold_dirs, write_record
from polymodal.training.checkpoints import read_checkpoint, write_weights

FORMAT = 1
NOTE = "config.json"
WRITTEN = {
    *(WEIGHTS, NOTE, "folds", "selection.json", "config.yaml", "run.json"),
    *("README.md", "data_card.md", ENCODERS, SOURCES),
}
PUBLISHED_DATA = (
    *("fingerprint", "rows", "speakers", "classes", "refused", "handled", "leaks", "folds"),
    *("absent_classes", "speaker_dependent", "transductive", "revisions", "files", "lacking"),
    "resampled",
)
PUBLISHED_NOTES = ("num_parameters", "stage_s", "peak_memory_mb", "frozen_prefix")


@dataclass(frozen=True)
class ExportResult:
    """The result of an export."""

    folder: Path
    # Keys of the configuration that held a local path and must be set on loading.
    path_keys: list[str] = field(default_factory=list)


def push(run: Path, target: Path, *, licence: str = "", language: str = "") -> ExportResult:
    """Write a run as a folder that can be published; an earlier export is replaced.

    `licence` is an identifier of Hugging Face, such as `cc-by-nc-4.0`, empty if none was chosen;
    `language` is such as `ko`, empty if unknown.

    Raises:
        UserError: The run was not trained or has no checkpoint, or the folder has other files.
    """
    record = read_record(run)
    if record.kind != "run":
        raise RunError(f"{record.run_id} is a {record.kind}", expected="a run that was trained")
    _require_free(target)
    target = target.resolve()
    if run.resolve() == target:
        raise ConfigError(f"{target} is the folder of the run", hint="name a new folder")
    dirs = find_fold_dirs(run)
    weights = [read_checkpoint(fold_dir.best_or_last_checkpoint) for fold_dir in dirs]
    composed = load_config(run / "config.yaml", record.experiment)
    config, path_keys = portable(composed.text())
    encoders = PushedEncoders.of(run, record, composed)
    path_keys = _without_fold_file(config, encoders.change(config, path_keys))
    page, about = run_page(run), About(licence, language, num_models=len(dirs))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=".push-") as name:
            tmp_path = Path(name) / "pushed"
            for index, checkpoint in enumerate(weights):
                fold_path = tmp_path if len(dirs) == 1 else tmp_path / "folds" / str(index)
                fold_path.mkdir(parents=True)
                write_weights(checkpoint, fold_path / WEIGHTS)
                if options := chosen_options(dirs[index]):
                    (fold_path / "selection.json").write_text(json.dumps({"chosen": options}))
            text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
            _write(tmp_path, "config.yaml", text)
            _write(tmp_path, NOTE, json.dumps(_note(record, config, len(dirs)), indent=1))
            digests = encoders.write(tmp_path, published)
            result = published(record, digests)
            if own_files := own_file_digests(tmp_path):
                result.notes[OWN_FILES] = own_files
            write_record(tmp_path / "run.json", result)
            _write(tmp_path, "README.md", model_card(page, config, about))
            _write(tmp_path, "data_card.md", data_card(page, config, about))
            if target.exists():
                target.rename(Path(name) / "before")
            tmp_path.rename(target)
    except OSError as error:
        raise RunError(f"{target} cannot be written: {error}") from None
    return ExportResult(target, path_keys)


def published(record: RunRecord, digests: Mapping[str, Sequence[str]] | None = None) -> RunRecord:
    """Return the publishable part of a record.

    `digests` are the SHA-256 of the exported weights of encoders, by modality.
    """
    of_files = {name: {"digests": [*digest]} for name, digest in (digests or {}).items()}
    return RunRecord(
        run_id=record.run_id,
        name=record.experiment,  # the name of the run may reveal speakers or paths
        status=record.status,
        experiment=record.experiment,
        seed=record.seed,
        scores=record.scores,
        started=record.started,
        ended=record.ended,
        duration_s=record.duration_s,
        versions=record.versions,
        code={key: value for key, value in record.code.items() if key in ("commit", "dirty")},
        data={key: value for key, value in record.data.items() if key in PUBLISHED_DATA},
        encoders={n: {**encoder, **of_files.get(n, {})} for n, encoder in record.encoders.items()},
        notes={key: note for key, note in record.notes.items() if key in PUBLISHED_NOTES},
    )


def _without_fold_file(config: dict[str, Any], path_keys: list[str]) -> list[str]:
    """Replace a split that is read from a local file by the default split."""
    if "split.file" not in path_keys:
        return path_keys
    config["split"] = OmegaConf.to_container(compose([]).config["split"], resolve=False)
    return [key for key in path_keys if key != "split.file"]


def _note(record: RunRecord, config: Mapping[str, Any], num_models: int) -> dict[str, Any]:
    """Return `config.json` for other programs, with the names of the labels in order."""
    classes = (config.get("corpus") or {}).get("classes") or sorted(record.data.get("classes", {}))
    return {
        "library_name": "polymodal",
        "polymodal_format": FORMAT,
        "polymodal_version": record.versions.get("polymodal"),
        "model_type": "polymodal",
        "architectures": [str((config.get("model") or {}).get("_target_"))],
        "modalities": list(config.get("encoder") or ()),
        "num_models": num_models,
        "id2label": {str(index): str(name) for index, name in enumerate(classes)},
        "label2id": {str(name): index for index, name in enumerate(classes)},
    }


def _require_free(target: Path) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        note = json.loads((target / NOTE).read_text(encoding="utf-8"))
        is_export = not target.is_symlink() and "polymodal_format" in note
    except (OSError, ValueError, TypeError):
        is_export = False
    if not is_export:
        raise ConfigError(f"{target} is not empty", hint="name a new folder")
    extra = sorted({path.name for path in target.iterdir()} - WRITTEN)
    if extra:
        raise ConfigError(
            f"{target} holds {extra[0]}, which push did not write",
            hint="name a new folder and move your own files there",
        )


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")
