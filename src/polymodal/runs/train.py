"""Runs an experiment: every fold is trained and tested, the predictions are pooled and scored."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl

from polymodal.config.compose import ComposedConfig, load_config
from polymodal.data.folds import Fold, read_folds, write_folds
from polymodal.errors import RunError
from polymodal.evaluation.score import score_table
from polymodal.experiment.batch_size import with_budget
from polymodal.experiment.data_summary import dataset_summary, dataset_warnings, encoder_summary
from polymodal.experiment.experiment import Experiment
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
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.index import find_run
from polymodal.tracking.layout import FoldDir, fold_dirs
from polymodal.tracking.run_folder import write_record
from polymodal.training.checkpoints import read_checkpoint
from polymodal.training.distributed import destroy_process_group, rank
from polymodal.training.logger import RecordLogger
from polymodal.training.progress import Display, ProgressCallback

CHANGEABLE = ("resume", "tracker", "alert", "paths", "stages")
# How fast data are read, not which data.
CHANGEABLE_DATA = ("num_workers", "timeout_s", "cache_mb", "extract_workers", "reuse_prefix")
RunResult = tuple[Path, RunRecord]


def run_experiment(
    composed: ComposedConfig,
    config: Mapping[str, Any],
    *,
    display: Display | None = None,
    parent: str | None = None,
    notes: Mapping[str, Any] | None = None,
    experiment: Experiment | None = None,
    staged: TrainedFolds | None = None,
) -> RunResult | None:
    """Train, tests and records one experiment.

    Args:
        composed: The configuration, for the record.
        config: The same, resolved and checked.
        display: Where to say how it goes; standard error by default.
        parent: The study that the run is a cell of.
        notes: Facts for the record that are known from the start.
        experiment: The experiment, if it has been prepared already.
        staged: Its folds, if they have been trained already.

    Returns:
        The run folder and its record; None on other ranks than zero.

    Raises:
        UserError: Something is wrong with the config or the data; nothing was started.
        RunFailedError: The run died; its folder holds the traceback.
    """
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    resume = _resumed(composed, config)
    experiment = experiment or prepare_experiment(config)
    build_trainer(experiment, callbacks=[], logger=False)
    about, origins = dataset_summary(experiment), encoder_summary(experiment)
    with (
        recording(
            composed,
            config,
            data=about,
            encoders=origins,
            higher_is_better=experiment.score_directions,
            resume=resume,
            parent=parent,
            notes=notes,
        ) as session,
        display or Display() as shown,
    ):
        _record_folds(experiment, session.path)
        if rank() == 0:
            describe_encoders(session.path, experiment.prototypes, experiment.trained)
            session.warn(shown, [*dataset_warnings(about), *experiment.remarks])
        if not (experiment.features or experiment.fold_features):
            extract(experiment, session, shown, training="fit" in config["stages"])
        _run_folds(experiment, session, shown, staged)
        if rank() == 0:
            if "fit" in config["stages"]:
                with stage_time(session, "describe"):
                    write_descriptions(experiment, session.path)
            session.scores |= pool_and_score(
                experiment, fold_dirs(session.path, len(experiment.folds)), session.path
            )
    destroy_process_group()
    return run_result(session.path)


def run_result(path: Path) -> RunResult | None:
    """Return the folder and the record of a run that has ended; None on other ranks than zero."""
    return (path, RunRecord.read(path / "run.json")) if rank() == 0 else None


def extract(experiment: Experiment, session: Session, display: Display, *, training: bool) -> None:
    """Compute what frozen encoders and beginnings put out, or finds it where it was kept."""
    experiment.plan_prefix_cache(precision_of(experiment), training=training)
    with stage_time(session, "extract"):
        experiment.extract(
            lambda name, done, total: display.show(
                f"extract · {name} · {done}/{total}", done / total, important=done == total
            )
        )
    for name, words in experiment.prefixes.notes.items():
        session.notes.setdefault("frozen_prefix", {})[name] = words
        display.print_line(f"frozen prefix of {name}: {words}")


def _run_folds(
    experiment: Experiment, session: Session, display: Display, staged: TrainedFolds | None
) -> None:
    """Train and tests every fold: small heads on stored features at once, others in turn."""
    folds, at = experiment.folds, fold_dirs(session.path, len(experiment.folds))
    if staged is None and why_not_vectorized(experiment, session.path) is not None:
        for fold, place in zip(folds, at, strict=True):
            run_fold(experiment, fold, place, session, display)
        return
    for left in session.path.glob(".staged-*"):  # of a process that was killed
        shutil.rmtree(left)
    with TemporaryDirectory(dir=session.path, prefix=".staged-") as folder:
        if staged is None:
            with stage_time(session, "fit"):
                (staged,) = train_folds([experiment], Path(folder), vectorized_progress(display))
        with stage_time(session, "test"):
            commit_trained_folds(experiment, staged, session)
    for fold, place in zip(folds, at, strict=True) if len(folds) > 1 else ():
        _record_fold(experiment, fold, place, session)


def vectorized_progress(display: Display) -> Callable[[int, int], None]:
    """Return what shows how far heads are that are trained together."""
    return lambda done, total: display.show(
        f"fit · all folds together · epoch {done}/{total}", done / total, important=done == total
    )


def run_fold(
    experiment: Experiment, fold: Fold, place: FoldDir, session: Session, display: Display
) -> None:
    """Train and tests one fold."""
    stages = experiment.config["stages"]
    several = len(experiment.folds) > 1
    if "fit" in stages:
        experiment = with_budget(experiment, fold, session.path)
        session.notes |= {"batch_s": experiment.batch_s} if experiment.batch_s else {}
    if fold.inner and "fit" in stages:
        experiment = select_options(experiment, fold, place, session, display)
    module = experiment.build_module(fold, session.run_id)
    module.predictions = place.predictions
    callbacks = [
        *build_callbacks(experiment, place),
        ProgressCallback(display, fold.index, len(experiment.folds)),
    ]
    logger = RecordLogger(session.writer, fold.index if several else None)
    trainer = build_trainer(experiment, callbacks=callbacks, logger=logger)
    if "fit" in stages and not place.is_done:
        with stage_time(session, "fit"):
            fit_fold(experiment, fold, place, module, trainer)
        _note_throughput(session, module.num_trained * trainer.world_size)
    session.notes["num_parameters"] = sum(p.numel() for p in module.parameters())
    module.load_weights(read_checkpoint(place.best_or_last_checkpoint))
    with stage_time(session, "test"):
        told = fold.inner and experiment.config["selection"]["out_of_fold"]
        for part, file in experiment.stage_splits:
            if part == "val" and told:  # the inner folds have said it of more rows
                continue
            predict_split(trainer, module, experiment.build_loader(fold, part), file)
        if experiment.config["test_subsets"] and "test" in stages:
            loader = experiment.build_loader(fold, "test")
            predict_subsets(trainer, module, loader, "test", place.predictions)
    if several and rank() == 0:
        _record_fold(experiment, fold, place, session)


def _note_throughput(session: Session, num_trained: int) -> None:
    """Record how many utterances a second the folds have trained on, validation included."""
    told = session.notes.setdefault("trained", {"utterances": 0})
    told["utterances"] += num_trained
    seconds = session.notes["stage_s"]["fit"]
    told["utterances_per_s"] = round(told["utterances"] / max(seconds, 1e-3), 1)


def pool_and_score(experiment: Experiment, at: Sequence[FoldDir], run: Path) -> dict[str, float]:
    """Put the predictions of all folds together and scores them once.

    Args:
        experiment: The experiment.
        at: The folders of the folds.
        run: The run folder, which gets the pooled tables.

    Returns:
        `<part>/<score>` to value.
    """
    scores: dict[str, float] = {}
    for part in ("train", "val", "test", "test@subsets", "predict"):
        files = [place.predictions / f"{part}.parquet" for place in at]
        tables = [PredictionTable.read(file) for file in files if file.is_file()]
        if not tables:
            continue
        pooled = concatenate(tables)
        if len(at) > 1:
            (run / "predictions").mkdir(exist_ok=True)
            pooled.write(run / "predictions" / f"{part}.parquet")
        if part != "predict":
            scores |= score_table(pooled, experiment.scores)
    return scores


def _record_folds(experiment: Experiment, run: Path) -> None:
    """Write the folds to the record; a resumed run must find those that it began with."""
    path = run / "folds.json"
    if path.is_file() and read_folds(path)[0] != experiment.folds:
        raise RunError(
            f"{run.name} was begun with other folds: the corpus has changed since",
            hint="start a new run, with the old folds if you want them: "
            f"split=file split.file={path}",
        )
    if rank() == 0 and not path.is_file():
        write_folds(path, experiment.folds, experiment.fingerprint)


def _record_fold(experiment: Experiment, fold: Fold, place: FoldDir, session: Session) -> None:
    record = RunRecord(
        run_id=f"{session.run_id}/folds/{fold.index}",
        name=f"fold {fold.index}",
        status="finished",
        experiment=session.run_id,
        parent=session.run_id,
        seed=experiment.seed,
        fold=fold.index,
        scores=dict(pool_and_score(experiment, [place], place.path)),
        higher_is_better=experiment.score_directions,
        notes={"assignment": _held_out(fold)},
    )
    write_record(place.path / "run.json", record)


def _held_out(fold: Fold) -> dict[str, list[str]]:
    """The values of each grouping column that the fold tests on."""
    return {
        column: [value for value, part in parts.items() if part == "test"]
        for column, parts in fold.assignment.items()
        if column != "utterance_id"
    }


def _resumed(composed: ComposedConfig, config: Mapping[str, Any]) -> Path | None:
    """Find the run to go on with, and refuses if it had another configuration."""
    if not config["resume"]:
        return None
    path = find_run(Path(config["paths"]["runs"]), config["resume"])
    before = _fixed(load_config(path / "config.yaml", composed.name).resolved())
    now = _fixed(config)
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if changed:
        shown = "; ".join(f"{key}: {before.get(key)} became {now.get(key)}" for key in changed)
        raise RunError(
            f"the run {path.name} cannot go on with another configuration: {shown}",
            hint="give the command that began it, plus resume=…, or start a new run",
        )
    return path


def _fixed(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run must not change when it goes on."""
    kept = {key: value for key, value in config.items() if key not in CHANGEABLE}
    data = {key: value for key, value in kept["data"].items() if key not in CHANGEABLE_DATA}
    return {**kept, "data": data}
