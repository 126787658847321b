"""Nested protocols: inner folds choose options, and predict every training row out of its fold."""

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
from polymodal.tracking.layout import FoldDir
from polymodal.training.checkpoints import read_checkpoint
from polymodal.training.distributed import rank
from polymodal.training.progress import Display


def select_options(
    experiment: Experiment, fold: Fold, place: FoldDir, session: Session, display: Display
) -> Experiment:
    """Choose options by the inner folds of a fold, whose test rows play no part.

    With `selection.out_of_fold` what the inner folds say becomes the validation table of the fold:
    every training row is predicted by a model that has not seen it, so that a vote is fitted on
    many rows where a validation part would be small (Wolpert, 1992).

    Args:
        experiment: The experiment.
        fold: The outer fold.
        place: Its folder, which gets `selection.json`.
        session: The run.
        display: Where to say how it goes.
    """
    section = experiment.config["selection"]
    note = place.path / "selection.json"
    tried = json.loads(note.read_text(encoding="utf-8"))["tried"] if note.is_file() else []
    candidates = expand_grid(section["grid"]) or [{}]
    for number, options in enumerate(candidates[len(tried) :], start=len(tried)):
        varied = experiment.with_options(options)
        tables = []
        for inner in fold.inner:
            where = f"select · {number + 1}/{len(candidates)} · inner {inner.index + 1}"
            display.show(f"{where}/{len(fold.inner)} · {options}", number / len(candidates))
            inside = FoldDir(place.path / "inner" / f"{number}-{inner.index}")
            tables.append(_validated(varied, inner, inside, session))
        pooled = concatenate(tables)
        tried.append({"options": options, "scores": score_table(pooled, experiment.scores)})
        if rank() == 0:
            place.predictions.mkdir(parents=True, exist_ok=True)
            if section["out_of_fold"]:
                outer = pooled.frame.with_columns(fold=pl.lit(fold.index, pl.Int64))
                pooled.with_frame(outer).write(_told(place, number))
            atomic_write_text(note, json.dumps({"tried": tried}, indent=1))
    name = f"val/{section['score']}"
    sign = 1 if higher_is_better(section["score"], experiment.scores) else -1
    best = max(tried, key=lambda one: sign * one["scores"][name])
    if rank() == 0:
        atomic_write_text(note, json.dumps({"tried": tried, "chosen": best["options"]}, indent=1))
        if section["out_of_fold"]:
            shutil.copyfile(_told(place, tried.index(best)), place.predictions / "val.parquet")
    if not section["grid"]:
        return experiment
    session.notes.setdefault("selected", {})[str(fold.index)] = best["options"]
    display.print_line(
        f"fold {fold.index}: chose {best['options']} with {name} {best['scores'][name]:.3f}"
    )
    return experiment.with_options(best["options"])


def chosen_options(place: FoldDir) -> dict[str, Any]:
    """Return the options that a fold was trained with after its selection.

    Returns:
        Dotted key to value; empty where nothing was chosen.
    """
    note = place.path / "selection.json"
    if not note.is_file():
        return {}
    return dict(json.loads(note.read_text(encoding="utf-8")).get("chosen", {}))


def _told(place: FoldDir, number: int) -> Path:
    """Where it is kept what the inner folds say with a number of options."""
    return place.predictions / f"inner-{number}.parquet"


def _validated(
    experiment: Experiment, inner: Fold, place: FoldDir, session: Session
) -> PredictionTable:
    """Train an inner fold and returns what it says of its validation part."""
    module = experiment.build_module(inner, session.run_id)
    module.predictions = place.predictions
    trainer = build_trainer(experiment, callbacks=build_callbacks(experiment, place), logger=False)
    with stage_time(session, "select"):
        fit_fold(experiment, inner, place, module, trainer)
        module.load_weights(read_checkpoint(place.best_or_last_checkpoint))
        predict_split(trainer, module, experiment.build_loader(inner, "val"), "val")
    trainer.strategy.barrier("validated")
    table = PredictionTable.read(place.predictions / "val.parquet")
    trainer.strategy.barrier("read")
    if trainer.is_global_zero:
        shutil.rmtree(place.path)
    return table
