"""A run as a folder of the Hugging Face layout: weights, what loads them, and its cards.

The folder is a small run folder as well, so that `polymodal predict FOLDER` and `show` take it. No
transcript, audio, prediction, id of a corpus, host, command or path of this machine goes along.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from polymodal.assemble.compose import load
from polymodal.assemble.places import WEIGHTS, stored_places
from polymodal.assemble.report import run_page
from polymodal.assemble.selection import chosen
from polymodal.contracts.run import RunRecord
from polymodal.errors import ConfigError, RunError
from polymodal.pages.cards import About, data_card, model_card
from polymodal.record.folder import write_record
from polymodal.record.index import read_record
from polymodal.record.redaction import redact
from polymodal.training.checkpoints import read_checkpoint, write_weights

FORMAT = 1
NOTE = "config.json"
WRITTEN = {
    *(WEIGHTS, NOTE, "folds", "selection.json", "config.yaml", "run.json"),
    *("README.md", "data_card.md"),
}
# Sections that say where things are here or whom to tell, and those that name rows of a corpus.
LEFT_OUT = ("paths", "tracker", "alert", "resume", "hydra")
OF_ROWS = ("corpus", "split")
OF_HERE = ("corpus.root", "corpus.file", "corpus.speaker", "corpus.prepared", "split.file")
KEPT_LISTS = ("classes", "values", "labels", "groups", "disjoint")
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
    """Writes a run as a folder that can be published.

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
        raise ConfigError(f"{target} is what is to be pushed", remedy="name a new folder")
    places = stored_places(run)
    weights = [read_checkpoint(place.trained) for place in places]
    config, asked = portable(load(run / "config.yaml", record.experiment).text())
    page, about = run_page(run), About(licence, language, num_models=len(places))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=".push-") as name:
            beside = Path(name) / "pushed"
            for index, checkpoint in enumerate(weights):
                where = beside if len(places) == 1 else beside / "folds" / str(index)
                where.mkdir(parents=True)
                write_weights(checkpoint, where / WEIGHTS)
                if options := chosen(places[index]):
                    (where / "selection.json").write_text(json.dumps({"chosen": options}))
            _write(
                beside, "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
            )
            _write(beside, NOTE, json.dumps(_note(record, config, len(places)), indent=1))
            write_record(beside / "run.json", published(record))
            _write(beside, "README.md", model_card(page, config, about))
            _write(beside, "data_card.md", data_card(page, config, about))
            if target.exists():
                target.rename(Path(name) / "before")
            beside.rename(target)
    except OSError as error:
        raise RunError(f"{target} cannot be written: {error}") from None
    return Pushed(target, asked)


def portable(text: str) -> tuple[dict[str, Any], list[str]]:
    """Returns a configuration without what belongs to this machine or names rows of a corpus.

    Args:
        text: As the run has stored it, interpolations unresolved.

    Returns:
        The configuration, and the keys of paths, whose values are `???`: to be given on loading.
    """
    config = redact(yaml.safe_load(text))
    kept = {key: one for key, one in config.items() if key not in LEFT_OUT}
    for section in OF_ROWS:
        if isinstance(options := kept.get(section), dict):
            kept[section] = {key: one for key, one in options.items() if _is_general(key, one)}
    asked: list[str] = []
    return {key: _without_places(one, key, asked) for key, one in kept.items()}, asked


def _without_places(node: Any, key: str, asked: list[str]) -> Any:
    """A part of a configuration; what names a place of this machine is to be given on loading."""
    if isinstance(node, dict):
        return {k: _without_places(one, f"{key}.{k}", asked) for k, one in node.items()}
    here = key in OF_HERE and node is not None and not str(node).startswith("${")
    if here or _is_path(node):
        asked.append(key)
        return "???"
    return node


def published(record: RunRecord) -> RunRecord:
    """Returns a record with what may be told of a run.

    Args:
        record: The whole record.
    """
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
        notes={key: one for key, one in record.notes.items() if key in KEPT_NOTES},
    )


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
        "id2label": {str(place): str(name) for place, name in enumerate(classes)},
        "label2id": {str(name): place for place, name in enumerate(classes)},
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
        raise ConfigError(f"{target} holds something else", remedy="name a new folder")
    others = sorted({one.name for one in target.iterdir()} - WRITTEN)
    if others:
        raise ConfigError(
            f"{target} holds {others[0]}, which push did not write",
            remedy="name a new folder, and take over what you have added",
        )


def _is_general(key: str, value: Any) -> bool:
    """Whether an option of a corpus or a split says nothing of single rows."""
    return key in KEPT_LISTS or (key != "where" and not isinstance(value, list | dict))


def _is_path(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_is_path, value))
    starts = ("/", "~", "../", "file:")
    return isinstance(value, str) and (value.startswith(starts) or value[1:3] == ":\\")


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")
