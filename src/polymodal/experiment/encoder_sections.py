"""Class and options of an encoder that a run has trained, as its record says them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polymodal.config.compose import project_packages
from polymodal.config.run_encoders import FROM_RUN
from polymodal.encoders.base import Encoder
from polymodal.encoders.from_run import EncoderFromRun
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.errors import ConfigError, RunError, nearest
from polymodal.schemas.run_record import RunRecord
from polymodal.security.targets import resolve_target

SECTION = "encoder.json"  # class and options of an encoder that was itself taken from a run


def encoder_section(
    asked: EncoderFromRun,
    modality: str,
    sections: Mapping[str, Any],
    description: Path | None,
    where: str,
) -> dict[str, Any]:
    """Return what to build: class and options of the run, with what is asked for instead.

    Args:
        asked: What is asked for.
        modality: What the encoder is called in the run.
        sections: The encoders of the run's configuration, resolved.
        description: The folder with what the encoder needs beside its weights; None where the run
            is still to come.
        where: What messages begin with: the option that names the run.

    Raises:
        ConfigError: The run has no such modality, has trained nothing of it, or its class has no
            such option or is not allowed.
    """
    if modality not in sections:
        raise ConfigError(
            f"{where} has no modality {modality!r}",
            expected=f"one of {', '.join(sections)}",
            hint=f"{nearest(modality, list(sections))}; the option modality names it",
        )
    section = dict(sections[modality])
    if section.get(FROM_RUN):
        section = _second_hand(section, modality, description, where)
    target = encoder_class(section, where)
    if issubclass(target, FrozenEncoder):
        raise untrained(section, modality, where)
    options = {**({"layer": asked.layer} if asked.layer is not None else {}), **asked.options}
    if "layer" in options and "layer" not in section:
        raise ConfigError(
            f"{where}: {target.__name__} has no layers to choose from, layer is {asked.layer}",
            hint="leave it out",
        )
    if "name" in section and description and (description / "config.json").is_file():
        section |= {"name": str(description.resolve()), "revision": None}
    return {**section, **options}


def encoder_class(section: Mapping[str, Any], where: str) -> type[Encoder]:
    """Return the class that a section names, where it is one of encoders.

    Raises:
        ConfigError: It, or something that its options build, is not allowed, or it is no encoder.
    """
    projects = project_packages(Path.cwd())
    for name in _targets(section):
        resolve_target(name, where, projects)
    target = resolve_target(section["_target_"], where, projects)
    if not isinstance(target, type) or not issubclass(target, Encoder):
        raise ConfigError(f"{where}: {section['_target_']} is not an encoder")
    return target


def untrained(section: Mapping[str, Any], modality: str, where: str) -> ConfigError:
    """Return what to say of an encoder of which a run has trained nothing."""
    return ConfigError(
        f"{where}: nothing of its encoder {modality} was trained "
        f"({section['_target_'].rpartition('.')[2]})",
        expected="a run that has trained this encoder",
        hint="use that encoder itself here; it gives the same features",
    )


def require_finished(record: RunRecord, option: str = "") -> None:
    """Refuse a run that has no encoder to give: not finished, or no run that trains.

    Args:
        record: The record of the run.
        option: What stands before its id in the message, such as `encoder.speech.from_run=`.

    Raises:
        RunError: It is a study, a vote or the like, or has not finished.
    """
    where = f"{option}{record.run_id}"
    if record.kind != "run":
        kinds = {"study": "name one of its runs (polymodal show lists them)"}
        hint = f"name the run that was trained: {record.parent}" if record.parent else ""
        raise RunError(
            f"{where} is a {record.kind}, which trains no encoder",
            hint=kinds.get(record.kind, hint),
        )
    if record.status != "finished":
        raise RunError(
            f"{where} is {record.status}",
            expected="a run that has finished",
            hint=f"go on with it first: polymodal run resume={record.run_id}",
        )


def _second_hand(
    section: Mapping[str, Any], modality: str, description: Path | None, where: str
) -> dict[str, Any]:
    """Class and options of an encoder that the run has taken from a run itself."""
    if section.get("mode", "frozen") == "frozen":
        raise ConfigError(
            f"{where}: it has not trained its encoder {modality}, but taken it from "
            f"{section[FROM_RUN]}",
            hint=f"take it from there: from_run={section[FROM_RUN]}",
        )
    file = description / SECTION if description else None
    if file is None or not file.is_file():
        raise ConfigError(
            f"{where}: its encoder {modality} is from another run, and its class is not recorded",
            hint=f"name the run that it is from: {section[FROM_RUN]}",
        )
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _targets(node: Any) -> Iterator[str]:
    """Every `_target_` in a section, however deep."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _targets(value)
