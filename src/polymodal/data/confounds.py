"""How well the class can be guessed from one column alone, such as the speaker, without a model.

Cross-validated: rows are put into `NUM_PARTS` parts at random, and the guess for a row is the class
that is most frequent, relative to its size, among the rows of the other parts with the same value.
So a value with a single row tells nothing. Of equally frequent classes each is right in part. The
unweighted average recall is reported as at least chance, which ignoring the column gives.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

NUM_PARTS = 5
NUM_BINS = 10  # of durations, with equally many rows
# A guess is clear if it is above chance by this fraction of what lies between chance and 1, and by
# this many standard deviations of a guess that ignores the column (p < 0.0001).
MIN_GAIN = 0.2
MIN_DEVIATIONS = 4.0
DURATION, RECORDING = "duration", "audio"
# Columns of the manifest that are conditions of the recording, beside who speaks and what is said.
CONDITIONS = (RECORDING, "corpus", "sampling_rate_hz", "channels", DURATION)


@dataclass(frozen=True)
class ColumnGuess:
    """The best guess of the class from one column."""

    uar: float  # unweighted average recall, at least `chance_level`
    chance_level: float  # one divided by the number of classes
    is_clear: bool  # whether it is above chance by `MIN_GAIN` and `MIN_DEVIATIONS`

    def facts(self) -> dict[str, float | bool]:
        """Return what the record of a run says of it, as plain values."""
        uar, chance_level = round(self.uar, 4), round(self.chance_level, 4)
        return {"guess_uar": uar, "chance": chance_level, "is_clear": self.is_clear}


def condition_values(frame: pl.DataFrame) -> Iterator[pl.Series]:
    """Yield the conditions of the recording that the rows of a manifest have; durations in bins."""
    for name in CONDITIONS:
        column = "duration_s" if name == DURATION else name
        if column not in frame.columns:
            continue
        values = frame[column]
        if name == DURATION:
            ranks = values.rank("ordinal")
            values = ((ranks - 1) * NUM_BINS // max(1, values.count())).rename(name)
        yield values


def guess_from_column(values: pl.Series, labels: pl.Series) -> ColumnGuess | None:
    """Guess the class of each row from other rows with the same value.

    Rows without a value or a label are left out; None where fewer than two classes or values are
    left.

    Example:
        >>> labels = pl.Series(["sad"] * 9 + ["joy"] * 9)
        >>> guess_from_column(pl.Series(["anna"] * 9 + ["ben"] * 9), labels)
        ColumnGuess(uar=1.0, chance_level=0.5, is_clear=True)
    """
    pairs = pl.DataFrame({"value": values, "label": labels}).drop_nulls()
    codes = pl.all().cast(pl.String).cast(pl.Categorical).to_physical()  # ranks of text are slow
    pairs = pairs.select(codes.rank("dense").cast(pl.Int64) - 1)
    class_sizes = np.bincount(pairs["label"].to_numpy())
    if len(class_sizes) < 2 or pairs["value"].n_unique() < 2:
        return None
    several = pairs.filter(pl.col("value").is_duplicated())
    labels_of_several = several["label"].to_numpy()
    values_of_several = several["value"].rank("dense").cast(pl.Int64).to_numpy() - 1
    num_right = _num_right(values_of_several, labels_of_several, class_sizes)
    chance_level = 1 / len(class_sizes)
    # Of a value with a single row nothing is known: the guess is right by chance.
    num_single = class_sizes - np.bincount(labels_of_several, minlength=len(class_sizes))
    uar = float(((num_right + chance_level * num_single) / class_sizes).mean())
    deviation = float(np.sqrt((chance_level * (1 - chance_level) / class_sizes).sum())) / len(
        class_sizes
    )
    threshold = chance_level + max(MIN_GAIN * (1 - chance_level), MIN_DEVIATIONS * deviation)
    return ColumnGuess(max(uar, chance_level), chance_level, uar > threshold)


def _num_right(
    values: Int[np.ndarray, " row"],
    labels: Int[np.ndarray, " row"],
    class_sizes: Int[np.ndarray, " label"],
) -> Float[np.ndarray, " label"]:
    """Return how many rows of each class are guessed right from the rows of other parts."""
    num_classes, num_right = len(class_sizes), np.zeros(len(class_sizes))
    if not len(values):
        return num_right
    shape = int(values.max()) + 1, num_classes
    cells = values * num_classes + labels
    part_of_row = np.random.default_rng(0).integers(NUM_PARTS, size=len(values))
    of_parts = [
        np.bincount(cells[part_of_row == number], minlength=shape[0] * shape[1]).reshape(shape)
        for number in range(NUM_PARTS)
    ]
    total = np.sum(of_parts, axis=0)
    for held_out in of_parts:
        counts = total - held_out
        rates = (counts / np.maximum(counts.sum(axis=0), 1)).astype(np.float32)
        is_guess = rates == rates.max(axis=1, keepdims=True)
        num_right += (held_out * is_guess / is_guess.sum(axis=1, keepdims=True)).sum(axis=0)
    return num_right
