"""Describe the embeddings of encoders from runs, which a fusion takes, for the report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from polymodal.data.folds import Fold
from polymodal.evaluation.embeddings import FoldEmbeddings, describe_embeddings
from polymodal.experiment.experiment import Experiment
from polymodal.security.files import atomic_write_text
from polymodal.tracking.run_folder import EMBEDDINGS


def write_descriptions(experiment: Experiment, run: Path) -> None:
    """Write `embeddings.json`: separability and distances of the embeddings, split by split.

    Args:
        experiment: The experiment, with extracted features.
        run: The run folder; nothing is written if no frozen encoder comes from a run.
    """
    names = [name for name in experiment.trained if name in experiment.frozen]
    descriptions = {name: _described(experiment, name) for name in names}
    if descriptions:
        atomic_write_text(run / EMBEDDINGS, json.dumps(descriptions) + "\n")


def read_descriptions(run: Path) -> dict[str, Any]:
    """Return the content of `embeddings.json` of a run, or an empty dictionary."""
    file = run / EMBEDDINGS
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def mean_description(descriptions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean description of one modality over seeds; points are those of the first.

    Example:
        >>> seeds = [{"probe": {"test": 0.4}}, {"probe": {"test": 0.6}}]
        >>> mean_description(seeds)
        {'probe': {'test': 0.5}}
    """
    first = dict(descriptions[0])
    for key in ("probe", "distance"):
        values = [description.get(key) for description in descriptions]
        tables = [value for value in values if isinstance(value, Mapping)]
        if tables:
            first[key] = {
                split: float(np.mean([table[split] for table in tables if split in table]))
                for split in tables[0]
            }
    return first


def _described(experiment: Experiment, name: str) -> dict[str, Any]:
    folds = [_of_fold(experiment, name, fold) for fold in experiment.folds if fold.assignment]
    non_empty = [fold for fold in folds if len(fold.splits)]
    return describe_embeddings(non_empty, experiment.task.classes) if non_empty else {}


def _of_fold(experiment: Experiment, name: str, fold: Fold) -> FoldEmbeddings:
    frame, stored = experiment.manifest.frame, experiment.stored_features(name, fold)
    trained = {*experiment.train_rows(fold).frame["utterance_id"]}
    splits = [
        (utterance, split)
        for utterance, split in zip(frame["utterance_id"], fold.split_of_rows(frame), strict=True)
        if utterance in stored and (utterance in trained or split in ("val", "test"))
    ]
    values = [stored[utterance].astype(np.float32).mean(axis=0) for utterance, _ in splits]
    width = experiment.prototypes[name].feature_size
    targets = _targets(frame, experiment.task.classes)
    return FoldEmbeddings(
        np.stack(values) if values else np.zeros((0, width), dtype=np.float32),
        np.array([targets[utterance] for utterance, _ in splits], dtype=np.int64),
        [str(split) for _, split in splits],
    )


def _targets(frame: pl.DataFrame, classes: Sequence[str]) -> dict[str, int]:
    """Return the class index of each utterance id, -1 if unlabelled."""
    indices = {name: index for index, name in enumerate(classes)}
    rows = zip(frame["utterance_id"], frame["label"], strict=True)
    return {str(utterance): indices.get(label, -1) for utterance, label in rows}
