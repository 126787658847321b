"""Rules on an experiment as objects: its rows, labels and folds against its task and options."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from polymodal.diagnostics import Diagnostic
from polymodal.errors import UserError, nearest
from polymodal.preflight.context import Context

if TYPE_CHECKING:
    import numpy as np

    from polymodal.experiment.experiment import Experiment


def check_experiment(
    experiment: "Experiment", context: Context, *, training: bool = True
) -> Iterator[Diagnostic]:
    """Judge the rows and folds of an experiment; `run`, `check`, `study` and sweeps all do.

    Args:
        experiment: The experiment; of its encoders only what they read is asked.
        context: Its configuration, and where that was written; gets notes.
        training: Whether there are splits to train and validate on.
    """
    yield from _unknown_labels(experiment)
    try:
        targets = experiment.task.targets(experiment.manifest.frame)
    except UserError as error:
        yield context.refused(error, "task", "data")
        return
    if not training:
        return
    if not experiment.task.has_target(targets).any():
        yield Diagnostic(
            "no target",
            "task",
            f"no row has a target for task={experiment.task.name}",
            "labels, votes or values",
            "check corpus.columns and corpus.label_map, or choose another task",
        )
        return
    yield from _empty_classes(experiment, targets)
    yield from _training_rows(experiment, context)
    yield from _equal_audio(experiment)
    yield from _sampling(experiment, context, targets)
    yield from _inner_folds(experiment)
    yield from _validation(experiment, context)
    yield from _classes_by_fold(experiment, context)


def _unknown_labels(experiment: "Experiment") -> Iterator[Diagnostic]:
    task = experiment.task
    names = task.classes or task.values
    if task.name == "regression":
        return
    labels = experiment.manifest.frame["label"].drop_nulls().value_counts(sort=True)
    for label, count in labels.iter_rows():
        if label not in names:
            yield Diagnostic(
                "unknown label",
                "task.classes",
                f"{count} rows have the label {label!r}, which is not a class",
                f"one of {list(names)}",
                f"{nearest(label, names)}; map it with corpus.label_map, leave it out with "
                "corpus.where, or declare it in task.classes",
            )


def _empty_classes(experiment: "Experiment", targets: "np.ndarray") -> Iterator[Diagnostic]:
    task = experiment.task
    counts = task.class_counts(targets) if task.classes else []
    for name, count in zip(task.classes, counts, strict=False):
        if not count:
            yield Diagnostic(
                "empty class",
                "task.classes",
                f"no row has the class {name!r}: it is declared, and cannot be learnt",
                hint="remove it from task.classes, or check corpus.label_map",
                severity="warning",
            )


def _training_rows(experiment: "Experiment", context: Context) -> Iterator[Diagnostic]:
    for fold in experiment.folds:
        try:
            experiment.train_rows(fold)
        except UserError as error:
            yield context.refused(error, "split", "data")
            return


def _equal_audio(experiment: "Experiment") -> Iterator[Diagnostic]:
    """Test rows whose audio is, byte for byte, that of a training row, where hashes are known."""
    from polymodal.data.leakage import equal_audio

    config = experiment.config
    # A finished run can be tested as it was trained.
    is_promised = not config["split"].get("speaker_dependent") and "fit" in config["stages"]
    for fold in experiment.folds:
        pairs = equal_audio(experiment.manifest, fold)
        if pairs.is_empty():
            continue
        tested, trained = pairs.row(0)
        yield Diagnostic(
            "equal audio",
            "split",
            f"{pairs.height} test rows of fold {fold.index} have the same audio as a training row, "
            f"such as {tested!r} and {trained!r}",
            "other recordings in test than in training",
            "remove one of the two rows; `polymodal corpus check` names all of them",
            severity="error" if is_promised else "warning",
        )
        return


def _sampling(
    experiment: "Experiment", context: Context, targets: "np.ndarray"
) -> Iterator[Diagnostic]:
    from polymodal.experiment.components import sampling_weights

    try:
        weights = sampling_weights(experiment.data_options.sampling, targets, experiment.task)
    except UserError as error:
        yield context.refused(error, "data.sampling", "data")
        return
    if weights is not None and _weighs_classes(experiment):
        yield Diagnostic(
            "balanced twice",
            "data.sampling",
            f"data.sampling={experiment.data_options.sampling} draws every class equally often, "
            "and the loss has weights, too: a rare class counts for more than a frequent one",
            "one of the two",
            "set data.sampling=natural, or a loss without weights",
            "warning",
        )


def _weighs_classes(experiment: "Experiment") -> bool:
    try:
        loss = experiment.build_loss(experiment.folds[0])
    except UserError:  # reported by the rule of components
        return False
    return getattr(loss, "weights", None) is not None


def _inner_folds(experiment: "Experiment") -> Iterator[Diagnostic]:
    """Options that need inner folds, and inner folds that nothing needs."""
    selection = experiment.selection
    nested = any(fold.inner for fold in experiment.folds)
    if nested == bool(selection.grid or selection.out_of_fold):
        return
    if nested:
        yield Diagnostic(
            "inner folds",
            "split",
            "the split has inner folds, and nothing is chosen on them",
            hint="give options, such as 'selection.grid={optimizer.lr:[0.001,0.0003]}', set "
            "selection.out_of_fold=true, or use split=k_folds",
        )
    else:
        key = "selection.grid" if selection.grid else "selection.out_of_fold"
        message = f"{key} is for inner folds, which this split does not have"
        yield Diagnostic("inner folds", key, message, hint="use split=nested")


def _validation(experiment: "Experiment", context: Context) -> Iterator[Diagnostic]:
    """Folds without a validation row that has a target, where a part waits for its score."""
    sections = (experiment.config["callbacks"] or {}).items()
    monitors = {name: str((section or {}).get("monitor", "")) for name, section in sections}
    waiting = [f"callbacks.{name}" for name, key in monitors.items() if key.startswith("val/")]
    if context.is_sound("balance") and experiment.balance_validates:
        waiting.append("balance")
    labelled = experiment.manifest.frame.filter(experiment.has_target)
    for fold in experiment.folds if waiting else ():
        if not (fold.split_of_rows(labelled) == "val").any():
            yield Diagnostic(
                "never validated",
                f"{waiting[0]}.monitor" if waiting[0] != "balance" else "balance",
                f"{waiting[0]} waits for a score of the validation rows, but fold {fold.index} "
                "has none with a target",
                hint="set split.val above 0, or use callbacks=last"
                if waiting[0] != "balance"
                else "set split.val above 0, or use balance=auxiliary",
            )
            return


def _classes_by_fold(experiment: "Experiment", context: Context) -> Iterator[Diagnostic]:
    """Classes that the training rows of a fold lack; those that other splits lack are a note."""
    classes, frame = {*experiment.task.classes}, experiment.manifest.frame
    missing: dict[str, set[str]] = {}
    for fold in experiment.folds if classes else ():
        splits = fold.split_of_rows(frame)
        for split in ("train", "val", "test"):
            seen = set(frame.filter(splits == split)["label"].drop_nulls())
            if seen:
                missing.setdefault(split, set()).update(classes - seen)
    in_corpus = set(frame["label"].drop_nulls())
    for split, names in missing.items():
        some_rows_have = ", ".join(sorted(names & in_corpus))
        if some_rows_have and split == "train":
            yield Diagnostic(
                "empty class",
                "split",
                f"no training row of some fold has the class {some_rows_have}",
                hint="choose another split, other groups or another split.seed",
                severity="warning",
            )
        elif some_rows_have:
            context.notes.append(
                f"no {split} row of some fold has the class {some_rows_have}: recall 0"
            )
