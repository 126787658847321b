"""The benchmark of verdicts: how often `compare` claims a difference that is not, or is, there.

It takes about 13 minutes of one core.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl

from benchmarks.rows import Row, row
from polymodal.evaluation.classification import Accuracy, MacroF1, Score, UnweightedAverageRecall
from polymodal.evaluation.stats.bootstrap import bootstrap_counts, clusters_of, interval
from polymodal.evaluation.stats.multiple import compare
from polymodal.schemas.predictions import PredictionTable, concatenate

NUM_CLASSES = 4
NUM_PAIRS = 1000  # of 200, chance makes anything from .93 to .99 out of .96
NUM_HARD_PAIRS = 200
NUM_TABLES = 1000
NUM_SWAPS = 499  # fewer than a study makes, at the same level
SCORES = {"UAR": UnweightedAverageRecall(), "accuracy": Accuracy(), "macro F1": MacroF1()}
EQUAL, LARGE = (0.7, 0.7), (0.6, 0.8)
NORMAL = NormalDist()


@dataclass(frozen=True)
class Design:
    """How simulated predictions come about.

    What differs besides chance is given by standard deviations, where that of the noise of one
    prediction is 1. A `suits` of .15 moves a member's accuracy by about .05 from speaker to
    speaker, one of .3 by .10.

    Args:
        speakers: Number of speakers.
        each: Utterances of each.
        seeds: Predictions of each utterance by each member.
        known: Whether the tables say who spoke.
        ease: Of how easy a speaker is for both members.
        suits: Of how well a member suits a speaker.
        utterance: Of how easy an utterance is for both members.
        utterance_suits: Of how well a member suits an utterance, whatever its seed.
    """

    speakers: int = 10
    each: int = 20
    seeds: int = 1
    known: bool = True
    ease: float = 0.0
    suits: float = 0.0
    utterance: float = 0.0
    utterance_suits: float = 0.0


# So large that .60 and .80 can be told apart; some smaller ones are below.
DESIGNS = {
    "10 speakers": Design(),
    "10 speakers, some easier": Design(ease=0.5),
    "10 speakers, each suits a member": Design(each=50, suits=0.15),
    "unknown speakers": Design(known=False),
    "4 speakers": Design(speakers=4, each=100),
    "3 seeds": Design(seeds=3, utterance=0.7, utterance_suits=0.5),
}
# Nothing is promised of these; they are measured to be known.
HARD = {
    "10 speakers of 20, each suits a member": Design(suits=0.15),
    "8 speakers of 25": Design(speakers=8, each=25),
    "4 speakers of 50": Design(speakers=4, each=50),
    "4 speakers of 20": Design(speakers=4),
    "7 speakers, each suits a member": Design(speakers=7, each=30, suits=0.15),
    "4 speakers, each suits a member": Design(speakers=4, each=50, suits=0.15),
    "4 speakers, each suits a member much": Design(speakers=4, each=50, suits=0.3),
    "2 speakers, each suits a member": Design(speakers=2, each=100, suits=0.15),
    "10 speakers, each suits a member much": Design(suits=0.3),
    "unknown speakers, each suits a member": Design(suits=0.15, known=False),
}


def verdict() -> list[Row]:
    """Pairs of simulated members of which the right thing is said, and coverage of intervals."""
    rows = []
    for name, design in DESIGNS.items():
        for label, score in SCORES.items():
            rows += _rows(f"{name}, {label}", score, design, NUM_PAIRS)
    for name, design in HARD.items():
        rows += _rows(f"{name}, UAR", UnweightedAverageRecall(), design, NUM_HARD_PAIRS)
    for num_speakers in (4, 5, 6, 10, 20):
        rows += coverage(num_speakers)
    return rows


def claimed(score: Score, accuracies: tuple[float, float], design: Design, num_pairs: int) -> float:
    """Returns the share of simulated pairs of members that are claimed to differ.

    Args:
        score: What they are compared by.
        accuracies: Of the two members, over all speakers and utterances that might be.
        design: How their predictions come about.
        num_pairs: Number of pairs.

    Returns:
        The share.
    """
    generator = np.random.default_rng(0)
    num = 0
    for seed in range(num_pairs):
        tables = simulated(accuracies, design, generator)
        members = dict(zip("ab", tables, strict=True))
        (one,) = compare(members, "score", score, seed=seed, num_swaps=NUM_SWAPS)
        num += "is better than" in one.verdict
    return num / num_pairs


def simulated(
    accuracies: Sequence[float], design: Design, generator: np.random.Generator
) -> list[PredictionTable]:
    """Returns the predictions of members for the same utterances.

    Args:
        accuracies: Of each member.
        design: How its predictions come about.
        generator: Of the random numbers.

    Returns:
        A table a member.
    """
    num = design.speakers * design.each
    shape = (design.speakers, design.each)
    spread = np.sqrt(
        1 + design.ease**2 + design.suits**2 + design.utterance**2 + design.utterance_suits**2
    )
    ease = design.ease * generator.normal(size=(design.speakers, 1))
    ease = ease + design.utterance * generator.normal(size=shape)
    targets = generator.integers(0, NUM_CLASSES, num)
    ids = [f"u{row:05d}" for row in range(num)]
    speakers = pl.DataFrame(
        {"utterance_id": ids, "speaker": [f"s{row // design.each:02d}" for row in range(num)]}
    )
    members = []
    for accuracy in accuracies:
        level = spread * NORMAL.inv_cdf(accuracy) + ease
        level = level + design.suits * generator.normal(size=(design.speakers, 1))
        level = level + design.utterance_suits * generator.normal(size=shape)
        tables = []
        for seed in range(design.seeds):
            right = (level + generator.normal(size=shape) > 0).ravel()
            said = np.where(right, targets, targets + generator.integers(1, NUM_CLASSES, num))
            logits = np.eye(NUM_CLASSES, dtype=np.float32)[said % NUM_CLASSES]
            tables.append(
                PredictionTable.from_logits(ids, logits, targets, "wxyz", split="test", seed=seed)
            )
        table = concatenate(tables)
        members.append(table.with_speakers(speakers) if design.known else table)
    return members


def coverage(num_speakers: int) -> list[Row]:
    """Returns how often intervals of one member's UAR hold what all speakers would give.

    Args:
        num_speakers: Number of speakers, some of them easier.

    Returns:
        A row a kind of interval, ours first.
    """
    score, generator = UnweightedAverageRecall(), np.random.default_rng(0)
    design = Design(speakers=num_speakers, ease=0.5)
    held = dict.fromkeys(("ours", "percentile", "basic", "BCa"), 0)
    for seed in range(NUM_TABLES):
        (table,) = simulated(EQUAL[:1], design, generator)
        ours = interval(table, score, seed=seed)
        ends = {"ours": (ours.low, ours.high)} | _known_intervals(table, score, seed)
        for name, (low, high) in ends.items():
            held[name] += low <= EQUAL[0] <= high
    return [
        row(
            f"95 % intervals of {num_speakers} speakers that hold, {name}",
            num / NUM_TABLES,
            0.92,
            "share",
            more_is_better=True,
        )
        for name, num in held.items()
    ]


def _rows(what: str, score: Score, design: Design, num_pairs: int) -> list[Row]:
    silent = 1 - claimed(score, EQUAL, design, num_pairs)
    found = claimed(score, LARGE, design, num_pairs)
    return [
        row(f"{what}: equal, not claimed", silent, 0.92, "share", more_is_better=True),
        row(f"{what}: .60 and .80, claimed", found, 0.95, "share", more_is_better=True),
    ]


def _known_intervals(
    table: PredictionTable, score: Score, seed: int
) -> dict[str, tuple[float, float]]:
    """The peers: percentile, basic, and BCa (Efron, JASA 1987)."""
    clusters = clusters_of(table, score, "speaker")
    num, value = clusters.num_clusters, clusters.point_estimate()
    generator = np.random.default_rng(seed)
    drawn = np.concatenate([clusters.scores(one) for one in bootstrap_counts(num, 2000, generator)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    below = np.mean(drawn < value) + np.mean(drawn == value) / 2
    bias = NORMAL.inv_cdf(min(max(below, 1e-3), 1 - 1e-3))
    without_one = clusters.scores(1 - np.eye(num))
    gaps = without_one.mean() - without_one
    skew = (gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5)
    moved = [bias + NORMAL.inv_cdf(share) for share in (0.025, 0.975)]
    shares = [NORMAL.cdf(bias + one / (1 - skew * one)) for one in moved]
    return {
        "percentile": (low, high),
        "basic": (2 * value - high, 2 * value - low),
        "BCa": tuple(np.quantile(drawn, shares)),
    }
