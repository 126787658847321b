"""Find validation and test rows that the initial weights were trained on."""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from polymodal.data.folds import Fold
from polymodal.errors import SplitError

EVALUATION_SPLITS = ("val", "test")


@dataclass(frozen=True)
class TrainedRows:
    """Validation and test rows of a fold that weights were trained on, or whose speakers were."""

    num_rows: int
    speakers: tuple[str, ...]  # sorted
    example: str = ""  # id of one such row; empty without any


def trained_rows(
    frame: pl.DataFrame, fold: Fold, weights: Fold, *, speaker_dependent: bool
) -> TrainedRows:
    """Find the rows of a fold that weights of another run have been trained on.

    `frame` is the corpus, `fold` how it is split here (inner folds count as well), `weights` how it
    was when the weights were trained. Where splits may have speakers in common, in a
    `speaker_dependent` split, rows count alone.

    Raises:
        SplitError: The corpus lacks a column by which the weights' rows were split.

    Example:
        >>> frame = pl.DataFrame({"utterance_id": ["u", "v"], "speaker": ["a", "b"]})
        >>> here = Fold(0, {"speaker": {"a": "train", "b": "test"}})
        >>> there = Fold(0, {"speaker": {"a": "test", "b": "train"}})
        >>> trained_rows(frame, here, there, speaker_dependent=False)
        TrainedRows(num_rows=1, speakers=('b',), example='v')
    """
    if missing := {*weights.assignment} - {*frame.columns}:
        raise SplitError(
            f"the weights were trained with a split by {min(missing)!r}, which this corpus lacks",
            expected="the columns that identify the training rows of the weights",
            hint="read the corpus as that run did",
        )
    trained = weights.split_of_rows(frame).eq_missing(pl.Series(["train"]))
    if not speaker_dependent:
        assignment = weights.assignment.get("speaker", {})
        speakers = {speaker for speaker, split in assignment.items() if split == "train"}
        speakers |= {*frame.filter(trained)["speaker"].drop_nulls()}
        trained = trained | _is_in(frame["speaker"], speakers)
    is_evaluated = _is_in(fold.split_of_rows(frame), EVALUATION_SPLITS)
    for inner in fold.inner:
        is_evaluated |= _is_in(inner.split_of_rows(frame), EVALUATION_SPLITS)
    rows = frame.filter(trained & is_evaluated).sort("utterance_id")
    if rows.is_empty():
        return TrainedRows(0, ())
    names = sorted({*rows["speaker"].drop_nulls()})
    return TrainedRows(rows.height, tuple(names), str(rows["utterance_id"][0]))


def _is_in(values: pl.Series, members: Collection[str]) -> pl.Series:
    return values.is_in([*members]).fill_null(False)
