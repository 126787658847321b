"""The trackers of a run, as its configuration names them, and what they call it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from polymodal.config.compose import ComposedConfig
from polymodal.config.instantiate import instantiate
from polymodal.errors import ConfigError
from polymodal.tracking.redaction import redact
from polymodal.tracking.run_folder import JOB
from polymodal.tracking.run_naming import describe_overrides, project_name, unique_run_name
from polymodal.tracking.trackers.background import BackgroundTracker, TrackerGroup
from polymodal.tracking.trackers.base import NoTracker, Tracker

GROUPS = ("model", "corpus")


def build_trackers(section: Mapping[str, Any] | None) -> dict[str, Tracker]:
    """Build the trackers of a configuration.

    Args:
        section: Name to tracker, as `tracker=[a,b]` composes it, or one tracker; None for none.

    Returns:
        Name to tracker, without those that mirror nothing.

    Raises:
        ConfigError: One cannot be built, or lacks a method of a tracker.
    """
    if section and "_target_" in section:
        section = {str(section["_target_"]).rpartition(".")[2]: section}
    built = {
        name: instantiate(one, f"tracker.{name}") for name, one in (section or {}).items() if one
    }
    for name, one in built.items():
        if not isinstance(one, Tracker):
            raise ConfigError(
                f"tracker.{name}: {type(one).__name__} is no tracker",
                expected="start, log and finish as in polymodal.tracking.trackers.base.Tracker",
            )
    return {name: one for name, one in built.items() if not isinstance(one, NoTracker)}


def tracker_section(composed: ComposedConfig) -> dict[str, Any] | None:
    """Return the trackers of a stored configuration, resolved.

    Raises:
        ConfigError: A value is missing, or an interpolation leads nowhere.
    """
    section = OmegaConf.create({"tracker": composed.config.get("tracker")})
    alone = replace(composed, config=section)
    return alone.resolved()["tracker"]  # type: ignore[no-any-return]


def loggable_config(composed: ComposedConfig) -> dict[str, Any]:
    """Return what trackers are told of a stored configuration.

    Returns:
        Plain types without secrets; unresolved where the environment is no longer as it was.
    """
    try:
        values = composed.resolved()
    except ConfigError:
        values = OmegaConf.to_container(composed.config)  # type: ignore[assignment]
    told: dict[str, Any] = redact(values)
    return told


def start_trackers(section: Mapping[str, Any] | None) -> TrackerGroup:
    """Return the trackers of a configuration, each behind what keeps its faults from the run.

    Args:
        section: As `build_trackers` takes it.

    Raises:
        ConfigError: One cannot be built.
    """
    return TrackerGroup(
        [BackgroundTracker(tracker, name) for name, tracker in build_trackers(section).items()]
    )


def run_name(
    composed: ComposedConfig,
    config: Mapping[str, Any],
    kind: str,
    notes: Mapping[str, Any],
    runs: Path,
) -> tuple[str, dict[str, Any]]:
    """Return what a new run is called.

    Returns:
        A name that no other run here has, and the notes `project` and `choices`.
    """
    choices = {
        group: _choice(composed, config[group], group) for group in GROUPS if config.get(group)
    }
    whole = len(choices) == len(GROUPS)
    project = project_name(choices) if whole else composed.name.partition("/")[0]
    name = _words(composed, kind, notes)
    kept = {"project": project, **({"choices": choices} if choices else {})}
    return unique_run_name(runs, project, name), kept


def _words(composed: ComposedConfig, kind: str, notes: Mapping[str, Any]) -> str:
    """The wished name: what differs, or what is always the same where nothing does."""
    experiment = any(override.partition("=")[0] == "experiment" for override in composed.overrides)
    words = describe_overrides(composed.overrides, () if experiment else GROUPS)
    if JOB in notes:
        seed = composed.config.get("seed")
        share = float(notes.get("share", 1.0))
        words = f"{notes.get('member')} seed={seed}" + (f" share={share:g}" if share < 1 else "")
    if kind != "run":
        return f"{kind} {words or composed.name}" if kind != "study" else composed.name
    return words or composed.name


def _choice(composed: ComposedConfig, section: Mapping[str, Any], group: str) -> str:
    """The chosen option of a group; of a configuration without it what it builds."""
    if chosen := composed.choices.get(group):
        return str(chosen)
    module, _, name = str(section.get("_target_", group)).rpartition(".")
    return name.removeprefix("read_") if group == "corpus" else module.rpartition(".")[2] or name
