"""Divide training speakers in two: to fit encoders, and for the fusion."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from polymodal.data.folds import Fold
from polymodal.errors import SplitError

SEED = 0


def hold_out(
    frame: pl.DataFrame, folds: Sequence[Fold], ratio: float
) -> tuple[list[Fold], list[Fold]]:
    """Divide the training speakers of each fold; validation and test rows stay as they are.

    Groups of the column that the folds are split by are drawn: `speaker`, or another one whose
    groups have no speaker in common, such as `session`.

    Returns the folds without the drawn groups, and the folds that are trained on these alone.
    `ratio`, above 0 and below 1, is the fraction of the groups that the second fold of each pair is
    trained on; both get at least one.

    Raises:
        SplitError: A fold has fewer than two training speakers, or its splits have speakers in
            common.

    Example:
        >>> rows = pl.DataFrame({"speaker": ["a", "b", "c"], "utterance_id": ["1", "2", "3"]})
        >>> fold = Fold(0, {"speaker": {"a": "train", "b": "train", "c": "test"}})
        >>> first, second = hold_out(rows, [fold], 0.5)
        >>> [dict(folds[0].assignment["speaker"]) for folds in (first, second)]
        [{'b': 'train', 'c': 'test'}, {'a': 'train', 'c': 'test'}]
    """
    pairs = [_divided(frame, fold, ratio) for fold in folds]
    return [first for first, _ in pairs], [second for _, second in pairs]


def _divided(frame: pl.DataFrame, fold: Fold, ratio: float) -> tuple[Fold, Fold]:
    column = _column(frame, fold)
    splits = fold.assignment[column]
    groups = sorted(value for value, split in splits.items() if split == "train")
    if len(groups) < 2:
        raise SplitError(
            f"fold {fold.index} has {len(groups)} {column} to train on",
            expected="at least two, to hold one out for the fusion",
            hint="use fusion_rows: in_fold, or fewer folds",
        )
    num_held = min(max(1, math.floor(ratio * len(groups) + 0.5)), len(groups) - 1)
    drawn = np.random.default_rng([SEED, fold.index]).permutation(len(groups))
    held = {groups[index] for index in drawn[:num_held]}
    return _without(fold, column, held), _without(fold, column, set(groups) - held)


def _without(fold: Fold, column: str, left_out: set[str]) -> Fold:
    assignment: Mapping[str, str] = {
        value: split for value, split in fold.assignment[column].items() if value not in left_out
    }
    return replace(fold, assignment={**fold.assignment, column: assignment}, inner=())


def _column(frame: pl.DataFrame, fold: Fold) -> str:
    """Return the column whose groups are divided: each speaker is in one of them."""
    if "speaker" in fold.assignment:
        return "speaker"
    for column in fold.assignment:
        shared = frame.group_by("speaker").agg(pl.col(column).n_unique().alias("groups"))
        if (shared["groups"] == 1).all():
            return column
    raise SplitError(
        f"fold {fold.index} is split by {', '.join(fold.assignment)}, with speakers in common",
        expected="groups without common speakers: held-out ones are new to the encoders",
        hint="split by speaker (split.groups=[speaker]), or use fusion_rows: in_fold",
    )
