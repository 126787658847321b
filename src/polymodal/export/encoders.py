"""Export the encoders of a run, addressed relative to the exported folder.

encoders/<modality>/   configuration and tokenizer of an encoder whose weights are in the run
sources/<modality>/    the run that a frozen encoder was taken from: the weights of that encoder,
                       its configuration and record; no folds, because they name rows of a corpus
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from polymodal.config.compose import IN_FOLDER, ComposedConfig, load_config
from polymodal.config.run_encoders import FROM_RUN
from polymodal.experiment.encoder_sections import SECTION
from polymodal.experiment.pretrained_files import require_own_files
from polymodal.experiment.trained_encoders import (
    TrainedEncoder,
    check_same_weights,
    trained_encoder,
)
from polymodal.export.portable_config import is_path, without_paths
from polymodal.schemas.run_record import RunRecord
from polymodal.security.files import sha256_of
from polymodal.tracking.index import read_record
from polymodal.tracking.run_folder import ENCODERS, WEIGHTS, write_record
from polymodal.training.checkpoints import read_checkpoint, write_weights

SOURCES = "sources"


@dataclass(frozen=True)
class PushedEncoders:
    """The encoders that are exported with a run."""

    run: Path  # its folder
    sources: Mapping[str, TrainedEncoder]  # modality to the frozen encoder of another run
    # Modality to class and options of encoders that were initialised from another run and then
    # trained: they no longer need that run.
    sections: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, run: Path, record: RunRecord, composed: ComposedConfig) -> "PushedEncoders":
        """Find the encoders of a run and the runs that they come from.

        Raises:
            UserError: The run of a frozen encoder is gone, or its weights have changed.
        """
        runs = Path(str(composed.value("paths.runs") or "runs"))
        options: Any = OmegaConf.to_container(composed.config["encoder"], resolve=True)
        sources: dict[str, TrainedEncoder] = {}
        sections: dict[str, Mapping[str, Any]] = {}
        for name, section in options.items():
            if not section.get(FROM_RUN):
                continue
            file = run / ENCODERS / name / SECTION
            if section.get("mode", "frozen") == "frozen":
                sources[name] = trained_encoder(name, section, runs)
            elif file.is_file():
                sections[name] = json.loads(file.read_text(encoding="utf-8"))
            else:
                sections[name] = trained_encoder(name, section, runs).section
        check_same_weights(record, sources)
        return cls(run, sources, sections)

    def change(self, config: dict[str, Any], path_keys: list[str]) -> list[str]:
        """Point a configuration to the files in the exported folder, in place.

        Of `path_keys`, the keys of paths, those that still have to be set on loading are returned.
        """
        for name, section in self.sections.items():
            path_keys = [key for key in path_keys if not key.startswith(f"encoder.{name}.")]
            config["encoder"][name] = without_paths(dict(section), f"encoder.{name}", path_keys)
        solved = set()
        for name, source in self.sources.items():
            changed = {FROM_RUN: f"{IN_FOLDER}{SOURCES}/{name}", "modality": source.modality}
            config["encoder"][name] |= changed
            solved.add(f"encoder.{name}.{FROM_RUN}")
        for name in {*config["encoder"]} - {*self.sources}:
            if _point_to_description(config["encoder"][name], self.run, name):
                solved.add(f"encoder.{name}.name")
        return [key for key in path_keys if key not in solved]

    def write(
        self, target: Path, published: Callable[[RunRecord], RunRecord]
    ) -> dict[str, list[str]]:
        """Write the encoders to the folder `target`, with records as `published` returns them.

        Returns modality to the SHA-256 of its weights, one for each fold of the source run.

        Raises:
            OSError: A file cannot be written.
            CheckpointError: A checkpoint is damaged, or a copied file has changed since the run.
        """
        record = read_record(self.run)
        for description in sorted((self.run / ENCODERS).glob("*/")):
            if description.name not in self.sources:
                require_own_files(self.run, record, description.name)
                _copy_description(description, target / ENCODERS / description.name)
        return {
            name: _write_source(source, target / SOURCES / name, published)
            for name, source in self.sources.items()
        }


def _point_to_description(section: dict[str, Any], run: Path, modality: str) -> bool:
    """Build a pretrained encoder from its exported description, if there is one."""
    if "name" not in section or not (run / ENCODERS / modality / "config.json").is_file():
        return False
    section |= {"name": f"{IN_FOLDER}{ENCODERS}/{modality}", "revision": None}
    return True


def _write_source(
    source: TrainedEncoder, target: Path, published: Callable[[RunRecord], RunRecord]
) -> list[str]:
    """Write the files of one frozen encoder, and return the digests of its weights."""
    assert source.run is not None, "a planned run cannot be exported"
    assert source.record is not None, "a run has a record"
    target.mkdir(parents=True)
    modality, digests = source.modality, []
    prefix = f"encoders.{modality}."
    for index, fold_dir in enumerate(source.fold_dirs):
        folder = target / "folds" / str(index) if source.per_fold else target
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = read_checkpoint(fold_dir.best_or_last_checkpoint)
        tensors = checkpoint["state_dict"].items()
        state = {name: tensor for name, tensor in tensors if name.startswith(prefix)}
        write_weights({**checkpoint, "state_dict": state}, folder / WEIGHTS)
        digests.append(sha256_of(folder / WEIGHTS))
    section = dict(source.section)
    if _point_to_description(section, source.run, modality):
        _copy_description(source.run / ENCODERS / modality, target / ENCODERS / modality)
    task = load_config(source.run / "config.yaml", "").resolved()["task"]
    config = {
        "encoder": {modality: without_paths(section, f"encoder.{modality}", [])},
        "task": without_paths(task, "task", []),
    }
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    (target / "config.yaml").write_text(text, encoding="utf-8")
    write_record(target / "run.json", published(source.record))
    return digests


def _copy_description(folder: Path, target: Path) -> None:
    """Copy the files of a description, without values that are local paths."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name == SECTION:
            continue
        copied = shutil.copyfile(path, target / path.name)
        values = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else None
        if isinstance(values, dict) and any(map(is_path, values.values())):
            portable = {key: value for key, value in values.items() if not is_path(value)}
            copied.write_text(json.dumps(portable, ensure_ascii=False, indent=2), encoding="utf-8")
