"""Apply a stored run to data: test and predict."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.config.compose import ComposedConfig, apply_overrides, load_config, runs_folder
from polymodal.data.folds import FOLDS, Fold, read_folds
from polymodal.encoders.huggingface.checkpoint import FOLDER, locate, pretrained_weights
from polymodal.ensemble.soft import soft_vote
from polymodal.errors import CheckpointError, ConfigError, RunError
from polymodal.evaluation.score import score_table
from polymodal.experiment.data_summary import dataset_summary, encoder_summary
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.pretrained_files import pretrained_models, require_same_files
from polymodal.experiment.trained_encoders import check_same_weights
from polymodal.experiment.trainer import build_trainer, predict_split
from polymodal.preflight.prepare import prepare_experiment
from polymodal.runs.load_predictions import read_tables
from polymodal.runs.marks import absent_class_marks, partial_marks, training_marks
from polymodal.runs.nested_cv import chosen_options
from polymodal.runs.recorder import Session, recording, stage_time
from polymodal.runs.train import RunResult, extract, run_result
from polymodal.schemas.predictions import PredictionTable, concatenate
from polymodal.schemas.run_record import RunRecord
from polymodal.tracking.index import find_run, read_record, require_trained
from polymodal.tracking.run_folder import ENCODERS, FoldDir, find_fold_dirs, fold_dirs
from polymodal.training.checkpoints import read_checkpoint
from polymodal.training.distributed import destroy_process_group, rank
from polymodal.training.progress import Display


def load_stored_run(name: str, overrides: Sequence[str]) -> tuple[Path, ComposedConfig]:
    """Find a run and its configuration.

    Args:
        name: Run id or prefix of one, a path, or `last`.
        overrides: Changes to its configuration.

    Returns:
        The run folder and the changed configuration.

    Raises:
        UserError: There is no such run, or an override is invalid.
    """
    path = find_run(runs_folder(), name)
    return path, _configuration(path, read_record(path), overrides)


def _configuration(run: Path, record: RunRecord, overrides: Sequence[str]) -> ComposedConfig:
    return apply_overrides(load_config(run / "config.yaml", record.experiment), overrides)


def load_trained_run(name: str, overrides: Sequence[str]) -> tuple[Path, ComposedConfig]:
    """Find a run whose models are to be applied, and its configuration: see `load_stored_run`.

    Raises:
        UserError: As of `load_stored_run`, or it is a study, a test or the like.
    """
    source = find_run(runs_folder(), name)
    record = read_record(source)
    its_runs = "name one of its runs: `polymodal show` lists them"
    require_trained(
        record,
        "which has trained no model of its own",
        hint=f"name the run {record.parent}" if record.parent else its_runs,
    )
    return source, _with_own_files(source, _configuration(source, record, overrides), record)


def _with_own_files(source: Path, composed: ComposedConfig, record: RunRecord) -> ComposedConfig:
    """Let a run read its own copies where the pretrained model that it began with is gone.

    A commit that the record names is that of the model on the hub, whatever has come since.
    """
    revisions = record.data.get("revisions") or {}
    config = composed.config.copy()
    for name in config.encoder:
        section, copied = config.encoder[name], source / ENCODERS / str(name)
        if name not in revisions or Path(str(section.name)).expanduser().is_dir():
            continue
        commit = str(revisions[name])
        if not commit.startswith(FOLDER):
            section.revision = commit
        try:
            with pretrained_weights("optional"):
                locate(str(section.name), section.get("revision"))
        except (ConfigError, CheckpointError):
            if (copied / "config.json").is_file():
                section.name, section.revision = str(copied.resolve()), None
    return replace(composed, config=config)


def apply_run(
    source: Path,
    composed: ComposedConfig,
    config: Mapping[str, Any],
    *,
    kind: str,
    out: str | None = None,
    notes: Mapping[str, Any] | None = None,
) -> RunResult | None:
    """Write the prediction table of a stored run for a split, and score it if it has labels.

    With `evaluate_on=all` the models of all folds predict the full corpus, and their probabilities
    are averaged. Any other split is predicted fold by fold, each by the model that was not trained
    on it.

    Args:
        source: Folder of the run.
        composed: Its configuration with the requested changes.
        config: The same, resolved and checked.
        kind: `test` or `predict`.
        out: File for a copy of the table, `.parquet` or `.csv`.
        notes: Initial notes of the record.

    Returns:
        Folder and record of this run; None on other ranks than zero.

    Raises:
        UserError: The run has no checkpoint, or the data cannot be used.
    """
    trained = find_fold_dirs(source)
    on_full_corpus = config["evaluate_on"] == "all"
    stored_folds = None if on_full_corpus else _stored_folds(source, config)
    with pretrained_weights("optional"):
        experiment = prepare_experiment(
            config, len(trained) if on_full_corpus else None, stored_folds
        )
    if len(experiment.folds) != len(trained):
        raise RunError(
            f"{source.name} has {len(trained)} trained folds, the split gives "
            f"{len(experiment.folds)}",
            hint="use --split all to apply every fold's model to the full corpus",
        )
    record = read_record(source)
    check_same_weights(record, experiment.trained)
    models = pretrained_models(experiment.prototypes, experiment.trained)
    require_same_files(record, source, models)
    for fold_dir in trained:
        assert fold_dir.best_or_last_checkpoint  # raises early if a checkpoint is missing
    split = "predict" if kind == "predict" else config["evaluate_on"]
    data = {**dataset_summary(experiment), "evaluate_on": config["evaluate_on"]}
    with (
        recording(
            composed,
            config,
            kind=kind,
            parent=source.name,
            data=data,
            encoders=encoder_summary(experiment),
            higher_is_better=experiment.score_directions,
            notes=notes,
        ) as session,
        Display() as display,
    ):
        session.warn(display, experiment.remarks)
        extract(experiment, session, display, training=False)
        _apply_folds(experiment, trained, session, split)
        if rank() == 0:
            tables = read_tables(fold_dirs(session.path, len(experiment.folds)), split)
            if not tables:
                raise RunError(f"split {split!r} has no utterance", hint="choose another split")
            if on_full_corpus and len(tables) > 1:  # of no fold, but of all
                voted = soft_vote(tables)
                table = voted.with_frame(voted.frame.with_columns(fold=pl.lit(None, pl.Int64)))
            else:
                table = concatenate(tables)
            _write(table, session.path / "predictions" / f"{split}.parquet", out)
            session.scores |= score_table(table, experiment.scores)
            num_rows, split_of = {split: sum(map(len, tables))}, {split: config["evaluate_on"]}
            session.marks += partial_marks(experiment, experiment.folds, num_rows, split_of)
            session.marks += absent_class_marks([table])
            session.marks += training_marks(
                experiment.manifest.frame, experiment.fingerprint, split, tables, source
            )
    destroy_process_group()
    return run_result(session.path)


def _stored_folds(source: Path, config: Mapping[str, Any]) -> tuple[list[Fold], str] | None:
    """Return the folds that the run was trained with, unless another split is requested."""
    before = load_config(source / "config.yaml", "").resolved()
    file = source / FOLDS
    same = before.get("split") == config["split"]
    return read_folds(file) if same and file.is_file() else None


def _apply_folds(
    experiment: Experiment, trained: Sequence[FoldDir], session: Session, split: str
) -> None:
    targets = fold_dirs(session.path, len(trained))
    trainer = build_trainer(experiment, callbacks=[], logger=False)
    for fold, fold_dir, target in zip(experiment.folds, trained, targets, strict=True):
        varied = experiment.with_options(chosen_options(fold_dir))  # selected by inner folds
        with pretrained_weights("optional"):
            module = varied.build_module(Fold(fold.index, {}), session.run_id)
        module.load_weights(read_checkpoint(fold_dir.best_or_last_checkpoint))
        module.predictions = target.predictions
        with stage_time(session, "test"):
            predict_split(
                trainer,
                module,
                experiment.build_loader(fold, experiment.config["evaluate_on"]),
                split,
            )


def _write(table: PredictionTable, path: Path, out: str | None) -> None:
    path.parent.mkdir(exist_ok=True)
    table.write(path)
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        table.write(Path(out))
