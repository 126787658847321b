"""What must fit together before anything is trained: labels, targets, loss, monitors, selection."""

from typing import TYPE_CHECKING

from polymodal.config.grid import expand_grid
from polymodal.config.instantiate import instantiate
from polymodal.data.folds import Fold
from polymodal.errors import ConfigError, ManifestError, nearest
from polymodal.evaluation.score import monitor_mode, score_names
from polymodal.features.prefix_cache import check_reuse

if TYPE_CHECKING:
    from polymodal.experiment.experiment import Experiment

SAMPLINGS = ("natural", "balanced")


def check(experiment: "Experiment", *, training: bool) -> None:
    """Builds model and loss once and compares them with the data.

    Args:
        experiment: The experiment.
        training: Whether there are parts to train and validate on.

    Raises:
        UserError: A component refuses its options, a label is no class, the task has nothing to
            learn from, or a monitor names no score.
    """
    sampling = experiment.config["data"]["sampling"]
    if sampling not in SAMPLINGS:
        raise ConfigError(f"data.sampling={sampling}", hint=nearest(str(sampling), SAMPLINGS))
    check_reuse(experiment.config)
    experiment.build_model(experiment.prototypes)
    balance = instantiate(experiment.config["balance"], "balance")
    sizes = {name: encoder.feature_size for name, encoder in experiment.prototypes.items()}
    balance.heads(sizes, experiment.task.num_outputs)
    _check_labels(experiment)
    targets = experiment.task.targets(experiment.manifest.frame)
    if training:
        experiment.build_loss(Fold(0, {}))
        experiment.sampling_weights(targets)
        for fold in experiment.folds:
            experiment.train_rows(fold)
        _check_monitors(experiment)
        if balance.validates and not _validated(experiment):
            raise ConfigError(
                f"balance is {type(balance).__name__}, but a fold has no validation part",
                hint="set split.val above 0, or use balance=auxiliary",
            )
        _check_selection(experiment)


def _check_labels(experiment: "Experiment") -> None:
    known = set(experiment.task.classes or experiment.task.values)
    if experiment.task.name == "regression":
        return
    unknown = set(experiment.manifest.frame["label"].drop_nulls().unique()) - known
    if unknown:
        label = min(unknown)
        raise ManifestError(
            f"the corpus has the label {label!r}",
            expected=f"one of the declared classes {sorted(known)}",
            hint=f"{nearest(label, known)}; map it with corpus.label_map, leave it out "
            "with corpus.where, or declare it in task.classes",
        )


def _check_monitors(experiment: "Experiment") -> None:
    names = score_names(experiment.scores, experiment.task.values)
    logged = ["train/loss", "val/loss", *(f"val/{name}" for name in names)]
    validated = _validated(experiment)
    for name, section in (experiment.config["callbacks"] or {}).items():
        monitor = (section or {}).get("monitor")
        if monitor and monitor not in logged:
            raise ConfigError(
                f"callbacks.{name}.monitor={monitor} is no score of this task",
                hint=nearest(monitor, logged),
            )
        if monitor and monitor.startswith("val/") and not validated:
            raise ConfigError(
                f"callbacks.{name}.monitor={monitor}, but a fold has no validation part, or none "
                "with a target",
                hint="set split.val above 0, or use callbacks=last",
            )
        fitting = monitor_mode(str(monitor), experiment.scores)
        if monitor and section.get("mode", "auto") not in ("auto", fitting):
            raise ConfigError(
                f"callbacks.{name}.mode={section['mode']}, but {monitor} is better the other way "
                "round",
                hint=f"use callbacks.{name}.mode={fitting}, or auto",
            )


def _validated(experiment: "Experiment") -> bool:
    """Whether every fold has a validation row with a target."""
    known = experiment.manifest.frame.filter(experiment.has_target)
    return all((fold.split_of_rows(known) == "val").any() for fold in experiment.folds)


def _check_selection(experiment: "Experiment") -> None:
    section, nested = experiment.config["selection"], any(fold.inner for fold in experiment.folds)
    if nested != bool(section["grid"] or section["out_of_fold"]):
        remedy = (
            "give options, such as 'selection.grid={optimizer.lr:[0.001,0.0003]}', set "
            "selection.out_of_fold=true, or use split=k_folds"
            if nested
            else "use split=nested, which has inner folds"
        )
        raise ConfigError(
            "inner folds (split=nested) are for selection.grid or selection.out_of_fold, and "
            "these for inner folds",
            hint=remedy,
        )
    if not nested:
        return
    names = score_names(experiment.scores, experiment.task.values)
    if section["score"] not in names:
        raise ConfigError(
            f"selection.score={section['score']} is no score of this task",
            hint=nearest(str(section["score"]), names),
        )
    for options in expand_grid(section["grid"]):
        experiment.with_options(options).build_model(experiment.prototypes)
