"""Compose an experiment from overrides, or from the record of the run that they continue."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polymodal.config.compose import (
    ComposedConfig,
    apply_overrides,
    available_choices,
    compose,
    load_config,
    runs_folder,
)
from polymodal.errors import ConfigError, RunError
from polymodal.tracking.config_diff import config_diff
from polymodal.tracking.index import find_run, read_record, require_trained

SAMPLE = "experiment=sample/fusion"  # the experiment of a command that names none
# Groups that say what an experiment is about; with another choice it is not that of the sample.
SUBJECT = ("experiment", "corpus", "encoder", "model")
CHANGEABLE = ("stages",)  # besides where and how a run is recorded
# Options that decide how fast data are read, not which data.
CHANGEABLE_DATA = ("num_workers", "timeout_s", "cache_mb", "extract_workers", "reuse_prefix")


def with_default_experiment(overrides: Sequence[str]) -> list[str]:
    """Add the default experiment to overrides that choose none.

    A corpus, encoder or model that is chosen makes an experiment of its own; no other override
    replaces the default one. What `resume=RUN` alone continues is in the record of that run.

    Example:
        >>> with_default_experiment(["seed=1"]), with_default_experiment(["model=mlp", "seed=1"])
        (['experiment=sample/fusion', 'seed=1'], ['model=mlp', 'seed=1'])
    """
    keys = {_key(override) for override in overrides}
    if keys.intersection(SUBJECT) or (_resumed(overrides) and not _chooses(overrides)):
        return [*overrides]
    return [SAMPLE, *overrides]


def compose_run(overrides: Sequence[str], *, project: Path | None = None) -> ComposedConfig:
    """Compose an experiment; `resume=RUN` without another choice of a group is that of the record.

    Args:
        overrides: In Hydra's grammar.
        project: Folder that may have a `configs/`; the current one by default.

    Raises:
        ConfigError: An override does not parse, names an unknown key, group or option.
        RunError: The run to continue is missing, is not one that trains, or had other options.
    """
    name = _resumed(overrides)
    if name is None:
        composed = compose(overrides, project=project)
        if composed.config["resume_state"]:
            raise ConfigError(
                "resume_state=true goes on with the state of another run, and none is named",
                hint="polymodal run --from RUN trainer.max_epochs=… resume_state=true",
            )
        return composed
    folder = resumable_run(runs_folder(overrides, project=project), name)
    recorded = load_config(folder / "config.yaml", read_record(folder).experiment)
    if _chooses(overrides):
        composed = compose(overrides, project=project)
    else:
        composed = apply_overrides(recorded, overrides)
    require_same_options(folder, recorded.resolved(), composed.resolved())
    return composed


def resumable_run(runs: Path, name: str) -> Path:
    """Find the folder of a run to continue in a folder of runs, or several as in `roots`.

    Raises:
        RunError: There is none, or it is a study, a test or the like.
    """
    folder = find_run(runs, name)
    require_trained(read_record(folder), "which resume= does not continue")
    return folder


def require_same_options(run: Path, recorded: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Refuse to continue a run, given by its folder, with other options than the recorded ones.

    Raises:
        RunError: With each key that differs, and both values.
    """
    changes = [
        f"{key}: {before} became {now}"
        for key, (before, now) in config_diff([recorded, config]).items()
        if not is_changeable(key)
    ]
    if changes:
        raise RunError(
            f"the run {run.name} cannot be resumed with another configuration: "
            f"{'; '.join(changes)}",
            hint=f"leave these out: resume={run.name} alone continues it as it was recorded; or "
            f"start a new run: polymodal run --from {run.name} …",
        )


def is_changeable(key: str) -> bool:
    """Return whether an option, named by its dotted key, may differ in a run that is continued.

    Example:
        >>> is_changeable("data.num_workers"), is_changeable("data.sampling")
        (True, False)
    """
    section, _, name = key.partition(".")
    return section in CHANGEABLE or (section == "data" and name in CHANGEABLE_DATA)


def _resumed(overrides: Sequence[str]) -> str | None:
    """The run that overrides continue."""
    names = [override.partition("=")[2] for override in overrides if _key(override) == "resume"]
    return names[-1] if names and names[-1] not in ("", "null") else None


def _chooses(overrides: Sequence[str]) -> bool:
    """Whether an override chooses an option of a group, so that the command is the whole one."""
    return any(available_choices(key) for key in map(_key, overrides) if "." not in key)


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~").partition("@")[0]
