"""What a page tells of a prediction table: each score with its interval, classes, speakers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl

from polymodal.errors import PredictionError, nearest
from polymodal.evaluation.classification import Score
from polymodal.evaluation.confusion import confusion_matrix
from polymodal.evaluation.score import score_names
from polymodal.evaluation.stats.bootstrap import interval
from polymodal.schemas.predictions import ID, SPEAKER, PredictionTable


def select_score(
    table: PredictionTable, scores: Mapping[str, Score], name: str
) -> tuple[PredictionTable, Score]:
    """Returns the score of a name such as `uar` or `ccc_valence`, and the table with what it reads.

    Args:
        table: The predictions.
        scores: Name to score.
        name: A score's name, of values with `_<value>` behind it.

    Raises:
        PredictionError: There is no such score.
    """
    known = score_names(scores, table.values)
    if name not in known:
        raise PredictionError(f"there is no score {name!r}", hint=nearest(name, known))
    if name in scores:
        return table, scores[name]
    base = next(one for one in scores if name.startswith(f"{one}_"))
    value = name.removeprefix(f"{base}_")
    return replace(table, classes=(), values=(value,)), scores[base]


def bootstrap_cis(
    table: PredictionTable, scores: Mapping[str, Score], part: str
) -> dict[str, dict[str, float | int]]:
    """Returns every score of a table with its bootstrap interval.

    Args:
        table: The predictions of one part.
        scores: Name to score.
        part: What stands before the names.

    Returns:
        `<part>/<score>` to `mean`, `low`, `high` and `n`, the number of utterances.
    """
    return {
        f"{part}/{name}": bootstrap_ci(*select_score(table, scores, name))
        for name in score_names(scores, table.values)
    }


def bootstrap_ci(table: PredictionTable, score: Score) -> dict[str, float | int]:
    """Returns one score with its bootstrap interval.

    Args:
        table: The predictions of one part.
        score: The score.

    Returns:
        `mean`, `low`, `high` and `n`, the number of utterances.
    """
    one = interval(table, score)
    return {"mean": one.value, "low": one.low, "high": one.high, "n": table.frame[ID].n_unique()}


@dataclass(frozen=True)
class ClassMetrics:
    """How one class was recognised.

    Args:
        name: The class.
        num: Number of its utterances.
        recall: Share of them that was recognised; None without any.
        precision: Share of what was taken for it that was right; None where nothing was.
        f1: Harmonic mean of both.
    """

    name: str
    num: int
    recall: float | None
    precision: float | None
    f1: float


def per_class_metrics(known: PredictionTable) -> list[ClassMetrics]:
    """Tells how each class was recognised.

    Args:
        known: Predictions whose labels are known.

    Returns:
        One entry a class, in the order of the table.
    """
    said = known.logits().argmax(axis=1)
    matrix = confusion_matrix(said, known.targets(), len(known.classes))
    told = []
    for place, name in enumerate(known.classes):
        hits, num, taken = matrix[place, place], matrix[place].sum(), matrix[:, place].sum()
        told.append(
            ClassMetrics(
                name,
                int(num),
                float(hits / num) if num else None,
                float(hits / taken) if taken else None,
                float(2 * hits / (num + taken)) if num + taken else 0.0,
            )
        )
    return told


def accuracy_by_speaker(known: PredictionTable) -> dict[str, float]:
    """Returns the accuracy of each speaker's utterances.

    Args:
        known: Predictions whose labels and speakers are known.
    """
    hits = (pl.col("predicted") == pl.col("label")).mean().alias("accuracy")
    each = known.frame.group_by(SPEAKER).agg(hits)
    return {name: round(float(value), 6) for name, value in sorted(each.iter_rows())}


@dataclass(frozen=True)
class ReliabilityBin:
    """Utterances of which a model was about equally sure.

    Args:
        confidence: Their mean probability of what was said.
        accuracy: Share of them that was right.
        num: Their number.
    """

    confidence: float
    accuracy: float
    num: int


def reliability(known: PredictionTable, num_bins: int = 10) -> list[ReliabilityBin]:
    """Parts utterances by how sure the model was of what it said.

    Guo et al. 2017 (arXiv 1706.04599), bins of equal width as in the expected calibration error.

    Args:
        known: Predictions of classes whose labels are known.
        num_bins: Number of bins between 0 and 1.

    Returns:
        The bins that hold an utterance, from the least to the most sure.
    """
    sure = known.probabilities().max(axis=1)
    frame = pl.DataFrame(
        {
            "sure": sure,
            "right": known.frame["predicted"] == known.frame["label"],
            "bin": (sure * num_bins).astype(int).clip(max=num_bins - 1),
        }
    )
    bins = frame.group_by("bin").agg(
        pl.col("sure").mean(), pl.col("right").mean(), pl.len().alias("num")
    )
    return [ReliabilityBin(sure, right, num) for _, sure, right, num in sorted(bins.iter_rows())]


def most_confident_errors(known: PredictionTable, most: int) -> list[dict[str, object]]:
    """Returns the wrong rows of which a model was surest.

    Args:
        known: Predictions of classes whose labels are known.
        most: How many.

    Returns:
        `utterance_id`, `speaker` (None where it is not known), `label`, `predicted` and `sure`, the
        probability of what was said; the surest first.
    """
    frame = known.frame.with_columns(pl.Series("sure", known.probabilities().max(axis=1)))
    if SPEAKER not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.String).alias(SPEAKER))
    wrong = frame.filter(pl.col("predicted") != pl.col("label"))
    worst = wrong.sort("sure", ID, descending=[True, False]).head(most)
    return worst.select(ID, SPEAKER, "label", "predicted", "sure").to_dicts()
