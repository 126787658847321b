"""Paired tests: is the difference of two models' scores on the same rows significant?

The predictions of the two are swapped for whole clusters, in all ways or in 10,000 random ones; p
is how often the difference is at least as large (the randomization test; Noreen 1989,
Computer-Intensive Methods for Testing Hypotheses). Swapping speakers is valid even where a model
suits some speakers better, but has little power with seven speakers or fewer, and none with five.
Then utterances are swapped, and the result holds for these speakers only.

Legend: row = rows of a prediction table, swap = ways to swap, cluster = units of swapping.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from jaxtyping import Bool

from polymodal.errors import PredictionError
from polymodal.evaluation.classification import Score
from polymodal.evaluation.score import check_table
from polymodal.evaluation.stats.bootstrap import (
    FEW_SPEAKERS,
    NUM_RESAMPLES,
    Clusters,
    Unit,
    block_sizes,
    bootstrap_counts,
    clusters_of,
    num_speakers,
    percentile_ci,
    resampling_unit,
)
from polymodal.schemas.predictions import ID, LOGIT, SPEAKER, TARGET, VALUE, PredictionTable

NUM_SWAPS = 10_000
MAX_ENUMERATED = 12  # clusters of which all ways to swap are tried
NUM_SHOWN = 5
ROUNDING = 1 - 1e-9  # equal differences may come out apart in the last digits


@dataclass(frozen=True)
class PairedTest:
    """The result of `paired_test`."""

    difference: float  # score of the first model minus that of the second
    p: float  # fraction of the swaps with a difference at least as large in absolute value
    unit: Unit  # what is swapped
    num_units: int
    exact: bool  # whether all ways to swap were tried


@dataclass(frozen=True)
class Pair:
    """Two tables of the same rows in the same order, with the same classes; see `paired`."""

    first: PredictionTable
    second: PredictionTable

    def clusters(self, score: Score, unit: Unit) -> Clusters:
        """Return the clusters of the first table, followed by the same ones of the second."""
        first, second = (clusters_of(table, score, unit) for table in (self.first, self.second))
        return replace(
            first,
            predicted=np.concatenate([first.predicted, second.predicted]),
            targets=np.concatenate([first.targets, second.targets]),
            cluster=np.concatenate([first.cluster, second.cluster + first.num_clusters]),
            num_clusters=2 * first.num_clusters,
        )


def paired(first: PredictionTable, second: PredictionTable) -> Pair:
    """Join two tables by utterance id and split, and by fold and seed where one has several.

    The second table gets the first one's order of classes; speakers in one table count for both.

    Raises:
        PredictionError: Classes, values, rows, labels or speakers differ, or an id is duplicated.
    """
    _check_same_names(first, second)
    keys = [ID, "split"]
    for column in ("fold", "seed"):
        if any(table.frame[column].n_unique() > 1 for table in (first, second)):
            keys.append(column)
    check_table(first)
    check_table(second)
    frames = [first.frame.sort(keys), second.frame.sort(keys)]
    _check_same_rows(frames[0], frames[1], keys)
    truth = [*(["label"] if first.classes else []), *(TARGET + name for name in first.values)]
    for column in truth:
        _check_same_values(frames[0], frames[1], column)
    columns = ["predicted", *(LOGIT + name for name in first.classes)] if first.classes else []
    columns += [VALUE + name for name in first.values]
    frames[0] = _with_speakers(frames[0], frames[1])
    # The rows are the same, so all but the predictions is taken from the first table.
    frames[1] = frames[0].with_columns(frames[1].select(columns))
    return Pair(first.with_frame(frames[0]), replace(first, frame=frames[1], run_id=second.run_id))


def permutation_unit(num_speakers: int | None, *, num_tests: int = 1, alpha: float = 0.05) -> Unit:
    """Return what to swap: speakers, if their number permits a significant result.

    Eight speakers can be swapped in 128 different ways, so p is at least 1/128; a correction for
    several tests needs more speakers.

    Example:
        >>> permutation_unit(10), permutation_unit(4), permutation_unit(8, num_tests=10)
        ('speaker', 'utterance', 'utterance')
    """
    if num_speakers is None or num_speakers < FEW_SPEAKERS:
        return "utterance"
    return "speaker" if num_tests * 0.5 ** (num_speakers - 1) <= alpha else "utterance"


def paired_test(
    pair: Pair, score: Score, unit: Unit, *, num_swaps: int = NUM_SWAPS, seed: int = 0
) -> PairedTest:
    """Test the difference of a score by swapping the predictions of the two models.

    All rows of a unit, over folds and seeds, are swapped together. Of up to twelve units all ways
    are tried. Of more units `num_swaps` random ways are, and the tables as they are count as one
    more, which keeps p above 0 (Phipson and Smyth 2010).

    Raises:
        PredictionError: As `bootstrap.clusters_of`.

    Example:
        >>> from polymodal.evaluation.classification import Accuracy
        >>> ids, targets = [f"u{row}" for row in range(6)], np.zeros(6, dtype=np.int64)
        >>> right = np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (6, 1))
        >>> first, second = (
        ...     PredictionTable.from_logits(ids, logits, targets, "xy", split="test")
        ...     for logits in (right, right[:, ::-1])
        ... )
        >>> paired_test(paired(first, second), Accuracy(), "utterance").p
        0.03125
    """
    clusters = pair.clusters(score, unit)
    num = clusters.num_clusters // 2
    of_first = np.arange(clusters.num_clusters) < num
    first, second = clusters.scores(np.stack([of_first, ~of_first]))
    difference = float(first - second)
    exact = num <= MAX_ENUMERATED
    num_ways = num_extreme = 0 if exact else 1
    for swapped in _swaps(num, None if exact else num_swaps, seed):
        ways = np.hstack([~swapped, swapped]), np.hstack([swapped, ~swapped])
        differences = clusters.scores(ways[0]) - clusters.scores(ways[1])
        num_ways += len(differences)
        # Written so that a score that does not exist (NaN) counts against the difference.
        num_extreme += int((~(np.abs(differences) < abs(difference) * ROUNDING)).sum())
    return PairedTest(difference, num_extreme / num_ways, unit, num, exact)


def paired_interval(
    pair: Pair,
    score: Score,
    *,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the bootstrap interval of the difference; both models see the same draws.

    Speakers are drawn, or with fewer than four of them utterances.

    Raises:
        PredictionError: As `bootstrap.clusters_of`.
    """
    clusters = pair.clusters(score, resampling_unit(num_speakers(pair.first, score)))
    num = clusters.num_clusters // 2
    drawn = []
    for counts in bootstrap_counts(num, num_resamples, np.random.default_rng(seed)):
        zeros = np.zeros_like(counts)
        first, second = np.hstack([counts, zeros]), np.hstack([zeros, counts])
        drawn.append(clusters.scores(first) - clusters.scores(second))
    return percentile_ci(np.concatenate(drawn), num, confidence)


