"""Nested cross-validation: inner folds choose options and predict every training row."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl

from polymodal.config.grid import expand_grid
from polymodal.data.folds import Fold
from polymodal.evaluation.score import higher_is_better, score_table
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import build_callbacks, build_trainer, fit_fold, predict_split
from polymodal.runs.recorder import Session, stage_time
from polymodal.schemas.predictions import PredictionTable, concatenate
from polymodal.security.files import atomic_write_text
from polymodal.tracking.run_folder import FoldDir
from polymodal.training.checkpoints import read_checkpoint
from polymodal.training.distributed import rank
from polymodal.training.progress import Display


def select_options(
    experiment: Experiment, fold: Fold, fold_dir: FoldDir, session: Session, display: Display
) -> Experiment:
    """Choose options by the inner folds of a fold, without its test rows.

    With `selection.out_of_fold` the predictions of the inner folds become the validation table of
    the fold: every training row is predicted by a model that was not trained on it, so that a vote
    is fitted on many rows (Wolpert, 1992).

    Args:
        experiment: The experiment.
        fold: The outer fold.
        fold_dir: Its folder, which gets `selection.json`.
        session: The run.
        display: Shows the progress.
    """
    selection = experiment.selection
    file = fold_dir.path / "selection.json"
    tried = json.loads(file.read_text(encoding="utf-8"))["tried"] if file.is_file() else []
    candidates = expand_grid(selection.grid) or [{}]
    for index, options in enumerate(candidates[len(tried) :], start=len(tried)):
        varied = experiment.with_options(options)
        tables = []
        for inner in fold.inner:
            num_done = index * len(fold.inner) + inner.index
            display.show(
                f"select in fold {fold.index + 1}",
                f"candidate {index + 1}/{len(candidates)} · inner fold {inner.index + 1}/"
                f"{len(fold.inner)} · {options}",
                num_done / (len(candidates) * len(fold.inner)),
            )
            inner_dir = FoldDir(fold_dir.path / "inner" / f"{index}-{inner.index}")
            tables.append(_train_and_validate(varied, inner, inner_dir, session))
        pooled = concatenate(tables)
        tried.append({"options": options, "scores": score_table(pooled, experiment.scores)})
        if rank() == 0:
            fold_dir.predictions.mkdir(parents=True, exist_ok=True)
            if selection.out_of_fold:
                outer = pooled.frame.with_columns(fold=pl.lit(fold.index, pl.Int64))
                pooled.with_frame(outer).write(_table_path(fold_dir, index))
            atomic_write_text(file, json.dumps({"tried": tried}, indent=1))
    name = f"val/{selection.score}"
    sign = 1 if higher_is_better(selection.score, experiment.scores) else -1
    best = max(tried, key=lambda trial: sign * trial["scores"][name])
    if rank() == 0:
        atomic_write_text(file, json.dumps({"tried": tried, "chosen": best["options"]}, indent=1))
        if selection.out_of_fold:
            shutil.copyfile(
                _table_path(fold_dir, tried.index(best)), fold_dir.predictions / "val.parquet"
            )
    if not selection.grid:
        return experiment
    session.notes.setdefault("selected", {})[str(fold.index)] = best["options"]
    display.print_line(
        f"fold {fold.index}: chose {best['options']} with {name} {best['scores'][name]:.3f}"
    )
    return experiment.with_options(best["options"])


def chosen_options(fold_dir: FoldDir) -> dict[str, Any]:
    """Return the selected options of a fold by dotted key; empty without a selection."""
    file = fold_dir.path / "selection.json"
    if not file.is_file():
        return {}
    return dict(json.loads(file.read_text(encoding="utf-8")).get("chosen", {}))


def _table_path(fold_dir: FoldDir, index: int) -> Path:
    return fold_dir.predictions / f"inner-{index}.parquet"


def _train_and_validate(
    experiment: Experiment, inner: Fold, fold_dir: FoldDir, session: Session
) -> PredictionTable:
    """Train an inner fold and return the predictions of its validation split."""
    module = experiment.build_module(inner, session.run_id)
    module.predictions = fold_dir.predictions
    trainer = build_trainer(
        experiment, callbacks=build_callbacks(experiment, fold_dir), logger=False
    )
    with stage_time(session, "select"):
        fit_fold(experiment, inner, fold_dir, module, trainer)
        module.load_weights(read_checkpoint(fold_dir.best_or_last_checkpoint))
        predict_split(trainer, module, experiment.build_loader(inner, "val"), "val")
    trainer.strategy.barrier("validated")
    table = PredictionTable.read(fold_dir.predictions / "val.parquet")
    trainer.strategy.barrier("read")
    if trainer.is_global_zero:
        shutil.rmtree(fold_dir.path)
    return table
