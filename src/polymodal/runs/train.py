"""Run an experiment: train and test every fold, pool the predictions and score them."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytorch_lightning as pl

from polymodal.config.compose import ComposedConfig, load_config
from polymodal.config.resume import require_same_options, resumable_run
from polymodal.config.schema import PathOptions
from polymodal.data.folds import FOLDS, Fold, read_folds, write_folds
from polymodal.errors import RunError
from polymodal.evaluation.score import score_table
from polymodal.experiment.batch_size import with_budget
from polymodal.experiment.data_summary import dataset_summary, dataset_warnings, encoder_summary
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.pretrained_files import (
    OWN_FILES,
    own_file_digests,
    pretrained_models,
    require_same_files,
)
from polymodal.experiment.trained_encoders import describe_encoders
from polymodal.experiment.trainer import (
    build_callbacks,
    build_trainer,
    fit_fold,
    precision_of,
    predict_split,
)
from polymodal.preflight.prepare import prepare_experiment
from polymodal.runs.embedding_summary import write_descriptions
from polymodal.runs.extend import (
    copy_state,
    require_extendable,
    schedule_warnings,
    state_of_stopped,
)
from polymodal.runs.load_predictions import read_tables
from polymodal.runs.marks import absent_class_marks, partial_marks
from polymodal.runs.modality_ablation import predict_subsets
from polymodal.runs.nested_cv import select_options
from polymodal.runs.recorder import Session, recording, stage_time
from polymodal.runs.vectorized.staging import (
    TrainedFolds,
    commit_trained_folds,
    train_folds,
    why_not_vectorized,
)
from polymodal.schemas.predictions import PredictionTable, concatenate
from polymodal.schemas.run_record import Mark, RunRecord
from polymodal.tracking.index import read_record
from polymodal.tracking.run_folder import FoldDir, fold_dirs, write_record
from polymodal.training.checkpoints import read_checkpoint
from polymodal.training.distributed import destroy_process_group, rank
from polymodal.training.logger import RecordLogger
from polymodal.training.progress import Display, ProgressCallback
from polymodal.waiting import say_if_slow


class RunResult(NamedTuple):
    """Folder and record of a run that has ended."""

    path: Path
    record: RunRecord


def run_experiment(
    composed: ComposedConfig,
    config: Mapping[str, Any],
    *,
    display: Display | None = None,
    parent: str | None = None,
    notes: Mapping[str, Any] | None = None,
    experiment: Experiment | None = None,
    staged: TrainedFolds | None = None,
    state_of: Path | None = None,
) -> RunResult | None:
    """Train, test and record one experiment.

    Args:
        composed: The configuration, for the record.
        config: The same, resolved and checked.
        display: Shows the progress; standard error by default.
        parent: The study that the run is a job of.
        notes: Initial notes of the record.
        experiment: The experiment, if it is prepared already.
        staged: The folds, if they are trained already.
        state_of: Folder of the run whose weights, optimizer and epoch the new one begins with.

    Returns:
        The run folder and its record; None on ranks other than zero.

    Raises:
        UserError: The configuration or the data are invalid; nothing was started.
        RunFailedError: The run failed; its folder has the traceback.
    """
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    resume = _resumed(composed, config)
    if resume is not None and _is_finished(resume, config):
        (display or Display()).print_line(f"{resume.name} has finished: its record stays as it is")
        return run_result(resume)
    with say_if_slow("reading the corpus"):
        experiment = experiment or prepare_experiment(config)
    build_trainer(experiment, callbacks=[], logger=False)
    if state_of is not None:
        require_extendable(state_of, experiment)
    elif resume is not None and config["resume_state"]:
        state_of = state_of_stopped(resume, PathOptions(**config["paths"]).runs_folder)
    if resume is not None:
        models = pretrained_models(experiment.prototypes, experiment.trained)
        require_same_files(read_record(resume), resume, models)
    with say_if_slow("summarising the data: classes, files, texts that are nearly equal"):
        summary, origins = dataset_summary(experiment), encoder_summary(experiment)
    with (
        recording(
            composed,
            config,
            data=summary,
            encoders=origins,
            higher_is_better=experiment.score_directions,
            resume=resume,
            parent=parent,
            notes=notes,
        ) as session,
        display or Display() as shown,
    ):
        _record_folds(experiment, session.path)
        if state_of is not None:
            copy_state(state_of, session.path)
            session.warn(shown, schedule_warnings(state_of, config) if rank() == 0 else ())
        if rank() == 0:
            describe_encoders(session.path, experiment.prototypes, experiment.trained)
            if own_files := own_file_digests(session.path):
                session.notes[OWN_FILES] = own_files
            session.warn(shown, [*dataset_warnings(summary), *experiment.remarks])
        if not (experiment.features or experiment.fold_features):
            extract(experiment, session, shown, training="fit" in config["stages"])
        _run_folds(experiment, session, shown, staged)
        if rank() == 0:
            if "fit" in config["stages"]:
                with stage_time(session, "describe"):
                    write_descriptions(experiment, session.path)
            pooled = _pool(fold_dirs(session.path, len(experiment.folds)), session.path)
            session.scores |= _score(experiment, pooled)
            session.marks += _marks(experiment, experiment.folds, pooled)
    destroy_process_group()
    return run_result(session.path)


def run_result(path: Path) -> RunResult | None:
    """Return the folder and the record of an ended run; None on ranks other than zero."""
    return RunResult(path, RunRecord.read(path / "run.json")) if rank() == 0 else None


def extract(experiment: Experiment, session: Session, display: Display, *, training: bool) -> None:
    """Compute or load the outputs of frozen encoders and frozen prefixes."""
    experiment.plan_prefix_cache(precision_of(experiment), training=training)
    with stage_time(session, "extract"):
        experiment.extract(
            lambda name, done, total: display.show(
                "extract", f"{name} · {done}/{total}", done / total, important=done == total
            )
        )
    for name, note in experiment.prefixes.notes.items():
        session.notes.setdefault("frozen_prefix", {})[name] = note
        display.print_line(f"frozen prefix of {name}: {note}")


def _run_folds(
    experiment: Experiment, session: Session, display: Display, staged: TrainedFolds | None
) -> None:
    """Train and test every fold: small heads on stored features in one pass, others in turn."""
    folds, dirs = experiment.folds, fold_dirs(session.path, len(experiment.folds))
    if staged is None and why_not_vectorized(experiment, session.path) is not None:
        for fold, fold_dir in zip(folds, dirs, strict=True):
            run_fold(experiment, fold, fold_dir, session, display)
        return
    for leftover in session.path.glob(".staged-*"):  # of a process that was killed
        shutil.rmtree(leftover)
    with TemporaryDirectory(dir=session.path, prefix=".staged-") as folder:
        if staged is None:
            with stage_time(session, "fit"):
                (staged,) = train_folds([experiment], Path(folder), vectorized_progress(display))
        with stage_time(session, "test"):
            commit_trained_folds(experiment, staged, session)
    for fold, fold_dir in zip(folds, dirs, strict=True) if len(folds) > 1 else ():
        _record_fold(experiment, fold, fold_dir, session)


def vectorized_progress(display: Display) -> Callable[[int, int, float], None]:
    """Return a callback that shows the progress of vectorized training."""
    return lambda epoch, total, fraction: display.show(
        "fit", f"all folds together · epoch {epoch}/{total}", fraction, important=fraction == 1
    )


def run_fold(
    experiment: Experiment, fold: Fold, fold_dir: FoldDir, session: Session, display: Display
) -> None:
    """Train and test one fold."""
    stages = experiment.config["stages"]
    several = len(experiment.folds) > 1
    if "fit" in stages:
        experiment = with_budget(experiment, fold, session.path)
        session.notes |= {"batch_s": experiment.batch_s} if experiment.batch_s else {}
    if fold.inner and "fit" in stages:
        experiment = select_options(experiment, fold, fold_dir, session, display)
    module = experiment.build_module(fold, session.run_id)
    module.predictions = fold_dir.predictions
    callbacks = [
        *build_callbacks(experiment, fold_dir),
        ProgressCallback(display, fold.index, len(experiment.folds)),
    ]
    logger = RecordLogger(session.writer, fold.index if several else None)
    trainer = build_trainer(experiment, callbacks=callbacks, logger=logger)
    if "fit" in stages and not fold_dir.is_done:
        with stage_time(session, "fit"):
            fit_fold(experiment, fold, fold_dir, module, trainer)
        _note_throughput(session, module.num_trained * trainer.world_size)
    session.notes["num_parameters"] = sum(p.numel() for p in module.parameters())
    module.load_weights(read_checkpoint(fold_dir.best_or_last_checkpoint))
    with stage_time(session, "test"):
        nested = fold.inner and experiment.selection.out_of_fold
        for split, file in experiment.stage_splits:
            if split == "val" and nested:  # the inner folds predicted more rows
                continue
            predict_split(trainer, module, experiment.build_loader(fold, split), file)
        if experiment.config["test_subsets"] and "test" in stages:
            loader = experiment.build_loader(fold, "test")
            predict_subsets(trainer, module, loader, "test", fold_dir.predictions)
    if several and rank() == 0:
        _record_fold(experiment, fold, fold_dir, session)


def _note_throughput(session: Session, num_trained: int) -> None:
    """Record the utterances per second of training, validation included."""
    throughput = session.notes.setdefault("trained", {"utterances": 0})
    throughput["utterances"] += num_trained
    seconds = session.notes["stage_s"]["fit"]
    throughput["utterances_per_s"] = round(throughput["utterances"] / max(seconds, 1e-3), 1)


def _pool(dirs: Sequence[FoldDir], run: Path) -> dict[str, PredictionTable]:
    """Pool the predictions of all folds by the name of their file, and write them to the run."""
    pooled = {}
    for name in ("train", "val", "test", "test@subsets", "predict"):
        if tables := read_tables(dirs, name):
            pooled[name] = concatenate(tables)
    if len(dirs) > 1:
        (run / "predictions").mkdir(exist_ok=True)
        for name, table in pooled.items():
            table.write(run / "predictions" / f"{name}.parquet")
    return pooled


def _score(experiment: Experiment, pooled: Mapping[str, PredictionTable]) -> dict[str, float]:
    """Score pooled predictions once, but for those of unlabelled rows: `<split>/<score>`."""
    scores: dict[str, float] = {}
    for name, table in pooled.items():
        if name != "predict":
            scores |= score_table(table, experiment.scores)
    return scores


def _marks(
    experiment: Experiment, folds: Sequence[Fold], pooled: Mapping[str, PredictionTable]
) -> Iterator[Mark]:
    """Yield the marks of the pooled predictions of folds."""
    split_of = {name: split for split, name in experiment.stage_splits if name in pooled}
    num_rows = {name: len(pooled[name]) for name in split_of}
    yield from partial_marks(experiment, folds, num_rows, split_of)
    yield from absent_class_marks(pooled[name] for name in split_of)


def _record_folds(experiment: Experiment, run: Path) -> None:
    """Write the folds to the record; a resumed run must have the same ones."""
    path = run / FOLDS
    if path.is_file() and read_folds(path)[0] != experiment.folds:
        raise RunError(
            f"{run.name} was started with other folds: the corpus has changed since",
            hint=f"start a new run; split=file split.file={path} keeps the old folds",
        )
    if rank() == 0 and not path.is_file():
        write_folds(path, experiment.folds, experiment.fingerprint)


def _record_fold(experiment: Experiment, fold: Fold, fold_dir: FoldDir, session: Session) -> None:
    pooled = _pool([fold_dir], fold_dir.path)
    record = RunRecord(
        run_id=f"{session.run_id}/folds/{fold.index}",
        name=f"fold {fold.index}",
        status="finished",
        experiment=session.run_id,
        parent=session.run_id,
        seed=experiment.seed,
        fold=fold.index,
        scores=dict(_score(experiment, pooled)),
        higher_is_better=experiment.score_directions,
        marks=[*_marks(experiment, [fold], pooled)],
        notes={"assignment": _held_out(fold)},
    )
    write_record(fold_dir.path / "run.json", record)


def _held_out(fold: Fold) -> dict[str, list[str]]:
    """Return the values of each grouping column that the fold tests on."""
    return {
        column: [value for value, split in splits.items() if split == "test"]
        for column, splits in fold.assignment.items()
        if column != "utterance_id"
    }


def _resumed(composed: ComposedConfig, config: Mapping[str, Any]) -> Path | None:
    """Find the run to resume, and reject it if it had another configuration."""
    if not config["resume"]:
        return None
    run = resumable_run(PathOptions(**config["paths"]).runs_folder, config["resume"])
    recorded = load_config(run / "config.yaml", composed.name).resolved()
    require_same_options(run, recorded, config)
    return run


def _is_finished(run: Path, config: Mapping[str, Any]) -> bool:
    """Return whether a run has ended with all stages that are asked for; its record never changes.

    Raises:
        RunError: It has finished without one of the stages.
    """
    if read_record(run).status != "finished":
        return False
    stages = load_config(run / "config.yaml", "").resolved()["stages"]
    missing = [stage for stage in config["stages"] if stage not in stages]
    if missing:
        raise RunError(
            f"{run.name} has finished with stages={stages}, and a finished record never changes: "
            f"{missing[0]} cannot be added",
            hint=f"polymodal test {run.name} --split val, train or test; polymodal predict "
            f"{run.name}; each makes a record of its own",
        )
    return True
