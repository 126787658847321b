"""Small heads on stored features: all folds, and of a study all seeds, trained in one go."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from polymodal.data.folds import Fold
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.encoders.precomputed import PrecomputedEncoder
from polymodal.experiment.experiment import Experiment
from polymodal.runs.recorder import Session
from polymodal.runs.vectorized.driver import (
    HeadJob,
    Trained,
    fit_vectorized,
    predict_vectorized,
    why_not_vectorizable,
)
from polymodal.schemas.predictions import PredictionTable, concatenate
from polymodal.tracking.layout import FoldDir, fold_dirs
from polymodal.training.distributed import rank

STORED = (FrozenEncoder, PrecomputedEncoder)


@dataclass(frozen=True)
class TrainedFolds:
    """The folds of one run, trained in a folder that is not the run's.

    Args:
        folder: The folder.
        trained: What was logged, one entry a fold.
        num_heads: How many heads were trained together.
    """

    folder: Path
    trained: list[Trained]
    num_heads: int


def is_small_head(experiment: Experiment) -> bool:
    """Return whether nothing but a head on stored features is trained."""
    return all(isinstance(prototype, STORED) for prototype in experiment.prototypes.values())


def why_not_vectorized(experiment: Experiment, run: Path | None = None) -> str | None:
    """Return why the folds of a run are trained one after another.

    Args:
        experiment: The experiment, its features extracted.
        run: The run folder; None before there is one.

    Returns:
        The reason in words, or None where they can be trained at once.
    """
    num_folds = len(experiment.folds)
    if rank() > 0 or "fit" not in experiment.config["stages"]:
        return "there is nothing to train"
    if experiment.config["selection"]["grid"]:
        return "options are chosen by inner folds"
    if experiment.config["test_subsets"]:
        return "subsets of the modalities are tested"
    if run and any(place.last_checkpoint.is_file() for place in fold_dirs(run, num_folds)):
        return "the run goes on"
    if num_folds == 1 and not experiment.folds[0].inner:
        return "there is one fold"
    return why_not_vectorizable(experiment)


def train_folds(
    experiments: Sequence[Experiment], folder: Path, progress: Callable[[int, int], None]
) -> list[TrainedFolds]:
    """Train every fold of several runs, which differ in their seed alone.

    Args:
        experiments: One a run; `objection` has none to any.
        folder: Where to; must exist.
        progress: Called with how many epochs are done, and of how many.

    Returns:
        One entry a run, in their order.

    Raises:
        FloatingPointError: A loss is no number.
    """
    outer, inner = [], []
    for number, experiment in enumerate(experiments):
        at = fold_dirs(folder / str(number), len(experiment.folds))
        for fold, place in zip(experiment.folds, at, strict=True):
            outer.append(HeadJob(experiment, fold, place))
            inner += [HeadJob(experiment, one, _inside(place, one)) for one in fold.inner]
    trained = fit_vectorized([*outer, *inner], progress)
    staged, first = [], 0
    for number, experiment in enumerate(experiments):
        last = first + len(experiment.folds)
        staged.append(
            TrainedFolds(folder / str(number), trained[first:last], len(outer) + len(inner))
        )
        first = last
    return staged


def commit_trained_folds(experiment: Experiment, staged: TrainedFolds, session: Session) -> None:
    """Make what was trained the run's own: checkpoints, journal, prediction tables."""
    folds = experiment.folds
    at = fold_dirs(session.path, len(folds))
    for fold, place, one in zip(folds, at, staged.trained, strict=True):
        source = fold_dirs(staged.folder, len(folds))[fold.index]
        if place.path.exists():
            shutil.copytree(source.path, place.path, dirs_exist_ok=True)
        else:  # whole or not there, also where the process is killed
            place.path.parent.mkdir(exist_ok=True)
            source.path.rename(place.path)
        for scores, step, epoch in one.lines:
            session.writer.log(scores, step, epoch, fold.index if len(folds) > 1 else None)
    jobs = [
        HeadJob(experiment, fold, place, session.run_id)
        for fold, place in zip(folds, at, strict=True)
    ]
    out_of_fold = experiment.config["selection"]["out_of_fold"]
    if out_of_fold:
        _tell_out_of_fold(jobs)
    for part, file in experiment.stage_splits:
        if part != "val" or not out_of_fold:
            predict_vectorized(jobs, part, file)
    session.notes["trained_together"] = staged.num_heads
    session.notes["num_parameters"] = sum(
        parameter.numel() for parameter in jobs[0].module.parameters()
    )


def _tell_out_of_fold(jobs: Sequence[HeadJob]) -> None:
    """Write what the inner folds say of the training rows of each fold."""
    inner = [
        replace(job, fold=one, place=_inside(job.place, one))
        for job in jobs
        for one in job.fold.inner
    ]
    predict_vectorized(inner, "val")
    for job in jobs:
        files = [_inside(job.place, one).predictions / "val.parquet" for one in job.fold.inner]
        pooled = concatenate([PredictionTable.read(file) for file in files])
        frame = pooled.frame.with_columns(fold=pl.lit(job.fold.index, pl.Int64))
        job.place.predictions.mkdir(parents=True, exist_ok=True)
        pooled.with_frame(frame).write(job.place.predictions / "val.parquet")
        shutil.rmtree(job.place.path / "inner")


def _inside(place: FoldDir, inner: Fold) -> FoldDir:
    return FoldDir(place.path / "inner" / str(inner.index))
