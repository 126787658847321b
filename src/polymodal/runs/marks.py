"""Marks of a record: why a score says less than its name promises."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from polymodal.data.folds import FOLDS, Fold, read_folds
from polymodal.experiment.experiment import Experiment
from polymodal.schemas.predictions import ID, PredictionTable
from polymodal.schemas.run_record import Mark

LIMITS = {  # split to the options of Lightning's trainer that leave batches of it out in training
    "train": ("limit_train_batches", "overfit_batches"),
    "val": ("limit_val_batches", "overfit_batches"),
}


def partial_marks(
    experiment: Experiment,
    folds: Sequence[Fold],
    num_predicted: Mapping[str, int],
    split_of: Mapping[str, str],
) -> Iterator[Mark]:
    """Name the splits of which only some rows were predicted, trained on or validated on.

    Lightning's `limit_test_batches`, `LIMITS` and `fast_dev_run` leave batches out.

    Args:
        experiment: The experiment.
        folds: Those of its folds that have predicted.
        num_predicted: Split of the scores to the number of rows that the folds have predicted.
        split_of: The same to the split of the rows, or `all`.
    """
    for split, num in num_predicted.items():
        rows = split_of[split]
        num_rows = sum(experiment.num_rows(fold, rows) for fold in folds)
        if num < num_rows:
            name = "corpus" if rows == "all" else f"{rows} split"
            yield Mark(split=split, text=f"partial {name}: {num} of {num_rows} rows were predicted")
    if "fit" not in experiment.config["stages"]:
        return
    for split, options in LIMITS.items():
        for option in options:
            limit = experiment.config["trainer"].get(option)
            if _leaves_out(limit):
                text = f"partial {split} split in each epoch: trainer.{option}={limit}"
                yield Mark(split=split, text=text)


def _leaves_out(limit: float | None) -> bool:
    """Whether a limit of batches, their number or as a float their fraction, leaves some out."""
    return bool(limit) and (isinstance(limit, int) or limit != 1.0)


def absent_class_marks(tables: Iterable[PredictionTable]) -> Iterator[Mark]:
    """Name the classes that no row of a split has, so that their recall and F1 count as 0."""
    for table in tables:
        for (split,), rows in table.frame.group_by(["split"], maintain_order=True):
            present = {*rows["label"].drop_nulls()} if table.classes else set()
            absent = [name for name in table.classes if name not in present]
            if present and absent:
                plural = "classes" if len(absent) > 1 else "class"
                text = (
                    f"no {split} row has the {plural} {', '.join(absent)}: recall and F1 count as 0"
                )
                yield Mark(split=str(split), text=text)


def training_marks(
    frame: pl.DataFrame,
    fingerprint: str,
    split: str,
    tables: Sequence[PredictionTable],
    source: Path,
) -> Iterator[Mark]:
    """Say how many predicted rows the run in the folder `source` was trained on.

    `frame` has the rows of the corpus, `tables` the predictions of each fold's model. In a corpus
    that has changed since, or is another one, a row is known by the values that it was split by,
    such as its speaker.
    """
    if split == "train" or not (source / FOLDS).is_file():
        return
    folds, trained_fingerprint = read_folds(source)
    columns = {column for fold in folds for column in fold.assignment}
    if not columns or not columns <= {*frame.columns}:
        return
    trained: set[str] = set()
    for table in tables:  # a fold without a row of the split has none
        fold = folds[table.frame["fold"][0]]
        of_fold = frame.filter(fold.split_of_rows(frame) == "train")[ID]
        trained |= {*of_fold} & {*table.frame[ID]}
    if trained:
        num_rows = len({row for table in tables for row in table.frame[ID]})
        is_changed = fingerprint != trained_fingerprint
        limit = f", as far as {' and '.join(sorted(columns))} tells" if is_changed else ""
        text = f"{split} includes training rows: {len(trained)} of {num_rows}{limit}"
        yield Mark(split=split, text=text)
