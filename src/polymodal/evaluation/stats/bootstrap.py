"""Bootstrap intervals of a score: how far it moves when other speakers are drawn.

Clusters are drawn with replacement, as the rows of one speaker are more alike than the rows of two:
an interval that draws rows is too narrow. The rows of a speaker (of an utterance, where speakers
are unknown) stay together over all folds and seeds.

The interval is the percentile interval, its two tails widened as Student's t is wider than the
normal distribution (Hesterberg, The American Statistician 2015, section 4.4.3). Coverage of the
95 % intervals of 1,000 simulated tables in which some speakers are easier than others
(`python -m benchmarks verdict`):

| speakers | widened percentile | percentile | basic | BCa |
|---|---|---|---|---|
| 4 | .887 | .793 | .771 | .807 |
| 5 | .906 | .821 | .811 | .835 |
| 6 | .934 | .855 | .852 | .869 |
| 10 | .940 | .898 | .883 | .908 |
| 20 | .956 | .940 | .928 | .945 |

Legend: row = rows of a prediction table, cluster = units of resampling, draw = resamples.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int, Shaped
from scipy import special

from polymodal.errors import PredictionError
from polymodal.evaluation.classification import MatrixScore, Score
from polymodal.evaluation.score import check_table, input_kind
from polymodal.schemas.predictions import ID, PredictionTable

Unit = Literal["speaker", "utterance"]
Counts = Shaped[np.ndarray, "draw cluster"]
Draws = Float[np.ndarray, " draw"]

NUM_RESAMPLES = 2000
MIN_SPEAKERS = 4  # with fewer, drawing speakers gives a handful of different tables
FEW_SPEAKERS = 8  # with fewer, conclusions about other speakers depend on who was recorded
# Speakers to coverage of 95 % intervals where it is below .93 (`python -m benchmarks verdict`).
LOW_COVERAGE = {4: 0.89, 5: 0.91}
MAX_COUNT_CELLS = 2**21  # of an array of draws by clusters
MAX_MATRIX_CELLS = 2**25  # of an array of clusters by pairs of classes


@dataclass(frozen=True)
class Interval:
    """A score and its bootstrap interval."""

    value: float  # the score of the table
    low: float
    high: float
    unit: Unit  # what is drawn
    num_units: int
    num_speakers: int | None  # None where they are unknown

    @property
    def caution(self) -> str:
        """A limitation of the interval; empty from eight speakers on."""
        if self.num_speakers is None:
            return "speakers unknown: too narrow if speakers differ"
        if self.num_speakers < FEW_SPEAKERS:
            noun = "speaker" if self.num_speakers == 1 else "speakers"
            few = f"{self.num_speakers} {noun}: too few to generalise to others"
            if self.num_speakers < MIN_SPEAKERS:
                return f"{few}; the intervals tell about these alone"
            if (coverage := LOW_COVERAGE.get(self.num_speakers)) is not None:
                return f"{few}; 95 % intervals of so few hold in {coverage:.0%} of simulations"
            return few
        return ""


@dataclass(frozen=True)
class Clusters:
    """The inputs of a score, and the cluster of each row."""

    score: Score
    predicted: Float[np.ndarray, "row column"]  # logits `[row, class]` or values `[row, value]`
    # Class indices `[row]`, or values or booleans `[row, value]`.
    targets: Shaped[np.ndarray, "row ..."]
    cluster: Int[np.ndarray, " row"]  # index of the cluster of each row
    num_clusters: int

    def point_estimate(self) -> float:
        """Return the score of all rows."""
        return self._score_rows(np.arange(len(self.predicted)))

    def scores(self, counts: Counts) -> Draws:
        """Return the score of each resample, given how often each cluster is in it.

        Scores of confusion matrices are computed from sums of the clusters' matrices, others from
        the rows.
        """
        num_classes = self.predicted.shape[1]
        fits = self.num_clusters * num_classes**2 <= MAX_MATRIX_CELLS
        # A subclass with a `__call__` of its own may score differently.
        is_inherited = type(self.score).__call__ is MatrixScore.__call__
        if isinstance(self.score, MatrixScore) and is_inherited and fits:
            summed = counts.astype(np.float64) @ self._matrices
            return self.score.of_matrices(summed.reshape(-1, num_classes, num_classes))
        return self.scores_of_rows(counts)

    def scores_of_rows(self, counts: Counts) -> Draws:
        """Return the same as `scores` for any score, by repeating rows draw by draw."""
        rows = np.arange(len(self.predicted))
        draws = counts.astype(np.int64)
        return np.array([self._score_rows(np.repeat(rows, draw[self.cluster])) for draw in draws])

    @functools.cached_property
    def _matrices(self) -> Float[np.ndarray, "cluster cell"]:
        num_classes = self.predicted.shape[1]
        cells = self.targets * num_classes + self.predicted.argmax(axis=1)
        indices = self.cluster * num_classes**2 + cells
        counts = np.bincount(indices, minlength=self.num_clusters * num_classes**2)
        return counts.reshape(self.num_clusters, -1).astype(np.float64)

    def _score_rows(self, rows: Int[np.ndarray, " index"]) -> float:
        predicted, targets = self.predicted[rows], self.targets[rows]
        if input_kind(self.score) != "values":
            return float(self.score(predicted, targets))
        valid = np.isfinite(targets)
        scores = [
            self.score(predicted[valid[:, i], i], targets[valid[:, i], i])
            for i in np.flatnonzero(valid.any(axis=0))
        ]
        return float(np.mean(scores))


def clusters_of(table: PredictionTable, score: Score, unit: Unit) -> Clusters:
    """Group the labelled rows of a table of one split by speaker or utterance.

    Where the speakers of some rows are unknown, utterances are the clusters. A score of values is
    the mean over the target dimensions, as in `score_table`.

    Raises:
        PredictionError: As `check_table`; there are several splits, no row is labelled, or
            predictions are not finite.
    """
    check_table(table)
    splits = table.frame["split"].unique().sort().to_list()
    if len(splits) > 1:
        raise PredictionError(
            f"the table has rows of the splits {splits}",
            expected="rows of one split",
            hint="score each split by itself",
        )
    # The order of score_table, so that both give the same last digit.
    table = table.with_frame(table.frame.sort("split", "fold", "seed", ID))
    values: npt.NDArray[Any]
    rows: npt.NDArray[Any]
    kind = input_kind(score)
    if kind == "classes":
        predicted, values = table.logits(), table.targets()
        rows = values >= 0
    else:
        predicted, values = table.predicted_values(), table.target_values()
        finite = np.isfinite(values)
        rows = np.all(finite, axis=1) if kind == "labels" else np.any(finite, axis=1)
        values = values > 0.5 if kind == "labels" else values
    if not rows.any():
        raise PredictionError("the table has no labelled utterance to score")
    if not np.isfinite(predicted[rows]).all():
        raise PredictionError(
            "the table has logits or values that are not finite",
            hint="leave that run out, or train it again",
        )
    names = table.speakers() if unit == "speaker" else None
    names = table.frame[ID].to_numpy() if names is None else names
    unique, cluster = np.unique(names[rows].astype(str), return_inverse=True)
    return Clusters(score, predicted[rows], values[rows], cluster, len(unique))


def num_speakers(table: PredictionTable, score: Score) -> int | None:
    """Return the number of speakers with a row that the score reads; None if unknown."""
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
    """Return the score of a table of one split with its bootstrap interval over speakers.

    With fewer than four speakers, or unknown ones, utterances are drawn instead.

    Raises:
        PredictionError: As `clusters_of`.

    Example:
        >>> from polymodal.evaluation.classification import Accuracy
        >>> ids, targets = [f"u{row}" for row in range(40)], np.arange(40) % 2
        >>> logits = np.eye(2, dtype=np.float32)[np.where(np.arange(40) % 5, targets, 1 - targets)]
        >>> table = PredictionTable.from_logits(ids, logits, targets, "xy", split="test")
        >>> ci = interval(table, Accuracy())
        >>> f"{ci.value:.2f}, {ci.low:.2f} to {ci.high:.2f}, {ci.num_units} utterances"
        '0.80, 0.65 to 0.93, 40 utterances'
    """
    speakers = num_speakers(table, score)
    unit = resampling_unit(speakers)
    clusters = clusters_of(table, score, unit)
    generator = np.random.default_rng(seed)
    blocks = bootstrap_counts(clusters.num_clusters, num_resamples, generator)
    drawn = np.concatenate([clusters.scores(counts) for counts in blocks])
    low, high = percentile_ci(drawn, clusters.num_clusters, confidence)
    return Interval(clusters.point_estimate(), low, high, unit, clusters.num_clusters, speakers)


def resampling_unit(num_speakers: int | None) -> Unit:
    """Return what an interval draws, given the number of speakers or None.

    Example:
        >>> resampling_unit(4), resampling_unit(3), resampling_unit(None)
        ('speaker', 'utterance', 'utterance')
    """
    return "speaker" if (num_speakers or 0) >= MIN_SPEAKERS else "utterance"


def bootstrap_counts(
    num_clusters: int, num_draws: int, generator: np.random.Generator
) -> Iterator[Int[np.ndarray, "draw cluster"]]:
    """Yield how often each cluster is drawn, in blocks of draws that fit into memory."""
    for size in block_sizes(num_draws, num_clusters):
        drawn = generator.integers(0, num_clusters, (size, num_clusters))
        cells = drawn + num_clusters * np.arange(size)[:, None]
        counts = np.bincount(cells.ravel(), minlength=size * num_clusters)
        yield counts.reshape(size, num_clusters)


def block_sizes(num_draws: int, width: int) -> list[int]:
    """Return the sizes of the blocks that draws of a width are divided into to save memory."""
    starts = [*range(0, num_draws, max(1, MAX_COUNT_CELLS // width)), num_draws]
    return [end - start for start, end in itertools.pairwise(starts)]


def percentile_ci(drawn: Draws, num_clusters: int, confidence: float) -> tuple[float, float]:
    r"""Return the widened percentile interval of the scores of resamples.

    Its tails are :math:`\Phi\left(-\sqrt{n / (n - 1)} \, t_{n-1}\right)` for :math:`n` clusters,
    with Student's t at :math:`(1 + \text{confidence}) / 2`. Scores that do not exist (NaN) are left
    out; of one cluster there is no interval, only its score.

    Example:
        >>> low, high = percentile_ci(np.linspace(0, 1, 1001), 30, confidence=0.95)
        >>> f"{low:.3f} to {high:.3f}"
        '0.019 to 0.981'
    """
    if num_clusters < 2:
        return float(drawn[0]), float(drawn[0])
    quantile = special.stdtrit(num_clusters - 1, (1 + confidence) / 2)
    tail = special.ndtr(-math.sqrt(num_clusters / (num_clusters - 1)) * quantile)
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
