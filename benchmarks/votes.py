"""The benchmark of votes: accuracy against the best member, where members help and where not."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from benchmarks.rows import Row, row
from polymodal.ensemble.soft import soft_vote
from polymodal.ensemble.stacking import stacked_vote
from polymodal.ensemble.weighted import calibrated_vote, greedy_vote, weighted_vote
from polymodal.schemas.predictions import PredictionTable

CLASSES = "abcd"
NUM_SIMULATIONS = 200
NUM_TESTED = 300
NUM_VALIDATED = (8, 20, 60, 200)
SKILL = 0.8  # of the first member: an accuracy of about .49
LOUD = 5.0  # the scale of logits that are sure of what they do not know

Vote = Callable[[Sequence[PredictionTable], Sequence[PredictionTable]], PredictionTable]
VOTES: Mapping[str, Vote] = {
    "soft": lambda tables, _: soft_vote(tables),
    "product": lambda tables, _: soft_vote(tables, on="logits"),
    "weighted": weighted_vote,
    "calibrated": calibrated_vote,
    "greedy": greedy_vote,
    "stacked": stacked_vote,
}
Member = Callable[[np.random.Generator, np.ndarray, float], np.ndarray]


def told(
    generator: np.random.Generator, truth: np.ndarray, skill: float, *, loud: float = 1.0
) -> np.ndarray:
    """Returns logits that know the truth as far as `skill` says, calibrated unless they are loud.

    Args:
        generator: Of the random numbers.
        truth: Index of the class, `[utterance]`.
        skill: Mean of the true class's logit, where the noise's standard deviation is 1.
        loud: Factor of all logits.
    """
    noise = generator.normal(size=(len(truth), len(CLASSES)))
    return np.asarray(loud * (skill or 1.0) * (skill * np.eye(len(CLASSES))[truth] + noise))


def _of_groups(generator: np.random.Generator, truth: np.ndarray, _: float) -> np.ndarray:
    """Sure of a class by what is read, which every class reads alike."""
    sentences = LOUD * generator.normal(size=(20, len(CLASSES)))
    return np.asarray(sentences[generator.integers(20, size=len(truth))])


def _wrong(generator: np.random.Generator, truth: np.ndarray, _: float) -> np.ndarray:
    """Sure of a class that is wrong."""
    other = (truth + generator.integers(1, len(CLASSES), size=len(truth))) % len(CLASSES)
    return told(generator, other, 2.0, loud=1.5)


def _half(
    generator: np.random.Generator, truth: np.ndarray, skill: float, *, known: Sequence[int]
) -> np.ndarray:
    """Knows two of the four classes, and those well."""
    means = 2.4 * skill * np.eye(len(CLASSES))[truth] * np.isin(truth, known)[:, None]
    return np.asarray(skill * (means + generator.normal(size=means.shape)))


def _noise(generator: np.random.Generator, truth: np.ndarray, _: float) -> np.ndarray:
    return told(generator, truth, 0.0, loud=LOUD)


def _quiet(generator: np.random.Generator, truth: np.ndarray, _: float) -> np.ndarray:
    return told(generator, truth, 0.0, loud=1.6)


def _shifted(generator: np.random.Generator, truth: np.ndarray, _: float) -> np.ndarray:
    return told(generator, (truth + 1) % len(CLASSES), 2.0, loud=1.5)


def _weaker(generator: np.random.Generator, truth: np.ndarray, skill: float) -> np.ndarray:
    return told(generator, truth, skill / 2.5)


USELESS: Mapping[str, Sequence[Member]] = {
    "noise": (told, _quiet),
    "loud noise": (told, _noise),
    "three of loud noise": (told, _noise, _noise, _noise),
    "constant in groups": (told, _of_groups),
    "confidently wrong": (told, _wrong),
    "each class for the next": (told, _shifted),
}
USEFUL: Mapping[str, Sequence[Member]] = {
    "a weaker one": (told, _weaker),
    "an equal one": (told, told),
    "an equal, loud one": (told, partial(told, loud=LOUD)),
    "halves": (partial(_half, known=(0, 1)), partial(_half, known=(2, 3))),
}


def votes() -> list[Row]:
    """Accuracy of votes against that of the best of their members, which may know all or some."""
    rows = []
    for kinds, less in ((USELESS, 0.01), (USEFUL, 0.0)):
        for what, members in kinds.items():
            for number in NUM_VALIDATED:
                found = accuracies(members, number, NUM_SIMULATIONS)
                goal = found.pop("best member") - less
                for name, value in found.items():
                    words = f"{what}, {number} rows: {name}"
                    rows.append(row(words, value, goal, "accuracy", more_is_better=True))
    return rows


def accuracies(
    members: Sequence[Member],
    num_validated: int,
    num_simulations: int,
    chosen: Mapping[str, Vote] = VOTES,
) -> dict[str, float]:
    """Returns the mean accuracy of votes, and that of the best member.

    Args:
        members: How each says something of the truth.
        num_validated: Number of validation rows that votes are fitted on.
        num_simulations: Number of simulations.
        chosen: Name to vote.
    """
    alone, together = np.zeros(len(members)), dict.fromkeys(chosen, 0.0)
    for seed in range(num_simulations):
        generator = np.random.default_rng((num_validated, seed))
        truth = generator.integers(len(CLASSES), size=num_validated + NUM_TESTED)
        said = [member(generator, truth, SKILL) for member in members]
        val = [_table(one[:num_validated], truth[:num_validated], "val") for one in said]
        test = [_table(one[num_validated:], truth[num_validated:], "test") for one in said]
        alone += [_accuracy(one) for one in test]
        for name, vote in chosen.items():
            together[name] += _accuracy(vote(test, val))
    together["best member"] = float(alone.max())
    return {name: total / num_simulations for name, total in together.items()}


def _table(logits: np.ndarray, truth: np.ndarray, part: str) -> PredictionTable:
    ids = [f"{part}{place:05d}" for place in range(len(truth))]
    return PredictionTable.from_logits(
        ids, logits.astype(np.float32), truth, tuple(CLASSES), split=part
    )


def _accuracy(table: PredictionTable) -> float:
    return float((table.logits().argmax(axis=1) == table.targets()).mean())
