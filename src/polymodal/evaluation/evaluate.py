"""Prediction tables to named scores."""

from collections.abc import Mapping

import polars as pl

from polymodal.contracts.predictions import PredictionTable
from polymodal.errors import PredictionError
from polymodal.evaluation.scores import Score

NUM_SHOWN = 5


def score_table(table: PredictionTable, scores: Mapping[str, Score]) -> dict[str, float]:
    """Scores each split of a table once, from all its predictions pooled over folds and seeds.

    Rows are put in one order first, so that not even the last digit depends on theirs. Unlabelled
    rows are left out; a split without a labelled row has no score.

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
        >>> from polymodal.evaluation.scores import Accuracy
        >>> logits, targets = np.eye(2, dtype=np.float32), np.array([0, 0])
        >>> table = PredictionTable.from_logits(["a", "b"], logits, targets, "xy", split="test")
        >>> score_table(table, {"accuracy": Accuracy()})
        {'test/accuracy': 0.5}
    """
    check_table(table)
    keys = ["split", "fold", "seed", "utterance_id"]
    labelled = table.frame.filter(pl.col("label").is_not_null()).sort(keys)
    values: dict[str, float] = {}
    for (split,), frame in labelled.group_by(["split"], maintain_order=True):
        part = PredictionTable(frame, table.classes, table.task, table.run_id)
        logits, targets = part.logits(), part.targets()
        values |= {f"{split}/{name}": score(logits, targets) for name, score in scores.items()}
    return values


def check_table(table: PredictionTable) -> None:
    """Refuses a table with rows that stand twice or with labels that are no declared class.

    Args:
        table: The predictions.

    Raises:
        PredictionError: A label is no declared class, or an id stands twice within split, fold and
            seed.
    """
    run = f" of run {table.run_id}" if table.run_id else ""
    unknown = sorted(set(table.frame["label"].drop_nulls()) - set(table.classes))
    if unknown:
        raise PredictionError(
            f"the table{run} has the labels {unknown[:NUM_SHOWN]}, which are no declared class",
            expected=f"one of {list(table.classes)}",
            remedy="use data with the classes that the model was trained on",
        )
    keys = table.frame.select("utterance_id", "split", "fold", "seed")
    twice = keys.filter(keys.is_duplicated())["utterance_id"].unique().sort()
    if len(twice):
        raise PredictionError(
            f"the table{run} has {len(twice)} ids more than once within split, fold and seed: "
            f"{twice[:NUM_SHOWN].to_list()}",
            expected="each id once",
            remedy="predict each utterance once, or give the tables different folds or seeds",
        )
