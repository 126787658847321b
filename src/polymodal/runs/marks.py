"""Marks of a record: why a score says less than its name promises."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from polymodal.data.folds import Fold, read_folds
from polymodal.experiment.experiment import Experiment
from polymodal.schemas.predictions import ID, PredictionTable

FOLDS = "folds.json"


def partial_marks(
    experiment: Experiment, tables: Mapping[str, Sequence[PredictionTable]]
) -> Iterator[str]:
    """Name the splits of which only some rows were predicted, or validated on in each epoch.

    Lightning's `limit_test_batches`, `limit_val_batches` and `fast_dev_run` leave batches out.
    `tables` has a split, or `all`, to the prediction table of each fold.
    """
    for split, of_folds in tables.items():
        num_rows = sum(experiment.num_rows(fold, split) for fold in experiment.folds)
        num_predicted = sum(len(table) for table in of_folds)
        if num_predicted < num_rows:
            name = "corpus" if split == "all" else f"{split} split"
            yield f"partial {name}: {num_predicted} of {num_rows} rows were predicted"
    limit = experiment.config["trainer"].get("limit_val_batches")
    if "fit" in experiment.config["stages"] and limit not in (None, 0, 1.0):
        yield f"partial val split in each epoch: trainer.limit_val_batches={limit}"


def training_marks(
    experiment: Experiment, split: str, tables: Sequence[PredictionTable], source: Path
) -> Iterator[str]:
    """Say how many predicted rows the run in the folder `source` was trained on.

    `tables` has the predictions of each fold's model. In a corpus that has changed since, or is
    another one, a row is known by the values that it was split by, such as its speaker.
    """
    frame = experiment.manifest.frame
    if split == "train" or not (source / FOLDS).is_file():
        return
    folds, fingerprint = read_folds(source)
    columns = {column for fold in folds for column in fold.assignment}
    if not columns or not columns <= {*frame.columns}:
        return
    trained: set[str] = set()
    for fold, table in zip(folds, tables, strict=True):
        trained |= _trained_ids(frame, fold) & {*table.frame[ID]}
    if trained:
        num_rows = len({row for table in tables for row in table.frame[ID]})
        known_by = ID if fingerprint == experiment.fingerprint else " and ".join(sorted(columns))
        yield (
            f"{split} includes training rows: {len(trained)} of {num_rows}"
            + ("" if known_by == ID else f", as far as {known_by} tells")
        )


def _trained_ids(frame: pl.DataFrame, fold: Fold) -> set[str]:
    return {*frame.filter(fold.split_of_rows(frame) == "train")[ID]}
