"""Compute named scores of prediction tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from polymodal.errors import PredictionError
from polymodal.evaluation.classification import Score
from polymodal.schemas.predictions import PredictionTable

NUM_SHOWN = 5


def score_table(table: PredictionTable, scores: Mapping[str, Score]) -> dict[str, float]:
    """Score each split of a table once, with its predictions pooled over folds and seeds.

    Rows are sorted first, so that not even the last digit depends on their order. Unlabelled rows
    are left out; a split without a labelled row has no score. The names are `<split>/<name>`. A
    score that reads values is named after the target dimension (`test/ccc_valence`); its mean over
    these has the bare name (`test/ccc`).

    Raises:
        PredictionError: As `check_table`, or logits are not finite.

    Example:
        >>> from polymodal.evaluation.classification import Accuracy
        >>> logits, targets = np.eye(2, dtype=np.float32), np.array([0, 0])
        >>> table = PredictionTable.from_logits(["a", "b"], logits, targets, "xy", split="test")
        >>> score_table(table, {"accuracy": Accuracy()})
        {'test/accuracy': 0.5}
    """
    check_table(table)
    rows = table.frame.sort(["split", "fold", "seed", "utterance_id"])
    scored: dict[str, float] = {}
    for (split,), frame in rows.group_by(["split"], maintain_order=True):
        for name, score in scores.items():
            of_split = _apply(score, name, table.with_frame(frame))
            scored |= {f"{split}/{key}": value for key, value in of_split.items()}
    return scored


def score_names(scores: Mapping[str, Score], values: Sequence[str]) -> list[str]:
    """Return the names under which scores are logged, without the split.

    `values` are the target dimensions of the task.

    Example:
        >>> from polymodal.evaluation.regression import RootMeanSquaredError
        >>> score_names({"rmse": RootMeanSquaredError()}, ["valence"])
        ['rmse', 'rmse_valence']
    """
    names = []
    for name, score in scores.items():
        names.append(name)
        if input_kind(score) == "values":
            names += [f"{name}_{value}" for value in values]
    return names


def higher_is_better(name: str, scores: Mapping[str, Score]) -> bool:
    """Return whether a larger value of a logged score such as `uar` or `loss` is better.

    Example:
        >>> from polymodal.evaluation.regression import RootMeanSquaredError
        >>> higher_is_better("rmse_valence", {"rmse": RootMeanSquaredError()})
        False
    """
    for base, score in scores.items():
        if name == base or (input_kind(score) == "values" and name.startswith(f"{base}_")):
            return score.higher_is_better
    return False


def score_directions(scores: Mapping[str, Score], values: Sequence[str] = ()) -> dict[str, bool]:
    """Return whether a higher value is better, for the loss and every name a score is logged by.

    `values` are the target dimensions of a regression, such as `valence`.

    Example:
        >>> from polymodal.evaluation.classification import Accuracy
        >>> score_directions({"accuracy": Accuracy()})
        {'loss': False, 'accuracy': True}
    """
    names = score_names(scores, values)
    return {"loss": False, **{name: higher_is_better(name, scores) for name in names}}


def monitor_mode(monitor: str, scores: Mapping[str, Score]) -> str:
    """Return the `mode` of a Lightning callback, `max` or `min`, for a monitor.

    Example:
        >>> monitor_mode("val/loss", {})
        'min'
    """
    return "max" if higher_is_better(monitor.partition("/")[2], scores) else "min"


def input_kind(score: Score) -> str:
    """Return what a score reads: `classes`, `values` or `labels`."""
    return str(getattr(score, "reads", "classes"))


def _apply(score: Score, name: str, table: PredictionTable) -> dict[str, float]:
    if input_kind(score) == "classes":
        labelled = table.with_frame(table.frame.filter(pl.col("label").is_not_null()))
        return {name: score(labelled.logits(), labelled.targets())} if len(labelled) else {}
    predicted, targets = table.predicted_values(), table.target_values()
    if input_kind(score) == "labels":
        rows = np.isfinite(targets).all(axis=1)
        return {name: score(predicted[rows], targets[rows] > 0.5)} if rows.any() else {}
    scored = {}
    for index, value in enumerate(table.values):
        rows = np.isfinite(targets[:, index])
        if rows.any():
            scored[f"{name}_{value}"] = score(predicted[rows, index], targets[rows, index])
    return {name: float(np.mean([*scored.values()])), **scored} if scored else {}


def check_table(table: PredictionTable) -> None:
    """Check that rows are unique and that their labels are declared classes.

    Raises:
        PredictionError: A label is not a declared class, or an id is duplicated within split, fold
            and seed.
    """
    run = f" of run {table.run_id}" if table.run_id else ""
    labels = table.frame["label"].drop_nulls().to_list() if table.classes else []
    unknown = sorted(set(labels) - set(table.classes))
    if unknown:
        raise PredictionError(
            f"the table{run} has the labels {unknown[:NUM_SHOWN]}, which are not declared classes",
            expected=f"one of {list(table.classes)}",
            hint="use data with the classes that the model was trained on",
        )
    keys = table.frame.select("utterance_id", "split", "fold", "seed")
    duplicates = keys.filter(keys.is_duplicated())["utterance_id"].unique().sort()
    if len(duplicates):
        raise PredictionError(
            f"the table{run} has {len(duplicates)} duplicate ids within split, fold and seed: "
            f"{duplicates[:NUM_SHOWN].to_list()}",
            expected="each id once",
            hint="predict each utterance once, or give the tables different folds or seeds",
        )
