"""Train all folds of a run, and all seeds of a study, in one pass, before the runs exist."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

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
from polymodal.tracking.run_folder import FoldDir, fold_dirs
from polymodal.training.distributed import rank

STORED = (FrozenEncoder, PrecomputedEncoder)


@dataclass(frozen=True)
class TrainedFolds:
    """The folds of one run, trained in a temporary directory.

    Args:
        path: The directory.
        trained: The logged scores of each fold.
        num_heads: Number of heads that were trained together.
    """

    path: Path
    trained: list[Trained]
    num_heads: int


def is_small_head(experiment: Experiment) -> bool:
    """Return whether nothing but a head on stored features is trained."""
    return all(isinstance(x, STORED) for x in experiment.prototypes.values())


def why_not_vectorized(experiment: Experiment, run: Path | None = None) -> str | None:
    """Return why the folds of a run are trained one after another, or None.

    The run directory is None before there is one.
    """
    num_folds = len(experiment.folds)
    if rank() > 0 or "fit" not in experiment.config["stages"]:
        return "there is nothing to train"
    if experiment.selection.grid:
        return "options are chosen by inner folds"
    if experiment.config["test_subsets"]:
        return "subsets of the modalities are tested"
    if run and any(fold.last_checkpoint.is_file() for fold in fold_dirs(run, num_folds)):
        return "the run is resumed"
    if num_folds == 1 and not experiment.folds[0].inner:
        return "there is one fold"
    return why_not_vectorizable(experiment)


def train_folds(
    experiments: Sequence[Experiment], path: Path, progress: Callable[[int, int, float], None]
) -> list[TrainedFolds]:
    """Train every fold of several runs, which differ in their seed alone.

    Args:
        experiments: The experiment of each run; all can be vectorized.
        path: Existing directory for the results.
        progress: As of `train_vectorized`.

    Returns:
        The folds of each run, in their order.

    Raises:
        FloatingPointError: A loss is not finite.
    """
    outer, inner = [], []
    for number, experiment in enumerate(experiments):
        directories = fold_dirs(path / str(number), len(experiment.folds))
        for fold, directory in zip(experiment.folds, directories, strict=True):
            job = HeadJob(experiment, fold, directory)
            outer.append(job)
            inner += _inner_jobs(job)
    trained = fit_vectorized([*outer, *inner], progress)
    results, num_heads = iter(trained), len(trained)
    return [
        TrainedFolds(path / str(number), [next(results) for _ in experiment.folds], num_heads)
        for number, experiment in enumerate(experiments)
    ]


def commit_trained_folds(experiment: Experiment, staged: TrainedFolds, session: Session) -> None:
    """Move checkpoints to the run, write its log, and predict its splits."""
    folds = experiment.folds
    directories = fold_dirs(session.path, len(folds))
    sources = fold_dirs(staged.path, len(folds))
    for fold, directory, trained in zip(folds, directories, staged.trained, strict=True):
        source = sources[fold.index]
        if directory.path.exists():
            shutil.copytree(source.path, directory.path, dirs_exist_ok=True)
        else:  # atomic, also if the process is killed
            directory.path.parent.mkdir(exist_ok=True)
            source.path.rename(directory.path)
        for scores, step, epoch in trained.lines:
            session.writer.log(scores, step, epoch, fold.index if len(folds) > 1 else None)
    jobs = [
        HeadJob(experiment, fold, directory, session.run_id)
        for fold, directory in zip(folds, directories, strict=True)
    ]
    out_of_fold = experiment.selection.out_of_fold
    if out_of_fold:
        _predict_out_of_fold(jobs)
    for split, file in experiment.stage_splits:
        if split != "val" or not out_of_fold:
            predict_vectorized(jobs, split, file)
    session.notes["trained_together"] = staged.num_heads
    session.notes["num_parameters"] = sum(p.numel() for p in jobs[0].module.parameters())


def _predict_out_of_fold(jobs: Sequence[HeadJob]) -> None:
    """Write the predictions of the inner folds for the training rows of each fold."""
    predict_vectorized([inner for job in jobs for inner in _inner_jobs(job)], "val")
    for job in jobs:
        files = [inner.directory.predictions / "val.parquet" for inner in _inner_jobs(job)]
        pooled = concatenate([PredictionTable.read(file) for file in files])
        frame = pooled.frame.with_columns(fold=pl.lit(job.fold.index, pl.Int64))
        job.directory.predictions.mkdir(parents=True, exist_ok=True)
        pooled.with_frame(frame).write(job.directory.predictions / "val.parquet")
        shutil.rmtree(job.directory.path / "inner")


def _inner_jobs(job: HeadJob) -> list[HeadJob]:
    root = job.directory.path / "inner"
    return [replace(job, fold=x, directory=FoldDir(root / str(x.index))) for x in job.fold.inner]
