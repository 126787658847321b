"""Two members on the same rows: is the difference of their scores more than chance?

The predictions of the two are swapped for whole clusters, as often as there are ways or 10,000
times: if it does not matter who said what, the difference found is one of many (the randomization
test; Noreen 1989, Computer-Intensive Methods for Testing Hypotheses). Swapping whole speakers keeps
what they promise also where each member suits other speakers, but with seven speakers or fewer it
finds too little, and with five it can find nothing. Then utterances are swapped, and what is found
holds for these speakers only.

Legend: row = rows of a prediction table, swap = ways to swap, cluster = what is swapped as a whole.
"""

import itertools
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
MAX_ENUMERATED = 12  # clusters of which all ways to swap are gone through
NUM_SHOWN = 5
ROUNDING = 1 - 1e-9  # equal differences may come out apart in the last digits


@dataclass(frozen=True)
class PairedTest:
    """What swapping two members' predictions tells about the difference of a score.

    Args:
        difference: Score of the first less that of the second.
        p: Share of the swaps with a difference at least as large, either way.
        unit: What was swapped as a whole.
        num_units: How many there are of it.
        exact: Whether all ways to swap were gone through.
    """

    difference: float
    p: float
    unit: Unit
    num_units: int
    exact: bool


@dataclass(frozen=True)
class McNemar:
    """What the utterances tell that only one of two members recognised.

    Args:
        only_first: How many only the first did.
        only_second: How many only the second did.
        p: Exact and two-sided.
    """

    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True)
class Pair:
    """Two tables of the same rows in the same order; `paired` makes it.

    Args:
        first: The one.
        second: The other, with the first's order of classes and its speakers.
    """

    first: PredictionTable
    second: PredictionTable

    def clusters(self, score: Score, unit: Unit) -> Clusters:
        """Returns the clusters of the first table, and then the same ones of the second."""
        one, two = (clusters_of(table, score, unit) for table in (self.first, self.second))
        return replace(
            one,
            said=np.concatenate([one.said, two.said]),
            true=np.concatenate([one.true, two.true]),
            cluster=np.concatenate([one.cluster, two.cluster + one.num_clusters]),
            num_clusters=2 * one.num_clusters,
        )


def paired(first: PredictionTable, second: PredictionTable) -> Pair:
    """Joins two tables by utterance id and split, and by fold and seed where one has several.

    Args:
        first: Predictions of one member.
        second: Predictions of another one, of the same rows in any order.

    Returns:
        The pair; speakers that one table knows count for both.

    Raises:
        PredictionError: Classes, values, rows, labels or speakers differ, or an id stands twice.
    """
    _check_same_names(first, second)
    several = [
        column
        for column in ("fold", "seed")
        if any(table.frame[column].n_unique() > 1 for table in (first, second))
    ]
    keys = [ID, "split", *several]
    frames = []
    for table in (first, second):
        check_table(table)
        frames.append(table.frame.sort(keys))
    _check_same_rows(frames[0], frames[1], keys)
    truth = [*(["label"] if first.classes else []), *(TARGET + name for name in first.values)]
    for column in truth:
        _check_same_values(frames[0], frames[1], column)
    # The rows are the same, so whatever names them is the first table's.
    own = ["predicted", *(LOGIT + name for name in first.classes)] if first.classes else []
    own += [VALUE + name for name in first.values]
    frames[0] = _with_speakers(frames[0], frames[1])
    frames[1] = frames[0].with_columns(frames[1].select(own))
    return Pair(first.with_frame(frames[0]), replace(first, frame=frames[1], run_id=second.run_id))


def permutation_unit(num_speakers: int | None, *, num_tests: int = 1, alpha: float = 0.05) -> Unit:
    """Chooses what to swap: speakers, if that can find anything, else utterances.

    Of eight speakers there are 128 ways to part a pair's predictions, so p is 1/128 at least; a
    correction for several tests asks for more of them.

    Args:
        num_speakers: Number of speakers, or None.
        num_tests: Tests that are corrected for together.
        alpha: Level of the tests.

    Returns:
        The unit.

    Example:
        >>> permutation_unit(10), permutation_unit(4), permutation_unit(None), permutation_unit(8, num_tests=10)
        ('speaker', 'utterance', 'utterance', 'utterance')
    """
    if num_speakers is None or num_speakers < FEW_SPEAKERS:
        return "utterance"
    return "speaker" if num_tests * 0.5 ** (num_speakers - 1) <= alpha else "utterance"


