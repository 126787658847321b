"""Prediction tables to named scores."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from polymodal.errors import PredictionError
from polymodal.evaluation.classification import Score
from polymodal.schemas.predictions import PredictionTable

NUM_SHOWN = 5


def score_table(table: PredictionTable, scores: Mapping[str, Score]) -> dict[str, float]:
    """Scores each split of a table once, from all its predictions pooled over folds and seeds.

    Rows are put in one order first, so that not even the last digit depends on theirs. Unlabelled
    rows are left out; a split without a labelled row has no score. A score of values is named by
    the value (`test/ccc_valence`); its mean over the values has the name alone (`test/ccc`).

    Args:
        table: The predictions.
        scores: Name to score.

    Returns:
        `<split>/<name>` to value.

    Raises:
        PredictionError: A label is no declared class, an id stands twice within split, fold and
            seed, or logits are not finite.

    Example:
        >>> import numpy as np
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
            of_part = _apply(score, name, table.with_frame(frame))
            scored |= {f"{split}/{key}": value for key, value in of_part.items()}
    return scored


def score_names(scores: Mapping[str, Score], values: Sequence[str]) -> list[str]:
    """Returns the names under which scores are logged, without the part of the data.

    Args:
        scores: Name to score.
        values: Names of the values of the task.

    Returns:
        Such as `uar`, `ccc` and `ccc_valence`.
    """
    names = []
    for name, score in scores.items():
        names.append(name)
        if input_kind(score) == "values":
            names += [f"{name}_{value}" for value in values]
    return names


def higher_is_better(name: str, scores: Mapping[str, Score]) -> bool:
    """Tells the direction of a logged score.

    Args:
        name: Such as `uar`, `ccc_valence` or `loss`, without the part of the data.
        scores: Name to score.

    Returns:
        Whether a larger value is the better one.

    Example:
        >>> from polymodal.evaluation.regression import RootMeanSquaredError
        >>> higher_is_better("rmse_valence", {"rmse": RootMeanSquaredError()})
        False
    """
    for known, score in scores.items():
        if name == known or (input_kind(score) == "values" and name.startswith(f"{known}_")):
            return score.higher_is_better
    return False


def monitor_mode(monitor: str, scores: Mapping[str, Score]) -> str:
    """Returns `max` or `min` for a monitor, as callbacks want it.

    Args:
        monitor: Such as `val/uar` or `val/loss`.
        scores: Name to score.

    Example:
        >>> monitor_mode("val/loss", {})
        'min'
    """
    return "max" if higher_is_better(monitor.partition("/")[2], scores) else "min"


def input_kind(score: Score) -> str:
    """Returns what a score reads: `classes`, `values` or `labels`."""
    return str(getattr(score, "reads", "classes"))


def _apply(score: Score, name: str, part: PredictionTable) -> dict[str, float]:
    """A score of one part; nothing where the part has no target for it."""
    if input_kind(score) == "classes":
        known = part.with_frame(part.frame.filter(pl.col("label").is_not_null()))
        return {name: score(known.logits(), known.targets())} if len(known) else {}
    said, true = part.predicted_values(), part.target_values()
    if input_kind(score) == "labels":
        rows = np.isfinite(true).all(axis=1)
        return {name: score(said[rows], true[rows] > 0.5)} if rows.any() else {}
    scored = {}
    for place, value in enumerate(part.values):
        rows = np.isfinite(true[:, place])
        if rows.any():
            scored[f"{name}_{value}"] = score(said[rows, place], true[rows, place])
    return {name: float(np.mean([*scored.values()])), **scored} if scored else {}


def check_table(table: PredictionTable) -> None:
    """Refuses a table with rows that stand twice or with labels that are no declared class.

    Args:
        table: The predictions.

    Raises:
        PredictionError: A label is no declared class, or an id stands twice within split, fold and
            seed.
    """
    run = f" of run {table.run_id}" if table.run_id else ""
    labels = table.frame["label"].drop_nulls().to_list() if table.classes else []
    unknown = sorted(set(labels) - set(table.classes))
    if unknown:
        raise PredictionError(
            f"the table{run} has the labels {unknown[:NUM_SHOWN]}, which are no declared class",
            expected=f"one of {list(table.classes)}",
            hint="use data with the classes that the model was trained on",
        )
    keys = table.frame.select("utterance_id", "split", "fold", "seed")
    twice = keys.filter(keys.is_duplicated())["utterance_id"].unique().sort()
    if len(twice):
        raise PredictionError(
            f"the table{run} has {len(twice)} ids more than once within split, fold and seed: "
            f"{twice[:NUM_SHOWN].to_list()}",
            expected="each id once",
            hint="predict each utterance once, or give the tables different folds or seeds",
        )
