"""Compare the members of a study pairwise, and state what is significant.

A difference is significant if p, corrected for all pairs of the study, is below alpha, and the
bootstrap interval excludes 0. From eight speakers on, both are based on speakers, and the second
hardly ever changes the verdict. Below, p comes from utterances and ignores that a member may suit
some speakers; the interval over speakers does not. Of 200 simulated pairs without a true
difference, with 4 to 7 speakers who suit one of the members by an accuracy of .05 (standard
deviation), p alone claims 6 to 15 %, both together 3 to 8 %. With two speakers this safeguard is
missing: 22 % are claimed, of "these 2 speakers only", as the verdict says.
`python -m benchmarks verdict` measures both kinds of error.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from polymodal.errors import PredictionError, nearest
from polymodal.evaluation.classification import Score
from polymodal.evaluation.stats import bootstrap, permutation
from polymodal.schemas.predictions import PredictionTable


@dataclass(frozen=True)
class Comparison:
    """The comparison of members `a` and `b` by a score."""

    a: str
    b: str
    score: str
    difference: float  # score of a minus that of b
    low: float  # bounds of its bootstrap interval
    high: float
    p: float  # of the permutation test
    p_corrected: float  # by Holm over all pairs
    unit: bootstrap.Unit  # what is swapped
    num_units: int
    verdict: str  # the result as a sentence

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON can hold them."""
        return asdict(self)


def compare(
    tables: Mapping[str, PredictionTable],
    score_name: str,
    score: Score,
    pairs: Sequence[tuple[str, str]] | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    *,
    num_swaps: int = permutation.NUM_SWAPS,
    num_resamples: int = bootstrap.NUM_RESAMPLES,
) -> list[Comparison]:
    """Compare members of a study by a score, on the rows of one split that they all predicted.

    `pairs` are the members to compare, each with each by default; the result has their order.
    `alpha` is the significance level, family-wise over the pairs. There are `num_swaps` random
    swaps, where there are too many to try all, and `num_resamples` for an interval.

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
            message = f"there is no member {name!r} to compare"
            raise PredictionError(message, hint=nearest(name, tables))
    comparisons, scopes = [], []
    for a, b in pairs:
        pair = permutation.paired(tables[a], tables[b])
        speakers = bootstrap.num_speakers(pair.first, score)
        unit = permutation.permutation_unit(speakers, num_tests=len(pairs), alpha=alpha)
        test = permutation.paired_test(pair, score, unit, num_swaps=num_swaps, seed=seed)
        options = {"num_resamples": num_resamples, "seed": seed}
        low, high = permutation.paired_interval(pair, score, confidence=1 - alpha, **options)
        figures = (test.difference, low, high, test.p, test.p, unit, test.num_units)
        comparisons.append(Comparison(a, b, score_name, *figures, verdict=""))
        scopes.append(_scope(test, speakers))
    corrected = holm([comparison.p for comparison in comparisons])
    results = []
    for comparison, p, scope in zip(comparisons, corrected, scopes, strict=True):
        result = replace(comparison, p_corrected=p)
        verdict = _verdict(result, scope, alpha, score.higher_is_better, len(pairs))
        results.append(replace(result, verdict=verdict))
    return results


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for multiple testing (Holm, Scandinavian Journal of Statistics 1979).

    Rejecting where the result, in the same order, is below alpha keeps the probability of any
    false rejection at or below alpha.

    Example:
        >>> [round(p, 2) for p in holm([0.01, 0.04, 0.03, 0.005])]
        [0.03, 0.06, 0.06, 0.02]
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def generalisation_gap(seen: PredictionTable, unseen: PredictionTable, score: Score) -> float:
    """Return by how much a model's training rows score better than validation or test rows.

    Raises:
        PredictionError: As `bootstrap.clusters_of`.
    """
    gap = bootstrap.clusters_of(seen, score, "utterance").point_estimate()
    gap -= bootstrap.clusters_of(unseen, score, "utterance").point_estimate()
    return gap if score.higher_is_better else -gap


def _verdict(
    result: Comparison, scope: str, alpha: float, higher_is_better: bool, num_pairs: int
) -> str:
    significant = result.p_corrected < alpha and not result.low <= 0 <= result.high
    # A claim names the better member first and gives its lead as a positive number.
    sign = -1 if significant and result.difference < 0 else 1
    lead, *bounds = (_number(sign * x) for x in (result.difference, result.low, result.high))
    low, high = bounds[::sign]
    p = "p < .001" if result.p_corrected < 0.001 else f"p = {_number(result.p_corrected)}"
    figures = (
        f"{100 * (1 - alpha):g} % interval {low} to {high}, "
        f"{'corrected ' if num_pairs > 1 else ''}{p}, {scope}"
    )
    a, b = result.a, result.b
    if not significant:
        claim = f"no difference can be claimed between {a} and {b} ({lead}, {figures})"
        return claim + _disagreement(result, alpha)
    better, worse = (a, b) if (result.difference > 0) == higher_is_better else (b, a)
    if higher_is_better:
        return f"{better} is better than {worse} by {lead} ({figures})"
    return f"{better} is better than {worse}: its {result.score} is lower by {lead} ({figures})"


def _disagreement(result: Comparison, alpha: float) -> str:
    """Return why nothing is claimed although p alone, or the interval alone, would claim it."""
    if result.p_corrected < alpha:
        where = "touches" if 0 in (result.low, result.high) else "includes"
        return f": p is below {_number(alpha)}, but the interval {where} 0, and both are needed"
    if not result.low <= 0 <= result.high:
        return (
            f": the interval excludes 0, but p is not below {_number(alpha)}, and both are needed"
        )
    return ""


def _scope(test: permutation.PairedTest, num_speakers: int | None) -> str:
    units = f"{test.num_units} {test.unit}s"
    if test.unit == "speaker":
        return units
    if num_speakers is None:
        return f"{units} of unknown speakers"
    if num_speakers >= bootstrap.FEW_SPEAKERS:
        return f"{units} of {num_speakers} speakers"
    these = f"these {num_speakers} speakers" if num_speakers > 1 else "this speaker"
    return f"{units}: about {these} only"


def _number(value: float) -> str:
    """Three decimals without the zero before the point, as statistics are printed."""
    text = f"{value + 0.0:.3f}"
    return text.replace("-0.000", "0.000").replace("0.", ".", 1) if abs(value) < 1 else text
