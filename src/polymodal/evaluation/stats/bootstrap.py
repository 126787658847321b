"""Bootstrap intervals of a score: how far it moves when other speakers are drawn.

Whole clusters are drawn with replacement, as the rows of one speaker are more alike than the rows
of two: an interval that draws rows is too narrow. A speaker's rows of all folds and seeds stay
together; where nobody knows the speakers, an utterance's rows do.

The interval is the percentile interval with its two tails widened as Student's t is wider than the
normal distribution (Hesterberg, The American Statistician 2015, section 4.4.3). Of the 95 %
intervals of 1,000 simulated tables, some speakers easier than others, so many held the UAR that all
speakers would give (`python -m benchmarks verdict`):

| speakers | widened percentile | percentile | basic | BCa |
|---|---|---|---|---|
| 4 | .887 | .793 | .771 | .807 |
| 5 | .906 | .821 | .811 | .835 |
| 10 | .940 | .898 | .883 | .908 |
| 30 | .942 | .931 | .927 | .931 |

Legend: row = rows of a prediction table, cluster = what is drawn as a whole, draw = resamples,
true = declared classes, said = the same classes.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from polymodal.errors import PredictionError
from polymodal.evaluation.classification import (
    Accuracy,
    MacroF1,
    Score,
    UnweightedAverageRecall,
    WeightedF1,
)
from polymodal.evaluation.score import check_table, input_kind
from polymodal.schemas.predictions import ID, PredictionTable

Unit = Literal["speaker", "utterance"]
Matrices = Float[np.ndarray, "draw true said"]

NUM_RESAMPLES = 2000
MIN_SPEAKERS = 4  # with fewer, drawing speakers gives a handful of different tables
FEW_SPEAKERS = 8  # with fewer, an interval does not hold what it promises
CELLS_AT_ONCE = 2**21  # of an array of draws by clusters
CELLS_OF_MATRICES = 2**25  # of an array of clusters by pairs of classes


@dataclass(frozen=True)
class Interval:
    """A score and where it would lie with other speakers.

    Args:
        value: The score of the table.
        low: Lower end.
        high: Upper end.
        unit: What was drawn.
        num_units: How many there are of it.
        num_speakers: How many speakers there are; None where they are unknown.
    """

    value: float
    low: float
    high: float
    unit: Unit
    num_units: int
    num_speakers: int | None

    @property
    def caution(self) -> str:
        """What the interval does not say, in words; empty from eight speakers on."""
        if self.num_speakers is None:
            return "speakers unknown: too narrow if speakers differ"
        if self.num_speakers < FEW_SPEAKERS:
            noun = "speaker" if self.num_speakers == 1 else "speakers"
            return f"{self.num_speakers} {noun}: too few to speak for others"
        return ""


@dataclass(frozen=True)
class Clusters:
    """What a score reads of each row, and the cluster of each row.

    Args:
        score: The score.
        said: Logits or values, `[row, class]` or `[row, value]`.
        true: Index of the class, `[row]`; or a number or yes and no, `[row, value]`.
        cluster: Index of each row's cluster, `[row]`.
        num_clusters: Number of clusters.
    """

    score: Score
    said: Float[np.ndarray, "row column"]
    true: Shaped[np.ndarray, "row ..."]
    cluster: Int[np.ndarray, " row"]
    num_clusters: int

    def point_estimate(self) -> float:
        """Returns the score of all rows."""
        return self._of(np.arange(len(self.said)))

    def scores(self, counts: Shaped[np.ndarray, "draw cluster"]) -> Float[np.ndarray, " draw"]:
        """Scores tables in which each cluster stands so many times.

        Args:
            counts: How often each cluster stands in each table, `[draw, cluster]`; yes and no will
                do for once and never.

        Returns:
            Scores, float64 `[draw]`. Scores of confusion matrices come from the sums of the
            clusters' matrices; all others from the rows.
        """
        of_matrices = MATRIX_SCORES.get(type(self.score))
        num_classes = self.said.shape[1]
        if of_matrices and self.num_clusters * num_classes**2 <= CELLS_OF_MATRICES:
            summed = counts.astype(np.float64) @ self._matrices
            return of_matrices(summed.reshape(-1, num_classes, num_classes))
        return self.scores_of_rows(counts)

    def scores_of_rows(
        self, counts: Shaped[np.ndarray, "draw cluster"]
    ) -> Float[np.ndarray, " draw"]:
        """Does as `scores`, for any score: its rows are put together and scored, draw by draw."""
        times = counts.astype(np.int64)
        rows = np.arange(len(self.said))
        return np.array([self._of(np.repeat(rows, each[self.cluster])) for each in times])

    @functools.cached_property
    def _matrices(self) -> Float[np.ndarray, "cluster cell"]:
        num_classes = self.said.shape[1]
        cells = self.true * num_classes + self.said.argmax(axis=1)
        places = self.cluster * num_classes**2 + cells
        counts = np.bincount(places, minlength=self.num_clusters * num_classes**2)
        return counts.reshape(self.num_clusters, -1).astype(np.float64)

    def _of(self, rows: Int[np.ndarray, " place"]) -> float:
        said, true = self.said[rows], self.true[rows]
        if input_kind(self.score) != "values":
            return float(self.score(said, true))
        known = np.isfinite(true)
        places = np.flatnonzero(known.any(axis=0))
        each = [self.score(said[known[:, at], at], true[known[:, at], at]) for at in places]
        return float(np.mean(each))


def clusters_of(table: PredictionTable, score: Score, unit: Unit) -> Clusters:
    """Puts the rows of a table that a score can read into clusters.

    Args:
        table: The predictions of one part of the data.
        score: The score; of values, the mean over the table's values, as in `score_table`.
        unit: What makes a cluster.

    Returns:
        The clusters; unlabelled rows are left out.

    Raises:
        PredictionError: A label is no declared class, an id stands twice within split, fold and
            seed, there are rows of several parts, none is labelled, or what was said is not
            finite.
    """
    check_table(table)
    parts = table.frame["split"].unique().sort().to_list()
    if len(parts) > 1:
        raise PredictionError(
            f"the table has rows of the parts {parts}",
            expected="one part of the data",
            hint="score each part by itself",
        )
    # The order of score_table, so that both give the same last digit.
    table = table.with_frame(table.frame.sort("split", "fold", "seed", ID))
    said, true, rows = _readable(table, score)
    if not rows.any():
        raise PredictionError("the table has no labelled utterance to score")
    if not np.isfinite(said[rows]).all():
        raise PredictionError(
            "the table has logits or values that are not finite",
            hint="leave that run out, or train it again",
        )
    names = table.speakers() if unit == "speaker" else None
    names = table.frame[ID].to_numpy() if names is None else names
    different, cluster = np.unique(names[rows].astype(str), return_inverse=True)
    return Clusters(score, said[rows], true[rows], cluster, len(different))


def _readable(
    table: PredictionTable, score: Score
) -> tuple[
    Float[np.ndarray, "row column"], Shaped[np.ndarray, "row ..."], Bool[np.ndarray, " row"]
]:
    """What was said, what is true, and of which rows a score can read it."""
    if input_kind(score) == "classes":
        targets = table.targets()
        return table.logits(), targets, targets >= 0
    values = table.target_values()
    known = np.isfinite(values)
    if input_kind(score) == "labels":
        return table.predicted_values(), values > 0.5, np.asarray(known.all(axis=1))
    return table.predicted_values(), values, np.asarray(known.any(axis=1))


def num_speakers(table: PredictionTable, score: Score) -> int | None:
    """Returns the number of speakers with a row that the score reads; None if unknown."""
    if table.speakers() is None:
        return None
    return clusters_of(table, score, "speaker").num_clusters


def interval(
    table: PredictionTable,
    score: Score,
    *,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Returns a score with its bootstrap interval over speakers.

    With fewer than four speakers, or unknown ones, utterances are drawn instead.

    Args:
        table: The predictions of one part of the data.
        score: The score.
        confidence: How often such intervals should hold what other speakers would give.
        num_resamples: Number of draws.
        seed: Of the draws.

    Returns:
        The interval; its `caution` says what it cannot.

    Raises:
        PredictionError: As `clusters_of`.

    Example:
        >>> ids, targets = [f"u{row}" for row in range(40)], np.arange(40) % 2
        >>> logits = np.eye(2, dtype=np.float32)[np.where(np.arange(40) % 5, targets, 1 - targets)]
        >>> table = PredictionTable.from_logits(ids, logits, targets, "xy", split="test")
        >>> found = interval(table, Accuracy())
        >>> f"{found.value:.2f}, {found.low:.2f} to {found.high:.2f}, {found.num_units} utterances"
        '0.80, 0.65 to 0.93, 40 utterances'
    """
    known = num_speakers(table, score)
    unit = resampling_unit(known)
    clusters = clusters_of(table, score, unit)
    generator = np.random.default_rng(seed)
    drawn = [
        clusters.scores(one)
        for one in bootstrap_counts(clusters.num_clusters, num_resamples, generator)
    ]
    low, high = percentile_ci(np.concatenate(drawn), clusters.num_clusters, confidence)
    return Interval(clusters.point_estimate(), low, high, unit, clusters.num_clusters, known)