def paired_test(
    pair: Pair, score: Score, unit: Unit, *, num_swaps: int = NUM_SWAPS, seed: int = 0
) -> PairedTest:
    """Tests the difference of a score by swapping the two members' predictions.

    All rows of a speaker or utterance, over folds and seeds, are swapped together. Of up to twelve
    clusters all ways are gone through; of more, so many random ones, and the tables as they are
    count as one of them, which keeps p above 0 (Phipson and Smyth 2010).

    Args:
        pair: The tables.
        score: The score.
        unit: What is swapped as a whole.
        num_swaps: Number of random ways.
        seed: Of the random ways.

    Returns:
        The test.

    Raises:
        PredictionError: As `intervals.clusters_of`.

    Example:
        >>> from polymodal.evaluation.classification import Accuracy
        >>> ids, targets = [f"u{row}" for row in range(6)], np.zeros(6, dtype=np.int64)
        >>> right = np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (6, 1))
        >>> one, two = (
        ...     PredictionTable.from_logits(ids, each, targets, "xy", split="test")
        ...     for each in (right, right[:, ::-1])
        ... )
        >>> paired_test(paired(one, two), Accuracy(), "utterance").p
        0.03125
    """
    clusters = pair.clusters(score, unit)
    num = clusters.num_clusters // 2
    found = _difference(clusters)
    exact = num <= MAX_ENUMERATED
    ways = _all_ways(num) if exact else _random_ways(num, num_swaps, np.random.default_rng(seed))
    num_ways = num_extreme = 0 if exact else 1
    for swapped in ways:
        differences = clusters.scores(np.hstack([~swapped, swapped])) - clusters.scores(
            np.hstack([swapped, ~swapped])
        )
        num_ways += len(differences)
        # Written so that a score that does not exist counts against the difference.
        num_extreme += int((~(np.abs(differences) < abs(found) * ROUNDING)).sum())
    return PairedTest(found, num_extreme / num_ways, unit, num, exact)


def paired_interval(
    pair: Pair,
    score: Score,
    *,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the bootstrap interval of the difference; both members see the same draws.

    Args:
        pair: The tables.
        score: The score.
        confidence: How often such intervals should hold what other speakers would give.
        num_resamples: Number of draws.
        seed: Of the draws.

    Returns:
        Lower and upper end; speakers are drawn, or with fewer than four of them utterances.

    Raises:
        PredictionError: As `intervals.clusters_of`.
    """
    clusters = pair.clusters(score, resampling_unit(num_speakers(pair.first, score)))
    num = clusters.num_clusters // 2
    drawn = []
    for counts in bootstrap_counts(num, num_resamples, np.random.default_rng(seed)):
        none = np.zeros_like(counts)
        one, two = np.hstack([counts, none]), np.hstack([none, counts])
        drawn.append(clusters.scores(one) - clusters.scores(two))
    return percentile_ci(np.concatenate(drawn), num, confidence)


def mcnemar(pair: Pair) -> McNemar:
    """Tests the difference of two accuracies by the utterances that only one member recognised.

    An utterance with several rows (seeds, folds) counts once, for the member that recognised more
    of them. Utterances count as independent, so it tells about these speakers only (McNemar,
    Psychometrika 1947; exact by the binomial distribution).

    Args:
        pair: Two tables of classes.

    Returns:
        The test.

    Raises:
        PredictionError: The tables have no classes.
    """
    if not pair.first.classes:
        raise PredictionError(
            "McNemar's test of tables without classes", hint="test a score of values instead"
        )
    right = [
        table.frame.select(ID, hit=table.logits().argmax(axis=1) == table.targets())
        for table in (pair.first, pair.second)
    ]
    both = right[0].with_columns(other=right[1]["hit"]).group_by(ID).agg(pl.all().sum())
    only_first = int((both["hit"] > both["other"]).sum())
    only_second = int((both["hit"] < both["other"]).sum())
    num, fewer = only_first + only_second, min(only_first, only_second)
    ways = sum(itertools.islice(_binomial_coefficients(num), fewer + 1))
    return McNemar(only_first, only_second, min(1.0, 2 * ways / 2**num))


def _difference(clusters: Clusters) -> float:
    of_first = np.arange(clusters.num_clusters) < clusters.num_clusters // 2
    one, two = clusters.scores(np.stack([of_first, ~of_first]))
    return float(one - two)


def _binomial_coefficients(num: int) -> Iterator[int]:
    """One from the other, as each by itself takes seconds where thousands are needed."""
    ways = 1
    for each in range(num + 1):
        yield ways
        ways = ways * (num - each) // (each + 1)


def _all_ways(num: int) -> Iterator[Bool[np.ndarray, "swap cluster"]]:
    """Half of them: the other half has the same differences with the opposite sign."""
    yield (np.arange(2 ** (num - 1))[:, None] >> np.arange(num)) % 2 == 1


def _random_ways(
    num: int, num_swaps: int, generator: np.random.Generator
) -> Iterator[Bool[np.ndarray, "swap cluster"]]:
    for size in block_sizes(num_swaps, 2 * num):
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
    lacking = first.join(second, on=keys, how="anti")
    surplus = second.join(first, on=keys, how="anti")
    if lacking.height or surplus.height or first.height != second.height:
        shown = pl.concat([lacking[ID], surplus[ID]]).unique().sort().to_list()
        raise PredictionError(
            f"the tables have different rows: the second lacks {lacking.height}, the first "
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
            expected="one truth of an utterance",
            hint="compare runs on the same data",
        )


def _with_speakers(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    known = [frame for frame in (first, second) if SPEAKER in frame.columns]
    if len(known) == 2:
        _check_same_values(first, second, SPEAKER)
    return first.with_columns(known[0][SPEAKER]) if known else first
