"""A run as a folder of the Hugging Face layout: weights, what loads them, and its cards.

The folder is a small run folder as well, so that `polymodal predict FOLDER` and `show` take it. No
transcript, audio, prediction, id of a corpus, host, command or path of this machine goes along.
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
from polymodal.export.encoders import SOURCES, PushedEncoders
from polymodal.export.portable_config import portable
from polymodal.report.cards import About, data_card, model_card
from polymodal.report.load import run_page
from polymodal.runs.nested_cv import chosen_options
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.index import read_record
from polymodal.tracking.layout import WEIGHTS, find_fold_dirs
from polymodal.tracking.run_folder import ENCODERS, write_record
from polymodal.training.checkpoints import read_checkpoint, write_weights

FORMAT = 1
NOTE = "config.json"
WRITTEN = {
    *(WEIGHTS, NOTE, "folds", "selection.json", "config.yaml", "run.json"),
    *("README.md", "data_card.md", ENCODERS, SOURCES),
}
KEPT_DATA = (
    *("fingerprint", "rows", "speakers", "classes", "refused", "handled", "leaks", "folds"),
    *("absent_classes", "speaker_dependent", "transductive", "revisions", "lacking", "resampled"),
)
KEPT_NOTES = ("num_parameters", "stage_s", "peak_memory_mb", "frozen_prefix")


@dataclass(frozen=True)
class Pushed:
    """What was written.

    Args:
        folder: The folder.
        asked: Keys of the configuration that held a path of this machine: to be given on loading.
    """

    folder: Path
    asked: list[str] = field(default_factory=list)


def push(run: Path, target: Path, *, licence: str = "", language: str = "") -> Pushed:
    """Write a run as a folder that can be published.

    Args:
        run: The run folder.
        target: The new folder; one that an earlier push made is replaced.
        licence: As Hugging Face names it, such as `cc-by-nc-4.0`; empty where none was chosen.
        language: Such as `ko`; empty where it is not known.

    Returns:
        The folder, and what has to be given on loading.

    Raises:
        UserError: The run is none that was trained or has no checkpoint, or something else is in
            the folder.
    """
    record = read_record(run)
    if record.kind != "run":
        raise RunError(f"{record.run_id} is a {record.kind}", expected="a run that was trained")
    _refuse_occupied(target)
    target = target.resolve()
    if run.resolve() == target:
        raise ConfigError(f"{target} is what is to be pushed", hint="name a new folder")
    places = find_fold_dirs(run)
    weights = [read_checkpoint(place.best_or_last_checkpoint) for place in places]
    composed = load_config(run / "config.yaml", record.experiment)
    config, asked = portable(composed.text())
    encoders = PushedEncoders.of(run, record, composed)
    asked = _without_fold_file(config, encoders.change(config, asked))
    page, about = run_page(run), About(licence, language, num_models=len(places))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=".push-") as name:
            beside = Path(name) / "pushed"
            for index, checkpoint in enumerate(weights):
                where = beside if len(places) == 1 else beside / "folds" / str(index)
                where.mkdir(parents=True)
                write_weights(checkpoint, where / WEIGHTS)
                if options := chosen_options(places[index]):
                    (where / "selection.json").write_text(json.dumps({"chosen": options}))
            _write(
                beside, "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
            )
            _write(beside, NOTE, json.dumps(_note(record, config, len(places)), indent=1))
            digests = encoders.write(beside, published)
            write_record(beside / "run.json", published(record, digests))
            _write(beside, "README.md", model_card(page, config, about))
            _write(beside, "data_card.md", data_card(page, config, about))
            if target.exists():
                target.rename(Path(name) / "before")
            beside.rename(target)
    except OSError as error:
        raise RunError(f"{target} cannot be written: {error}") from None
    return Pushed(target, asked)


def published(record: RunRecord, digests: Mapping[str, Sequence[str]] | None = None) -> RunRecord:
    """Return a record with what may be told of a run.

    Args:
        record: The whole record.
        digests: Modality to the SHA-256 of the files that its encoder's weights were pushed as.
    """
    of_files = {name: {"digests": [*digest]} for name, digest in (digests or {}).items()}
    return RunRecord(
        run_id=record.run_id,
        name=record.experiment,  # its own name may tell speakers or paths
        status=record.status,
        experiment=record.experiment,
        seed=record.seed,
        scores=record.scores,
        started=record.started,
        ended=record.ended,
        duration_s=record.duration_s,
        versions=record.versions,
        code={key: one for key, one in record.code.items() if key in ("commit", "dirty")},
        data={key: one for key, one in record.data.items() if key in KEPT_DATA},
        encoders={n: {**encoder, **of_files.get(n, {})} for n, encoder in record.encoders.items()},
        notes={key: note for key, note in record.notes.items() if key in KEPT_NOTES},
    )


def _without_fold_file(config: dict[str, Any], asked: list[str]) -> list[str]:
    """Replace a split that is read from a file, which names rows and stays here, by the default."""
    if "split.file" not in asked:
        return asked
    config["split"] = OmegaConf.to_container(compose([]).config["split"], resolve=False)
    return [one for one in asked if one != "split.file"]


def _note(record: RunRecord, config: Mapping[str, Any], num_models: int) -> dict[str, Any]:
    """What programs of others may want to know: the names of the labels, in their order."""
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


def _refuse_occupied(target: Path) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        note = json.loads((target / NOTE).read_text(encoding="utf-8"))
        ours = not target.is_symlink() and "polymodal_format" in note
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise ConfigError(f"{target} holds something else", hint="name a new folder")
    others = sorted({path.name for path in target.iterdir()} - WRITTEN)
    if others:
        raise ConfigError(
            f"{target} holds {others[0]}, which push did not write",
            hint="name a new folder, and take over what you have added",
        )


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")
