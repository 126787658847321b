"""Whether rows that a fold is judged by were training rows of weights that it starts from."""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from polymodal.data.folds import Fold
from polymodal.errors import SplitError

JUDGED_BY = ("val", "test")


@dataclass(frozen=True)
class TrainedRows:
    """Validation and test rows of a fold that weights were trained on, or whose speakers were.

    Args:
        num_rows: Number of such rows.
        speakers: Their speakers, sorted.
        example: Id of one such row; empty without any.
    """

    num_rows: int
    speakers: tuple[str, ...]
    example: str = ""


def trained_rows(
    frame: pl.DataFrame, fold: Fold, weights: Fold, *, speaker_dependent: bool
) -> TrainedRows:
    """Find the rows of a fold that weights of another run have been trained on.

    Args:
        frame: The rows of the corpus.
        fold: How they are split here; inner folds count as well.
        weights: How they were split when the weights were trained.
        speaker_dependent: Whether the split here may share speakers; then rows count alone.

    Returns:
        What was found.

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
            expected="the columns by which the training rows of the weights can be known again",
            hint="read the corpus as that run did",
        )
    trained = weights.split_of_rows(frame).eq_missing(pl.Series(["train"]))
    if not speaker_dependent:
        known = weights.assignment.get("speaker", {})
        speakers = {one for one, split in known.items() if split == "train"}
        speakers |= {*frame.filter(trained)["speaker"].drop_nulls()}
        trained = trained | _is_in(frame["speaker"], speakers)
    found = frame.filter(trained & _judges(frame, fold)).sort("utterance_id")
    if found.is_empty():
        return TrainedRows(0, ())
    speakers_found = sorted({*found["speaker"].drop_nulls()})
    return TrainedRows(found.height, tuple(speakers_found), str(found["utterance_id"][0]))


def _judges(frame: pl.DataFrame, fold: Fold) -> pl.Series:
    """Which rows a model is chosen or tested by."""
    judges = _is_in(fold.split_of_rows(frame), JUDGED_BY)
    for inner in fold.inner:
        judges = judges | _is_in(inner.split_of_rows(frame), JUDGED_BY)
    return judges


def _is_in(values: pl.Series, wanted: Collection[str]) -> pl.Series:
    return values.is_in([*wanted]).fill_null(False)
