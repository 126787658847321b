"""Align prediction tables by id, never by the position of their rows.

Legend: table = members, utterance = rows, class = declared classes, value = target dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from polymodal.errors import PredictionError
from polymodal.schemas.predictions import ID, LOGIT, SPEAKER, VALUE, PredictionTable

Logits = Float[np.ndarray, "utterance class"]
NUM_SHOWN = 5


@dataclass(frozen=True)
class AlignedPredictions:
    """The predictions of several tables for the same utterances; logits and values are float64."""

    # The first table's rows, sorted by the key, with labels and speakers of all tables.
    frame: pl.DataFrame
    logits: Float[np.ndarray, "table utterance class"]  # rows as in `frame`
    values: Float[np.ndarray, "table utterance value"]
    classes: tuple[str, ...]  # in the order of the logits, which is the first table's


def align(tables: Sequence[PredictionTable]) -> AlignedPredictions:
    """Join tables by utterance id and split, and by fold and seed where a table has several.

    Classes are matched by name. A label or speaker that only one table has counts for all. The
    order of the rows of a table has no influence.

    Raises:
        PredictionError: There are fewer than two tables, their classes or labels differ, an id is
            missing or duplicated in one, or logits are not finite.

    Example:
        >>> logits, targets = np.eye(2, dtype=np.float32), np.array([0, 1])
        >>> table = PredictionTable.from_logits(["a", "b"], logits, targets, "xy", split="test")
        >>> align([table, table]).logits.shape
        (2, 2, 2)
    """
    if len(tables) < 2:
        raise PredictionError(
            f"a vote over {len(tables)} prediction table(s)",
            expected="at least two",
            hint="name two or more runs",
        )
    names = [table.run_id or f"table {number}" for number, table in enumerate(tables, start=1)]
    classes = _shared_classes(tables, names)
    keys = [ID, "split"]
    for column in ("fold", "seed"):
        if any(table.frame[column].n_unique() > 1 for table in tables):
            keys.append(column)
    logits = [LOGIT + name for name in classes]
    values = [VALUE + name for name in tables[0].values]
    frames = []
    for table, name in zip(tables, names, strict=True):
        frame = table.frame.sort(keys)
        _check_unique(frame, keys, name)
        _check_finite(frame, logits + values, name)
        frames.append(frame)
    for frame, name in zip(frames[1:], names[1:], strict=True):
        _check_same_rows(frames[0], frame, keys, (names[0], name))
    frame = frames[0].with_columns(_labels(frames, names)) if classes else frames[0]
    speakers = [frame[SPEAKER] for frame in frames if SPEAKER in frame.columns]
    if speakers:
        frame = frame.with_columns(pl.select(pl.coalesce(speakers)).to_series().alias(SPEAKER))
    return AlignedPredictions(frame, _stack(frames, logits), _stack(frames, values), classes)


def _stack(
    frames: Sequence[pl.DataFrame], columns: Sequence[str]
) -> Float[np.ndarray, "table utterance column"]:
    shape = (len(frames[0]), len(columns))  # without columns, polars forgets the number of rows
    arrays = [frame.select(columns).to_numpy().astype(np.float64) for frame in frames]
    return np.stack([array.reshape(shape) for array in arrays])


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


def _check_unique(frame: pl.DataFrame, keys: list[str], name: str) -> None:
    duplicates = frame.filter(frame.select(keys).is_duplicated())
    if duplicates.height:
        raise PredictionError(
            f"{name} has duplicate ids: {_shown(duplicates)}",
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
    first: pl.DataFrame, second: pl.DataFrame, keys: list[str], names: tuple[str, str]
) -> None:
    errors = []
    for left, right, (has, lacks) in ((first, second, names), (second, first, names[::-1])):
        missing = left.join(right, on=keys, how="anti")
        if missing.height:
            errors.append(f"{lacks} lacks {missing.height} rows of {has}: {_shown(missing)}")
    if errors:
        raise PredictionError(
            "; ".join(errors),
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
                expected="one label for each utterance",
                hint="vote over runs on the same data",
            )
        labels = labels.zip_with(labels.is_not_null(), frame["label"])
    return labels


def _shown(frame: pl.DataFrame) -> str:
    ids = frame[ID].unique().sort().to_list()
    more = f" and {len(ids) - NUM_SHOWN} more" if len(ids) > NUM_SHOWN else ""
    return ", ".join(map(repr, ids[:NUM_SHOWN])) + more


def prediction_columns(classes: Sequence[str], logits: Logits) -> list[pl.Series]:
    """Return the columns of a prediction table for logits: `predicted` and one for each class.

    Example:
        >>> [column.to_list() for column in prediction_columns("xy", np.array([[1.0, 3.0]]))]
        [['y'], [1.0], [3.0]]
    """
    names = np.array([*classes], dtype=object)
    predicted = pl.Series("predicted", names[logits.argmax(axis=1)].tolist(), dtype=pl.String)
    columns = zip(classes, logits.T, strict=True)
    return [predicted, *(pl.Series(LOGIT + n, column.astype(np.float32)) for n, column in columns)]


def safe_log(probabilities: Logits) -> Logits:
    """Return the logarithms of probabilities, at least that of the smallest positive float32.

    Example:
        >>> safe_log(np.array([[1.0, 0.0]])).round(2).tolist()
        [[0.0, -87.34]]
    """
    return np.asarray(np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)))
