"""Build the trackers of a run and name the run in them."""

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
        Name to tracker, without `NoTracker`.

    Raises:
        ConfigError: A tracker cannot be built, or lacks a method.
    """
    if section and "_target_" in section:
        section = {str(section["_target_"]).rpartition(".")[2]: section}
    built = {
        name: instantiate(tracker, f"tracker.{name}")
        for name, tracker in (section or {}).items()
        if tracker
    }
    for name, tracker in built.items():
        if not isinstance(tracker, Tracker):
            raise ConfigError(
                f"tracker.{name}: {type(tracker).__name__} is not a tracker",
                expected="start, log and finish as in polymodal.tracking.trackers.base.Tracker",
            )
    return {name: tracker for name, tracker in built.items() if not isinstance(tracker, NoTracker)}


def tracker_section(composed: ComposedConfig) -> dict[str, Any] | None:
    """Return the trackers of a stored configuration, resolved.

    Raises:
        ConfigError: A value is missing, or an interpolation cannot be resolved.
    """
    section = OmegaConf.create({"tracker": composed.config.get("tracker")})
    partial = replace(composed, config=section)
    return partial.resolved()["tracker"]  # type: ignore[no-any-return]


def loggable_config(composed: ComposedConfig) -> dict[str, Any]:
    """Return a stored configuration as plain values without secrets.

    It is unresolved if the environment has changed since.
    """
    try:
        values = composed.resolved()
    except ConfigError:
        values = OmegaConf.to_container(composed.config)  # type: ignore[assignment]
    loggable: dict[str, Any] = redact(values)
    return loggable


def start_trackers(section: Mapping[str, Any] | None) -> TrackerGroup:
    """Start the trackers of a configuration in background threads.

    Args:
        section: See `build_trackers`.

    Raises:
        ConfigError: A tracker cannot be built.
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
    """Return a unique name for a new run, and the notes `project` and `choices`."""
    choices = {
        group: _choice(composed, config[group], group) for group in GROUPS if config.get(group)
    }
    is_complete = len(choices) == len(GROUPS)
    project = project_name(choices) if is_complete else composed.name.partition("/")[0]
    name = _base_name(composed, kind, notes)
    chosen = {"project": project, **({"choices": choices} if choices else {})}
    return unique_run_name(runs, project, name), chosen


def _base_name(composed: ComposedConfig, kind: str, notes: Mapping[str, Any]) -> str:
    """Return the preferred name: the overrides, or the experiment if there are none."""
    experiment = any(override.partition("=")[0] == "experiment" for override in composed.overrides)
    name = describe_overrides(composed.overrides, () if experiment else GROUPS)
    if JOB in notes:
        seed = composed.config.get("seed")
        fraction = float(notes.get("share", 1.0))
        name = f"{notes.get('member')} seed={seed}" + (
            f" share={fraction:g}" if fraction < 1 else ""
        )
    if kind == "vote":
        members = " and ".join(notes.get("member_names") or ())
        return f"{composed.choices.get('ensemble', kind)} vote of {members}"
    if kind != "run":
        return f"{kind} {name or composed.name}" if kind != "study" else composed.name
    return name or composed.name


def _choice(composed: ComposedConfig, section: Mapping[str, Any], group: str) -> str:
    """Return the chosen option of a group, or the name of its target."""
    if chosen := composed.choices.get(group):
        return str(chosen)
    module, _, name = str(section.get("_target_", group)).rpartition(".")
    return name.removeprefix("read_") if group == "corpus" else module.rpartition(".")[2] or name
