"""Prediction tables side by side, joined by id and never by the position of their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import polars as pl
from jaxtyping import Float

from polymodal.errors import PredictionError
from polymodal.schemas.predictions import ID, LOGIT, SPEAKER, VALUE, PredictionTable

NUM_SHOWN = 5


@dataclass(frozen=True)
class AlignedPredictions:
    """The same utterances as several tables see them.

    Args:
        frame: The first table's rows, sorted by the key, with what any table knows of labels and
            speakers.
        logits: Of each table, `[table, utterance, class]`, float64, rows as in `frame`.
        values: Of each table, `[table, utterance, value]`.
        classes: The classes in the order of the logits, which is the first table's.
    """

    frame: pl.DataFrame
    logits: Float[np.ndarray, "table utterance class"]
    values: Float[np.ndarray, "table utterance value"]
    classes: tuple[str, ...]


def align(tables: Sequence[PredictionTable]) -> AlignedPredictions:
    """Joins tables by utterance id and split, and by fold and seed where a table has several.

    Classes in another order are put in the first table's by name. A label or speaker that only some
    of the tables know counts for all.

    Args:
        tables: Two or more tables of the same utterances.

    Returns:
        The joined tables; the order of their rows has no influence.

    Raises:
        PredictionError: There are fewer than two tables, their classes differ, an id stands twice
            in one, an id is missing in one, logits are not finite, or two tables give an utterance
            different labels.
    """
    if len(tables) < 2:
        raise PredictionError(
            f"a vote over {len(tables)} prediction table(s)",
            expected="at least two",
            hint="name two or more runs",
        )
    names = [table.run_id or f"table {number}" for number, table in enumerate(tables, start=1)]
    classes = _shared_classes(tables, names)
    keys = _keys(tables)
    columns = [LOGIT + name for name in classes]
    outputs = [VALUE + name for name in tables[0].values]
    frames = []
    for table, name in zip(tables, names, strict=True):
        frame = table.frame.sort(keys)
        _check_unique(frame, keys, name)
        _check_finite(frame, columns + outputs, name)
        frames.append(frame)
    for frame, name in zip(frames[1:], names[1:], strict=True):
        _check_same_rows(frames[0], frame, keys, (names[0], name))
    frame = frames[0].with_columns(_labels(frames, names)) if classes else frames[0]
    frame = frame.with_columns(_speakers(frames))
    logits, values = (_stacked(frames, each) for each in (columns, outputs))
    return AlignedPredictions(frame, logits, values, classes)


def _stacked(
    frames: Sequence[pl.DataFrame], columns: Sequence[str]
) -> Float[np.ndarray, "table utterance column"]:
    arrays = [frame.select(columns).to_numpy().astype(np.float64) for frame in frames]
    return np.stack(
        [one.reshape(len(frame), -1) for one, frame in zip(arrays, frames, strict=True)]
    )


def _shared_classes(tables: Sequence[PredictionTable], names: Sequence[str]) -> tuple[str, ...]:
    first = tables[0].classes
    for table, name in zip(tables, names, strict=True):
        differing = sorted({*first, *tables[0].values} ^ {*table.classes, *table.values})
        if differing or len(table.classes) != len(first):
            raise PredictionError(
                f"{names[0]} and {name} have different classes: only one has {differing}",
                expected="the same classes in every table",
                hint="vote over runs of the same task",
            )
    return first


def _keys(tables: Sequence[PredictionTable]) -> list[str]:
    several = [
        column
        for column in ("fold", "seed")
        if any(table.frame[column].n_unique() > 1 for table in tables)
    ]
    return [ID, "split", *several]


def _check_unique(frame: pl.DataFrame, keys: list[str], name: str) -> None:
    twice = frame.filter(frame.select(keys).is_duplicated())
    if twice.height:
        raise PredictionError(
            f"{name} has ids more than once: {_shown(twice)}",
            expected="each id once within split, fold and seed",
            hint="predict each utterance once",
        )


def _check_finite(frame: pl.DataFrame, columns: list[str], name: str) -> None:
    wrong = frame.filter(~pl.all_horizontal(pl.col(columns).is_finite().fill_null(False)))
    if wrong.height:
        raise PredictionError(
            f"{name} has logits that are not finite: {_shown(wrong)}",
            hint="leave that run out, or train it again",
        )


def _check_same_rows(
    first: pl.DataFrame, other: pl.DataFrame, keys: list[str], names: tuple[str, str]
) -> None:
    lacking = first.join(other, on=keys, how="anti")
    surplus = other.join(first, on=keys, how="anti")
    faults = []
    if lacking.height:
        faults.append(f"{names[1]} lacks {lacking.height} rows of {names[0]}: {_shown(lacking)}")
    if surplus.height:
        faults.append(f"{names[0]} lacks {surplus.height} rows of {names[1]}: {_shown(surplus)}")
    if faults:
        raise PredictionError(
            "; ".join(faults),
            expected=f"the same rows in every table, joined by {', '.join(keys)}",
            hint="vote over runs on the same split, folds and data",
        )


def _labels(frames: Sequence[pl.DataFrame], names: Sequence[str]) -> pl.Series:
    labels = frames[0]["label"]
    for frame, name in zip(frames[1:], names[1:], strict=True):
        wrong = frame.filter((frame["label"] != labels).fill_null(False))
        if wrong.height:
            raise PredictionError(
                f"{name} has other labels than the tables before it: {_shown(wrong)}",
                expected="one label an utterance",
                hint="vote over runs on the same data",
            )
        labels = labels.zip_with(labels.is_not_null(), frame["label"])
    return labels


def _speakers(frames: Sequence[pl.DataFrame]) -> list[pl.Series]:
    """Who spoke, as far as any table knows."""
    known = [frame[SPEAKER] for frame in frames if SPEAKER in frame.columns]
    return (
        [reduce(lambda one, other: one.zip_with(one.is_not_null(), other), known)] if known else []
    )


def _shown(frame: pl.DataFrame) -> str:
    ids = frame[ID].unique().sort().to_list()
    more = f" and {len(ids) - NUM_SHOWN} more" if len(ids) > NUM_SHOWN else ""
    return ", ".join(map(repr, ids[:NUM_SHOWN])) + more


def prediction_columns(
    joined: AlignedPredictions, logits: Float[np.ndarray, "utterance class"]
) -> list[pl.Series]:
    """Returns what a vote says of each class, as columns of a prediction table.

    Args:
        joined: The utterances.
        logits: Of the vote, rows as in `joined.frame`.

    Returns:
        `predicted` and a logit a class.
    """
    classes = np.array(joined.classes, dtype=object)
    predicted = pl.Series("predicted", classes[logits.argmax(axis=1)].tolist(), dtype=pl.String)
    each = [
        pl.Series(LOGIT + name, logits[:, index].astype(np.float32))
        for index, name in enumerate(joined.classes)
    ]
    return [predicted, *each]


def safe_log(
    shares: Float[np.ndarray, "utterance class"],
) -> Float[np.ndarray, "utterance class"]:
    """Returns the logarithms of probabilities, finite where one has vanished.

    Args:
        shares: Probabilities.

    Returns:
        Logarithms; the smallest positive float32 stands for 0.
    """
    return np.asarray(np.log(np.maximum(shares, np.finfo(np.float32).tiny)))
