"""Shallow fusion that learns from validation predictions how far to trust each member.

What is fitted is fitted fold by fold, on the validation rows of that fold alone: the rows that are
voted on have no say in it.

Legend: table = voters, utterance = rows, class = declared classes.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from polymodal.contracts.predictions import PredictionTable
from polymodal.errors import PredictionError
from polymodal.voting.join import Joined, join, log_of_shares, voted_columns

Logs = Float[np.ndarray, "table utterance class"]
Targets = Int[np.ndarray, " utterance"]
Combine = Callable[[Logs], np.ndarray]
# From log probabilities and classes of validation rows, and the members' names: how to combine
# other log probabilities, and what was found, in words.
Fit = Callable[[Logs, Targets, Sequence[str]], tuple[Combine, list[str]]]
TEMPERATURES = np.geomspace(0.05, 20, 121)
NUM_STEPS = 200
SURE = 1.645  # one-sided 95 %


def weighted_vote(
    tables: Sequence[PredictionTable],
    validation: Sequence[PredictionTable],
    *,
    say: Callable[[str], None] = lambda words: None,
) -> PredictionTable:
    """Weighs log probabilities so that validation labels are most likely.

    A logarithmic pool (Genest and Zidek, 1986): the weights are not negative; their sum is the
    sharpness of the vote, and they are told as shares of it. The likelihood has one maximum. (A
    weighted mean of probabilities would end with one member alone where each knows something else.)

    Args:
        tables: Two or more tables; `join` says how their rows find each other.
        validation: Their validation tables, in the same order.
        say: Gets what was fitted, in words.

    Returns:
        A table sorted by id; its logits are logarithms of probabilities.

    Raises:
        PredictionError: The tables cannot be joined, or a fold has no labelled validation row.
    """
    return _fitted(tables, validation, _fit_weights, say)


def calibrated_vote(
    tables: Sequence[PredictionTable],
    validation: Sequence[PredictionTable],
    *,
    say: Callable[[str], None] = lambda words: None,
) -> PredictionTable:
    """Multiplies calibrated probabilities, without members that are at chance.

    Each member's logits are divided by the temperature that makes validation labels most likely
    (Guo et al., ICML 2017). A member whose mean recall on validation is not surely above chance
    (one-sided, 95 %) has no vote. The calibrated ones are multiplied (Hinton, 2002), with one more
    temperature for the product. Where that makes validation labels less likely than the best
    member alone, the best member is taken.

    Args:
        tables: Two or more tables; `join` says how their rows find each other.
        validation: Their validation tables, in the same order.
        say: Gets which members have no vote, in words.

    Returns:
        A table sorted by id; its logits are logarithms of probabilities.

    Raises:
        PredictionError: The tables cannot be joined, or a fold has no labelled validation row.
    """
    return _fitted(tables, validation, _fit_calibrated, say)


def greedy_vote(
    tables: Sequence[PredictionTable],
    validation: Sequence[PredictionTable],
    *,
    num_rounds: int = 20,
    say: Callable[[str], None] = lambda words: None,
) -> PredictionTable:
    """Selects members one at a time, with repetition, each the one that helps most on validation.

    Ensemble selection (Caruana et al., ICML 2004) of calibrated members by mean recall, then by the
    likelihood of the validation labels; the best of all rounds counts.

    Args:
        tables: Two or more tables; `join` says how their rows find each other.
        validation: Their validation tables, in the same order.
        num_rounds: Number of members to select.
        say: Gets what was selected, in words.

    Returns:
        A table sorted by id; its logits are logarithms of the averaged probabilities.

    Raises:
        PredictionError: The tables cannot be joined, a fold has no labelled validation row, or
            there is no round.
    """
    if num_rounds < 1:
        raise PredictionError(f"voting.num_rounds={num_rounds}", expected="at least 1")
    return _fitted(tables, validation, partial(_fit_greedy, num_rounds=num_rounds), say)


def _fitted(
    tables: Sequence[PredictionTable],
    validation: Sequence[PredictionTable],
    fit: Fit,
    say: Callable[[str], None],
) -> PredictionTable:
    joined, learnt = join(tables), join(validation)
    if joined.classes != learnt.classes or not joined.classes:
        raise PredictionError(
            "fitted votes are over classes, the same in the tables and in those of validation",
            remedy="use voting=soft for values and several labels",
        )
    logs, known = _log_softmax(joined.logits), _log_softmax(learnt.logits)
    targets = PredictionTable(learnt.frame, learnt.classes).targets()
    names = [table.run_id or f"member {place}" for place, table in enumerate(tables, start=1)]
    voted = np.empty(logs.shape[1:])
    keys = ["fold"] if joined.frame["fold"].n_unique() > 1 else []
    for fold in joined.frame.select(keys).unique().sort(keys).iter_rows() if keys else [()]:
        rows, fitting = _rows(joined, fold), _rows(learnt, fold) & (targets >= 0)
        where = f"fold {fold[0]}: " if fold else ""
        if not fitting.any():
            raise PredictionError(
                f"{where}the members have no labelled validation row to fit a vote on",
                remedy="train them with split.val above 0, or use voting=soft",
            )
        combine, found = fit(known[:, fitting], targets[fitting], names)
        for words in found:
            say(where + words)
        voted[rows] = combine(logs[:, rows])
    frame = joined.frame.with_columns(voted_columns(joined, voted))
    return PredictionTable(frame, joined.classes, tables[0].task)


def _rows(joined: Joined, fold: tuple[int, ...]) -> np.ndarray:
    if not fold:
        return np.ones(joined.frame.height, dtype=bool)
    return (joined.frame["fold"] == fold[0]).to_numpy()


def _fit_weights(logs: Logs, targets: Targets, names: Sequence[str]) -> tuple[Combine, list[str]]:
    weights, step = np.full(len(logs), 1 / len(logs)), 1.0
    lowest = _loss(np.tensordot(weights, logs, axes=1), targets)
    for _ in range(NUM_STEPS):
        shares = np.exp(_log_softmax(np.tensordot(weights, logs, axes=1)))
        said = logs[:, np.arange(len(targets)), targets].mean(axis=1)
        slope = (shares * logs).sum(axis=2).mean(axis=1) - said
        while step > 1e-6:  # downhill, as far as weights stay positive
            tried = np.maximum(weights - step * slope, 0)
            if (loss := _loss(np.tensordot(tried, logs, axes=1), targets)) <= lowest:
                weights, lowest, step = tried, loss, step * 2
                break
            step /= 2
    total = max(weights.sum(), 1e-12)
    shown = (f"{name} {one / total:.2f}" for name, one in zip(names, weights, strict=True))
    return (
        lambda other: _log_softmax(np.tensordot(weights, other, axes=1)),
        [f"weights {', '.join(shown)}"],
    )


def _fit_calibrated(
    logs: Logs, targets: Targets, names: Sequence[str]
) -> tuple[Combine, list[str]]:
    temperatures = np.array([_temperature(one, targets) for one in logs])
    calibrated = _cooled(logs, temperatures)
    able = [place for place, one in enumerate(logs) if _above_chance(one, targets)]
    found = [
        f"{name} is at chance on validation and has no vote"
        for place, name in enumerate(names)
        if place not in able
    ]
    best = int(np.argmin([_loss(one, targets) for one in calibrated]))
    able = able or [best]
    product = calibrated[able].sum(axis=0)
    final = _temperature(_log_softmax(product), targets)
    alone = _loss(calibrated[best], targets)
    if _loss(_log_softmax(product / final), targets) > alone:
        found.append(
            f"together they are no better on validation than {names[best]} alone, which is taken"
        )
        able, final = [best], 1.0

    def combine(other: Logs) -> np.ndarray:
        return _log_softmax(_cooled(other, temperatures)[able].sum(axis=0) / final)

    return combine, found


def _fit_greedy(
    logs: Logs, targets: Targets, names: Sequence[str], *, num_rounds: int
) -> tuple[Combine, list[str]]:
    temperatures = np.array([_temperature(one, targets) for one in logs])
    shares, ones = np.exp(_cooled(logs, temperatures)), np.eye(len(logs))
    counts, best, reached = np.zeros(len(logs)), ones[0], (-1.0, 0.0)
    for _ in range(num_rounds):
        tried = [_worth(np.tensordot(counts + one, shares, axes=1), targets) for one in ones]
        chosen = max(range(len(ones)), key=lambda place: tried[place])
        counts = counts + ones[chosen]
        if tried[chosen] > reached:
            best, reached = counts, tried[chosen]
    weights = best / best.sum()
    shown = (f"{name} {count:.0f} times" for name, count in zip(names, best, strict=True))

    def combine(other: Logs) -> np.ndarray:
        cooled = np.exp(_cooled(other, temperatures))
        return log_of_shares(np.tensordot(weights, cooled, axes=1))

    return combine, [f"selected {', '.join(shown)}"]


def _worth(shares: Float[np.ndarray, "utterance class"], targets: Targets) -> tuple[float, float]:
    """Mean recall, then likelihood: what a selection is judged by."""
    hits = shares.argmax(axis=1) == targets
    recall = np.mean([hits[targets == one].mean() for one in np.unique(targets)])
    return float(recall), -_loss(log_of_shares(shares), targets)


def _above_chance(logs: Float[np.ndarray, "utterance class"], targets: Targets) -> bool:
    """Whether the mean recall is surely above that of guessing."""
    hits = logs.argmax(axis=1) == targets
    present = np.unique(targets)
    recalls = np.array([hits[targets == one].mean() for one in present])
    counts = np.array([(targets == one).sum() for one in present])
    # Half a hit and half a miss are added, so that a few lucky rows are not taken for certainty.
    spread = (recalls * counts + 0.5) / (counts + 1)
    error = np.sqrt((spread * (1 - spread) / counts).sum()) / len(present)
    return bool(recalls.mean() - SURE * error > 1 / len(present))


def _temperature(logs: Float[np.ndarray, "utterance class"], targets: Targets) -> float:
    losses = [_loss(_log_softmax(logs / one), targets) for one in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def _cooled(logs: Logs, temperatures: Float[np.ndarray, " table"]) -> Logs:
    return _log_softmax(logs / temperatures[:, None, None])


def _loss(logs: Float[np.ndarray, "utterance class"], targets: Targets) -> float:
    normalised = _log_softmax(logs)
    return float(-normalised[np.arange(len(targets)), targets].mean())


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
