"""Resolve `encoder.<modality>.from_run=RUN` in a configuration."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from polymodal.config.files import ConfigFile
from polymodal.encoders.from_run import EncoderFromRun
from polymodal.errors import RunError
from polymodal.tracking.index import find_run, roots

TARGET = f"{EncoderFromRun.__module__}.{EncoderFromRun.__qualname__}"
FROM_RUN = "from_run"
DEFAULTS: dict[str, Any] = {
    option.name: option.default
    for option in fields(EncoderFromRun)
    if option.default is not MISSING
}
# A member of the study that is being composed, which has no run yet.
MEMBER = "member:"
OPTION = re.compile(r"[+~]*encoder\.([^.=]+)\.([^.=]+)")


def addable_overrides(overrides: Sequence[str]) -> list[str]:
    """Return overrides that Hydra takes for encoders from runs, whatever stood there before.

    Example:
        >>> addable_overrides(["encoder.speech.layer=3", "encoder.speech.from_run=last", "seed=1"])
        ['++encoder.speech.layer=3', '++encoder.speech.from_run=last', 'seed=1']
    """
    taken = {modality for modality, name, _ in _options(overrides) if name == FROM_RUN}
    ours = {option for modality, _, option in _options(overrides) if modality in taken}
    return [
        f"++{override.lstrip('+')}" if override in ours and override[0] != "~" else override
        for override in overrides
    ]


def settle_encoder_runs(
    config: DictConfig, overrides: Sequence[str], layers: Sequence[ConfigFile]
) -> None:
    """Turn the sections of encoders that name a run into those of `EncoderFromRun`, in place.

    Class and options come from the run. Options beside `from_run`, on the command line or in
    the same file or a later one, differs from it; options of the encoder that stood there before
    are dropped. The run is named by its full id, or by its path where it lies elsewhere.

    Args:
        config: The configuration, which may be changed.
        overrides: What was asked for on the command line.
        layers: The files that the configuration was composed of.
    """
    encoders = config.get("encoder")
    for name in list(encoders) if isinstance(encoders, DictConfig) else ():
        section = encoders[name]
        if not isinstance(section, DictConfig) or not section.get(FROM_RUN):
            continue
        if section.get("_target_") != TARGET:
            given = _beside(str(name), overrides, layers)
            values = OmegaConf.masked_copy(
                section, [option for option in section if option in given]
            )
            defaults: dict[Any, Any] = {"_target_": TARGET, **DEFAULTS}
            encoders[name] = OmegaConf.merge(defaults, values)
        encoders[name][FROM_RUN] = _full_name(config, str(name))


def _options(overrides: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Modality, option and override, of those that set an option of an encoder."""
    for override in overrides:
        if match := OPTION.match(override):
            yield match[1], match[2], override


def _beside(modality: str, overrides: Sequence[str], layers: Sequence[ConfigFile]) -> set[str]:
    """The options of an encoder that stand beside `from_run`, which is among them."""
    given = {name for of_modality, name, _ in _options(overrides) if of_modality == modality}
    return given if FROM_RUN in given else given | _in_files(modality, layers)


def _in_files(modality: str, layers: Sequence[ConfigFile]) -> set[str]:
    from polymodal.config.provenance import read_entries  # which reads what `compose` returns

    result: set[str] = set()
    for layer in layers:
        entries = read_entries(layer.file, layer.package) if layer.file else []
        options = [entry.key.split(".") for entry in entries]
        names = {key[2] for key in options if key[:2] == ["encoder", modality] and len(key) > 2}
        if FROM_RUN in names or result:
            result |= names
    return result - {"_target_"}


def _full_name(config: DictConfig, modality: str) -> str:
    """The id of a run in the folder of runs, or the path of one elsewhere; else the name."""
    name = str(config.encoder[modality][FROM_RUN])
    runs = Path(str(OmegaConf.select(config, "paths.runs")))
    if name.startswith(MEMBER) or any((root / name / "run.json").is_file() for root in roots(runs)):
        return name
    from polymodal.training.distributed import rank, wait_for_run_dir  # which imports Lightning

    try:
        # `last` is another run by now, and the record says what it meant: on ranks above 0 that of
        # rank 0, and of a run that goes on its own.
        begun = wait_for_run_dir(roots(runs)[0]) if rank() > 0 else None
        if begun is None and config.get("resume"):
            begun = find_run(runs, str(config.resume))
        if begun is not None:
            recorded = OmegaConf.load(begun / "config.yaml")
            return str(OmegaConf.select(recorded, f"encoder.{modality}.{FROM_RUN}") or name)
        folder = find_run(runs, name)
    except RunError:  # reported where the run is read
        return name
    inside = folder.parent.resolve() in {root.resolve() for root in roots(runs)}
    return folder.name if inside else str(folder.resolve())