def _swaps(
    num: int, num_random: int | None, seed: int
) -> Iterator[Bool[np.ndarray, "swap cluster"]]:
    """Yield random ways to swap clusters, in blocks that fit into memory; None for all ways."""
    if num_random is None:  # half of them: the others have the same differences, of opposite sign
        yield (np.arange(2 ** (num - 1))[:, None] >> np.arange(num)) % 2 == 1
        return
    generator = np.random.default_rng(seed)
    for size in block_sizes(num_random, 2 * num):
        yield generator.integers(0, 2, (size, num), dtype=np.int8) == 1


def _check_same_names(first: PredictionTable, second: PredictionTable) -> None:
    names = [{*table.classes, *table.values} for table in (first, second)]
    if names[0] != names[1] or len(first.classes) != len(second.classes):
        raise PredictionError(
            f"the tables have different classes: only one has {sorted(names[0] ^ names[1])}",
            expected="the same classes and values in both",
            hint="compare runs of the same task",
        )


def _check_same_rows(first: pl.DataFrame, second: pl.DataFrame, keys: list[str]) -> None:
    missing = first.join(second, on=keys, how="anti")
    surplus = second.join(first, on=keys, how="anti")
    if missing.height or surplus.height or first.height != second.height:
        shown = pl.concat([missing[ID], surplus[ID]]).unique().sort().to_list()
        raise PredictionError(
            f"the tables have different rows: the second lacks {missing.height}, the first "
            f"{surplus.height}: {shown[:NUM_SHOWN]}",
            expected=f"the same rows in both, joined by {', '.join(keys)}",
            hint="compare runs on the same split, folds, seeds and data",
        )


def _check_same_values(first: pl.DataFrame, second: pl.DataFrame, column: str) -> None:
    wrong = first.filter(first[column].ne_missing(second[column]))
    if wrong.height:
        raise PredictionError(
            f"the tables differ in {column} of {wrong.height} rows: "
            f"{wrong[ID].unique().sort().to_list()[:NUM_SHOWN]}",
            expected="the same value in both tables",
            hint="compare runs on the same data",
        )


def _with_speakers(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    frames = [frame for frame in (first, second) if SPEAKER in frame.columns]
    if len(frames) == 2:
        _check_same_values(first, second, SPEAKER)
    return first.with_columns(frames[0][SPEAKER]) if frames else first
