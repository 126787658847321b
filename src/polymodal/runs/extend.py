"""Train a finished run for longer in a run of its own, which begins with the state of the first."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import EarlyStopping

from polymodal.config.compose import load_config, project_packages
from polymodal.config.resume import is_changeable
from polymodal.data.folds import FOLDS, read_folds
from polymodal.errors import RunError
from polymodal.experiment.components import learning_rates
from polymodal.experiment.encoder_sections import require_finished
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.pretrained_files import pretrained_models, require_same_files
from polymodal.security.targets import resolve_target
from polymodal.tracking.config_diff import config_diff
from polymodal.tracking.index import find_run, read_record
from polymodal.tracking.run_folder import FITTED, FoldDir, find_fold_dirs, fold_dirs
from polymodal.training.checkpoints import read_checkpoint
from polymodal.training.distributed import rank, wait_for_files

STEPS_PER_EPOCH = 10  # of schedules that are compared
FROM_START = "leave resume_state out to train from the start"


def require_extendable(source: Path, experiment: Experiment) -> None:
    """Refuse to go on from the state of a run where the result would not be what is asked for.

    Args:
        source: Folder of the run.
        experiment: The experiment to train, with the folds of the corpus as it is now.

    Raises:
        RunError: The run has not finished, trained for as many epochs, stopped by itself, had other
            options or folds, or has kept no state.
        CheckpointError: A checkpoint is damaged.
    """
    record, config = read_record(source), experiment.config
    require_finished(record)
    recorded = load_config(source / "config.yaml", record.experiment).resolved()
    changes = config_diff([recorded, config]).items()
    refused = [
        f"{key}: {before} became {now}"
        for key, (before, now) in changes
        if not _may_change(key, config)
    ]
    if refused:
        raise RunError(
            f"resume_state=true goes on from {source.name}, which had other options: "
            f"{'; '.join(refused)}",
            expected="other options of the trainer, or a callback left out",
            hint=FROM_START,
        )
    if not (source / FOLDS).is_file() or read_folds(source)[0] != experiment.folds:
        raise RunError(
            f"{source.name} was trained on other folds: the corpus has changed since",
            hint=f"{FROM_START}; split=file split.file={source / FOLDS} keeps its folds",
        )
    if experiment.selection.grid:
        raise RunError(
            f"the options of {source.name} were chosen by inner folds, which have no state",
            hint=FROM_START,
        )
    models = pretrained_models(experiment.prototypes, experiment.trained)
    require_same_files(record, source, models)
    for fold_dir in find_fold_dirs(source):
        _require_state(fold_dir, source.name, config)


def copy_state(source: Path, run: Path) -> None:
    """Copy the checkpoints of a run, each of its folds, into the folder of a new run.

    A fold that has its last checkpoint by now is left alone. Ranks above zero wait for rank zero.

    Raises:
        RunError: Rank zero has not copied them in time.
    """
    old_dirs = find_fold_dirs(source)
    if rank() > 0:
        wait_for_files([new.last_checkpoint for new in fold_dirs(run, len(old_dirs))])
        return
    for old, new in zip(old_dirs, fold_dirs(run, len(old_dirs)), strict=True):
        last, target = old.last_checkpoint, new.last_checkpoint
        if target.is_file():
            continue
        ignored = shutil.ignore_patterns(FITTED, last.name)
        shutil.copytree(old.checkpoints, new.checkpoints, ignore=ignored, dirs_exist_ok=True)
        shutil.copyfile(last, target.with_suffix(".part"))
        target.with_suffix(".part").replace(target)  # complete, or not there


def state_of_stopped(run: Path, runs: Path) -> Path | None:
    """Return the run whose state a stopped one has still to copy; None if it has it.

    Raises:
        RunError: It was begun with the state of a run that is not there any more.
    """
    if all(fold_dir.last_checkpoint.is_file() for fold_dir in find_fold_dirs(run)):
        return None
    return find_run(runs, str(read_record(run).notes.get("from")))


def schedule_warnings(source: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Say if the epochs of the run `source` had other learning rates than a longer training has."""
    sections = (load_config(source / "config.yaml", "").resolved(), config)
    before, now = (section["trainer"]["max_epochs"] or -1 for section in sections)
    num_shown = STEPS_PER_EPOCH * min(before, now)
    rates = [
        learning_rates(config, STEPS_PER_EPOCH * epochs, num_shown) for epochs in (before, now)
    ]
    if rates[0] != rates[1]:
        yield (
            f"the schedule depends on trainer.max_epochs: the epochs of {source.name} had other "
            f"learning rates ({before} in all) than the first ones of {now}; those of "
            "scheduler=constant are the same"
        )


def _may_change(key: str, config: Mapping[str, Any]) -> bool:
    section, _, name = key.partition(".")
    if section == "callbacks":
        return not (config["callbacks"] or {}).get(name.partition(".")[0])
    return section in ("trainer", "evaluate_on") or is_changeable(key)


def _require_state(fold_dir: FoldDir, name: str, config: Mapping[str, Any]) -> None:
    path = fold_dir.last_checkpoint
    checkpoint = read_checkpoint(path) if path.is_file() else {}
    if "optimizer_states" not in checkpoint:
        raise RunError(
            f"{name} has no state of its optimizer in {path}: folds that are trained in one pass "
            "and runs without callbacks.last keep none",
            hint=FROM_START,
        )
    epochs, max_epochs = checkpoint["epoch"] + 1, config["trainer"]["max_epochs"]
    if max_epochs not in (None, -1) and max_epochs <= epochs:
        raise RunError(
            f"{name} has trained {epochs} epochs, and trainer.max_epochs={max_epochs} adds none",
            hint=f"trainer.max_epochs counts all epochs: {epochs + max_epochs} adds {max_epochs}",
        )
    has_stopped = any(
        state["wait_count"] >= state["patience"]
        for state in checkpoint["callbacks"].values()
        if {"wait_count", "patience"} <= {*state}
    )
    stopping = [key for key, section in (config["callbacks"] or {}).items() if _stops(section)]
    if has_stopped and stopping:
        raise RunError(
            f"{name} stopped by itself after {epochs} epochs, and would stop again",
            hint=f"leave early stopping out: callbacks.{stopping[0]}=null",
        )


def _stops(section: Mapping[str, Any] | None) -> bool:
    if not section:
        return False
    target = resolve_target(section["_target_"], "callbacks", project_packages(Path.cwd()))
    return isinstance(target, type) and issubclass(target, EarlyStopping)
