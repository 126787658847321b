"""Marks of a record: why a score says less than its name promises."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from polymodal.data.folds import FOLDS, read_folds
from polymodal.experiment.experiment import Experiment
from polymodal.schemas.predictions import ID, PredictionTable


def partial_marks(experiment: Experiment, num_predicted: Mapping[str, int]) -> Iterator[str]:
    """Name the splits of which only some rows were predicted, or validated on in each epoch.

    Lightning's `limit_test_batches`, `limit_val_batches` and `fast_dev_run` leave batches out.
    `num_predicted` has a split, or `all`, to the rows that all folds have predicted of it.
    """
    for split, num in num_predicted.items():
        num_rows = sum(experiment.num_rows(fold, split) for fold in experiment.folds)
        if num < num_rows:
            name = "corpus" if split == "all" else f"{split} split"
            yield f"partial {name}: {num} of {num_rows} rows were predicted"
    limit = experiment.config["trainer"].get("limit_val_batches")
    if "fit" in experiment.config["stages"] and limit not in (None, 0, 1.0):
        yield f"partial val split in each epoch: trainer.limit_val_batches={limit}"


def training_marks(
    frame: pl.DataFrame,
    fingerprint: str,
    split: str,
    tables: Sequence[PredictionTable],
    source: Path,
) -> Iterator[str]:
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
        yield f"{split} includes training rows: {len(trained)} of {num_rows}{limit}"
