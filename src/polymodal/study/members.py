"""The members of a study as configurations: the same folds, seeds and corpus for all."""

from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf

from polymodal.config.compose import ComposedConfig, apply_overrides, compose
from polymodal.config.run_encoders import MEMBER
from polymodal.errors import ConfigError
from polymodal.study.config import Member, StudyConfig

# What must be the same in all members that are trained on the study's corpus.
COMMON = ("corpus", "split")
# Sections that the study sets for all members.
SHARED = ("paths", "tracker")
STAGES = ["fit", "train", "test"]
# Options of a protocol that still hold when the folds are read from a file.
PROMISES = ("speaker_dependent", "disjoint")


def compose_members(plan: StudyConfig, study: ComposedConfig) -> dict[str, ComposedConfig]:
    """Compose every member with the overrides of the study.

    Raises:
        ConfigError: An override cannot be used, or members that are to be compared name different
            corpora or splits.
    """
    composed = {member.name: _composed(plan, member, study) for member in plan.members}
    first = reference(plan)
    for member in plan.members:
        for key in () if member.applied else COMMON:
            section, common = (composed[name].resolved()[key] for name in (member.name, first))
            if section != common:
                option = next(k for k in {**section, **common} if section.get(k) != common.get(k))
                raise ConfigError(
                    f"the members {first} and {member.name} have different {key}: {key}.{option} "
                    f"is {common.get(option)!r} and {section.get(option)!r}",
                    expected="the same utterances and folds, so that members can be compared",
                    hint=f"name the {key} in study.protocol, such as [{key}=…], or mark a member "
                    "that is trained elsewhere with applied: true",
                )
    return composed


def reference(plan: StudyConfig) -> str:
    """Return the member whose corpus and folds are the study's."""
    trained = [member for member in plan.members if not member.applied]
    return next((member.name for member in trained if not member.encoders), trained[0].name)


def with_folds(composed: ComposedConfig, file: str, *, complete: bool = True) -> ComposedConfig:
    """Return a member's configuration that takes its folds from a file.

    If the folds are not complete, rows that they do not assign are left out.
    """
    split = composed.resolved()["split"]
    options = {name: split[name] for name in PROMISES if name in split}
    options |= {} if complete else {"unknown": "leave_out"}
    fresh = apply_overrides(composed, ["split=file", f"split.file={file}", "split.inner=true"])
    return _named(with_options(fresh, {f"split.{k}": v for k, v in options.items()}), composed)


def with_options(composed: ComposedConfig, options: dict[str, Any]) -> ComposedConfig:
    """Return a configuration with other values."""
    config = composed.config.copy()
    OmegaConf.set_struct(config, False)
    for key, value in options.items():
        OmegaConf.update(config, key, value, merge=False)
    OmegaConf.set_struct(config, True)
    overrides = [f"{key}={value}" for key, value in options.items()]
    return replace(composed, config=config, overrides=(*composed.overrides, *overrides))


def _composed(plan: StudyConfig, member: Member, study: ComposedConfig) -> ComposedConfig:
    encoders = member.encoders.items()
    taken = [f"encoder.{name}.from_run={MEMBER}{encoder}" for name, encoder in encoders]
    composed = compose([*member.run, *taken])
    overrides = [*([] if member.applied else plan.protocol), *plan.shared]
    root = member.root or (None if member.applied else plan.root)
    overrides += [f"corpus.root={root}"] if root else []
    composed = _named(apply_overrides(composed, overrides), composed)
    try:  # the overrides of `study.with`, which come last
        own = plan.options.get(member.name, ())
        composed = _named(apply_overrides(composed, own), composed)
    except ConfigError as error:
        message = f"study.with.{member.name}: {error.message}"
        raise ConfigError(message, expected=error.expected, hint=error.hint) from None
    sections = {name: study.config.get(name) for name in SHARED}
    changed = with_options(composed, {**sections, "stages": STAGES})
    return _named(changed, composed)


def _named(changed: ComposedConfig, before: ComposedConfig) -> ComposedConfig:
    """Restore choices, name and overrides that `apply_overrides` does not carry over.

    A member whose corpus the study replaces is named after that corpus.
    """
    added = [override for override in changed.overrides if override not in before.overrides]
    overrides = (*before.overrides, *added)
    choices, name = before.choices, before.name
    corpus = changed.choices.get("corpus")
    if corpus is not None and corpus != choices.get("corpus"):
        choices = {**choices, "corpus": corpus}
        name = f"{corpus}/{name.rpartition('/')[2]}"
    return replace(changed, choices=choices, overrides=overrides, name=name)
