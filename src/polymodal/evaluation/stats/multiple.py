"""The members of a study, each against each: what can be claimed, in words.

A difference is claimed if two things agree: the swaps' p, corrected for all pairs of the study, is
below alpha, and the bootstrap interval leaves 0 out. From eight speakers on, both look at speakers,
and the second hardly ever changes the verdict. Below, p comes from utterances, which do not know
that each member may suit some speakers; the interval over speakers does. Of 200 simulated pairs
without a true difference, of 4 to 7 speakers who suit one of the members by an accuracy of .05
(standard deviation), p alone claims 6 to 15 %, both together 3 to 8 %. With two speakers that guard
is missing: 22 % are claimed, of "these 2 speakers only", as the verdict says.
`python -m benchmarks verdict` measures both kinds of error.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from polymodal.errors import PredictionError, nearest
from polymodal.evaluation.classification import Score
from polymodal.evaluation.stats.bootstrap import (
    FEW_SPEAKERS,
    NUM_RESAMPLES,
    Unit,
    clusters_of,
    num_speakers,
)
from polymodal.evaluation.stats.permutation import (
    NUM_SWAPS,
    PairedTest,
    paired,
    paired_interval,
    paired_test,
    permutation_unit,
)
from polymodal.schemas.predictions import PredictionTable


@dataclass(frozen=True)
class Comparison:
    """What can be claimed of two members.

    Args:
        a: Name of the one.
        b: Name of the other.
        score: Name of the score.
        difference: Score of a less that of b.
        low: Lower end of its interval.
        high: Upper end.
        p: Of the swaps.
        p_corrected: The same, by Holm over all pairs compared together.
        unit: What was swapped as a whole.
        num_units: How many there are of it.
        verdict: All of this in words.
    """

    a: str
    b: str
    score: str
    difference: float
    low: float
    high: float
    p: float
    p_corrected: float
    unit: Unit
    num_units: int
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields by name, as JSON can hold them."""
        return asdict(self)


def compare(
    tables: Mapping[str, PredictionTable],
    score_name: str,
    score: Score,
    pairs: Sequence[tuple[str, str]] | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    *,
    num_swaps: int = NUM_SWAPS,
    num_resamples: int = NUM_RESAMPLES,
) -> list[Comparison]:
    """Compares members of a study by a score, on the rows that they all predicted.

    Args:
        tables: Name of each member to its predictions of one part of the data.
        score_name: Name of the score.
        score: The score.
        pairs: Which members to compare; each with each where it is None.
        alpha: Share of the studies without a difference that may claim one.
        seed: Of the random swaps and resamples.
        num_swaps: Number of random swaps, where there are too many to go through.
        num_resamples: Number of resamples for an interval.

    Returns:
        A comparison a pair, in the order of the pairs.

    Raises:
        PredictionError: A pair names an unknown member, or two tables do not fit together.

    Example:
        >>> from polymodal.evaluation.classification import Accuracy
        >>> ids, targets = [f"u{row}" for row in range(40)], np.arange(40) % 2
        >>> right, left = np.eye(2, dtype=np.float32)[[targets, 0 * targets]]
        >>> tables = {
        ...     name: PredictionTable.from_logits(ids, logits, targets, "xy", split="test")
        ...     for name, logits in {"fusion": right, "voting": left}.items()
        ... }
        >>> print(compare(tables, "accuracy", Accuracy())[0].verdict)
        fusion is better than voting by .500 (95 % interval ..., p < .001,
        40 utterances of unknown speakers)
    """
    pairs = [*itertools.combinations(tables, 2)] if pairs is None else pairs
    for name in itertools.chain(*pairs):
        if name not in tables:
            raise PredictionError(
                f"there is no member {name!r} to compare", hint=nearest(name, tables)
            )
    found, scopes = [], []
    for a, b in pairs:
        pair = paired(tables[a], tables[b])
        known = num_speakers(pair.first, score)
        unit = permutation_unit(known, num_tests=len(pairs), alpha=alpha)
        test = paired_test(pair, score, unit, num_swaps=num_swaps, seed=seed)
        low, high = paired_interval(
            pair, score, confidence=1 - alpha, num_resamples=num_resamples, seed=seed
        )
        figures = (test.difference, low, high, test.p, test.p, unit, test.num_units)
        found.append(Comparison(a, b, score_name, *figures, verdict=""))
        scopes.append(_scope(test, known))
    corrected = holm([one.p for one in found])
    found = [replace(one, p_corrected=p) for one, p in zip(found, corrected, strict=True)]
    return [
        replace(one, verdict=_verdict(one, scope, alpha, score.higher_is_better, len(found)))
        for one, scope in zip(found, scopes, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for being several (Holm, Scandinavian Journal of Statistics 1979).

    Args:
        p_values: One a test.

    Returns:
        Corrected values in the same order: below alpha only if the test stands when at most a
        share alpha of such families may hold a false claim.

    Example:
        >>> [round(p, 2) for p in holm([0.01, 0.04, 0.03, 0.005])]
        [0.03, 0.06, 0.06, 0.02]
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = highest
    return corrected


def generalisation_gap(seen: PredictionTable, unseen: PredictionTable, score: Score) -> float:
    """Returns how much better a model is on what it was trained on.

    Args:
        seen: Its predictions of the training rows.
        unseen: Its predictions of validation or test rows.
        score: The score.

    Returns:
        The difference of the two scores, positive where the training rows score better.

    Raises:
        PredictionError: As `intervals.clusters_of`.
    """
    gap = clusters_of(seen, score, "utterance").point_estimate()
    gap -= clusters_of(unseen, score, "utterance").point_estimate()
    return gap if score.higher_is_better else -gap


def _verdict(
    one: Comparison, scope: str, alpha: float, higher_is_better: bool, num_pairs: int
) -> str:
    claimed = one.p_corrected < alpha and not one.low <= 0 <= one.high
    # A claim names the better one first and is said of its lead, whatever the score's direction.
    sign = -1 if claimed and one.difference < 0 else 1
    by, *interval = (_number(sign * value) for value in (one.difference, one.low, one.high))
    low, high = interval[::sign]
    p = "p < .001" if one.p_corrected < 0.001 else f"p = {_number(one.p_corrected)}"
    figures = (
        f"{100 * (1 - alpha):g} % interval {low} to {high}, "
        f"{'corrected ' if num_pairs > 1 else ''}{p}, {scope}"
    )
    if not claimed:
        return f"no difference can be claimed between {one.a} and {one.b} ({by}, {figures})"
    better, worse = (one.a, one.b) if (one.difference > 0) == higher_is_better else (one.b, one.a)
    if higher_is_better:
        return f"{better} is better than {worse} by {by} ({figures})"
    return f"{better} is better than {worse}: its {one.score} is lower by {by} ({figures})"


def _scope(test: PairedTest, num_speakers: int | None) -> str:
    units = f"{test.num_units} {test.unit}s"
    if test.unit == "speaker":
        return units
    if num_speakers is None:
        return f"{units} of unknown speakers"
    if num_speakers >= FEW_SPEAKERS:
        return f"{units} of {num_speakers} speakers"
    these = f"these {num_speakers} speakers" if num_speakers > 1 else "this speaker"
    return f"{units}: about {these} only"


def _number(value: float) -> str:
    """Three decimals without the zero before the point, as statistics are written."""
    text = f"{value + 0.0:.3f}"
    return text.replace("-0.000", "0.000").replace("0.", ".", 1) if abs(value) < 1 else text