def resampling_unit(num_speakers: int | None) -> Unit:
    """Returns what an interval draws, given the number of speakers or None."""
    return "speaker" if (num_speakers or 0) >= MIN_SPEAKERS else "utterance"


def bootstrap_counts(
    num_clusters: int, num_draws: int, generator: np.random.Generator
) -> Iterator[Int[np.ndarray, "draw cluster"]]:
    """Yields how often each cluster is drawn, for so many draws as fit in memory at once."""
    for size in block_sizes(num_draws, num_clusters):
        drawn = generator.integers(0, num_clusters, (size, num_clusters))
        places = drawn + num_clusters * np.arange(size)[:, None]
        counts = np.bincount(places.ravel(), minlength=size * num_clusters)
        yield counts.reshape(size, num_clusters)


def block_sizes(num_draws: int, width: int) -> list[int]:
    """Returns the sizes of the blocks into which draws are parted to spare memory."""
    starts = [*range(0, num_draws, max(1, CELLS_AT_ONCE // width)), num_draws]
    return [end - start for start, end in itertools.pairwise(starts)]


def percentile_ci(
    drawn: Float[np.ndarray, " draw"], num_clusters: int, confidence: float
) -> tuple[float, float]:
    """Returns the ends of the widened percentile interval of drawn scores.

    Args:
        drawn: The score of each draw; draws in which it does not exist (NaN) are left out.
        num_clusters: Number of clusters that were drawn from.
        confidence: Such as .95.

    Returns:
        Lower and upper end.
    """
    if num_clusters < 2:
        return float(drawn[0]), float(drawn[0])
    widening = math.sqrt(num_clusters / (num_clusters - 1))
    tail = NormalDist().cdf(-widening * _student((1 + confidence) / 2, num_clusters - 1))
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _student(share: float, freedom: int) -> float:
    """Quantile of Student's t, by the series 26.7.5 of Abramowitz and Stegun (1964).

    For a tail of 2.5 % it is .004 too small at three degrees of freedom, .001 at four.
    """
    x = NormalDist().inv_cdf(share)
    terms = [
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    ]
    return float(x + sum(term / freedom**power for power, term in enumerate(terms, start=1)))


def _accuracies(matrices: Matrices) -> Float[np.ndarray, " draw"]:
    return np.asarray(_hits(matrices).sum(axis=1) / matrices.sum(axis=(1, 2)))


def _mean_recalls(matrices: Matrices) -> Float[np.ndarray, " draw"]:
    return np.asarray(np.mean(_hits(matrices) / np.maximum(matrices.sum(axis=2), 1), axis=1))


def _macro_f1s(matrices: Matrices) -> Float[np.ndarray, " draw"]:
    return np.asarray(np.mean(_f1s(matrices), axis=1))


def _weighted_f1s(matrices: Matrices) -> Float[np.ndarray, " draw"]:
    shares = matrices.sum(axis=2) / matrices.sum(axis=(1, 2))[:, None]
    return np.asarray(np.sum(_f1s(matrices) * shares, axis=1))


def _f1s(matrices: Matrices) -> Float[np.ndarray, "draw true"]:
    either = matrices.sum(axis=1) + matrices.sum(axis=2)
    return np.asarray(2 * _hits(matrices) / np.maximum(either, 1))


def _hits(matrices: Matrices) -> Float[np.ndarray, "draw true"]:
    return np.diagonal(matrices, axis1=1, axis2=2)


# By the very class: a subclass may score otherwise.
MATRIX_SCORES: dict[type, Callable[[Matrices], Float[np.ndarray, " draw"]]] = {
    Accuracy: _accuracies,
    UnweightedAverageRecall: _mean_recalls,
    MacroF1: _macro_f1s,
    WeightedF1: _weighted_f1s,
}
