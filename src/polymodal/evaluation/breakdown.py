"""Break a prediction table down: scores with intervals, classes, speakers, calibration, errors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl

from polymodal.errors import PredictionError, nearest
from polymodal.evaluation.classification import Score
from polymodal.evaluation.confusion import confusion_matrix
from polymodal.evaluation.score import score_names
from polymodal.evaluation.stats.bootstrap import interval
from polymodal.schemas.predictions import ID, SPEAKER, PredictionTable

Scores = Mapping[str, Score]


def select_score(
    table: PredictionTable, scores: Scores, name: str
) -> tuple[PredictionTable, Score]:
    """Return the score of a name such as `uar` or `ccc_valence`, and the table that it reads.

    For `ccc_valence` the table is restricted to the target dimension `valence`.

    Raises:
        PredictionError: There is no such score.

    Example:
        >>> from polymodal.evaluation.regression import RootMeanSquaredError
        >>> import numpy as np
        >>> values = np.zeros((1, 2), dtype=np.float32)
        >>> names = ["valence", "arousal"]
        >>> table = PredictionTable.from_values(["a"], values, values, names, split="test")
        >>> select_score(table, {"rmse": RootMeanSquaredError()}, "rmse_arousal")[0].values
        ('arousal',)
    """
    names = score_names(scores, table.values)
    if name not in names:
        raise PredictionError(f"there is no score {name!r}", hint=nearest(name, names))
    if name in scores:
        return table, scores[name]
    base = next(score for score in scores if name.startswith(f"{score}_"))
    dimension = name.removeprefix(f"{base}_")
    return replace(table, classes=(), values=(dimension,)), scores[base]


def bootstrap_cis(
    table: PredictionTable, scores: Scores, split: str
) -> dict[str, dict[str, float | int]]:
    """Return `<split>/<score>` to `bootstrap_ci` of each score of a table of one split."""
    return {
        f"{split}/{name}": bootstrap_ci(*select_score(table, scores, name))
        for name in score_names(scores, table.values)
    }


def bootstrap_ci(table: PredictionTable, score: Score) -> dict[str, float | int]:
    """Return the score of a table of one split with its 95 % bootstrap interval.

    `mean` is the score of the table, `low` and `high` are the bounds, `n` counts utterances.
    """
    ci = interval(table, score)
    return {"mean": ci.value, "low": ci.low, "high": ci.high, "n": table.frame[ID].n_unique()}


@dataclass(frozen=True)
class ClassMetrics:
    """How well one class is recognised."""

    name: str
    num: int  # number of its utterances
    recall: float | None  # fraction of these predicted as it; None without an utterance
    precision: float | None  # fraction of its predictions that are right; None without one
    f1: float  # harmonic mean of the two; 0 where they are undefined


def per_class_metrics(table: PredictionTable) -> list[ClassMetrics]:
    """Return the metrics of each class, in the order of the table; every row needs a label.

    Example:
        >>> import numpy as np
        >>> logits, targets = np.eye(2, dtype=np.float32), np.array([0, 0])
        >>> table = PredictionTable.from_logits(["a", "b"], logits, targets, "xy", split="test")
        >>> per_class_metrics(table)[1]
        ClassMetrics(name='y', num=0, recall=None, precision=0.0, f1=0.0)
    """
    predicted = table.logits().argmax(axis=1)
    matrix = confusion_matrix(predicted, table.targets(), len(table.classes))
    metrics = []
    for index, name in enumerate(table.classes):
        hits, num, num_predicted = matrix[index, index], matrix[index].sum(), matrix[:, index].sum()
        recall = float(hits / num) if num else None
        precision = float(hits / num_predicted) if num_predicted else None
        f1 = float(2 * hits / (num + num_predicted)) if num + num_predicted else 0.0
        metrics.append(ClassMetrics(name, int(num), recall, precision, f1))
    return metrics


def accuracy_by_speaker(table: PredictionTable) -> dict[str, float]:
    """Return speaker to accuracy, sorted by name; every row needs a label and a speaker."""
    hits = (pl.col("predicted") == pl.col("label")).mean().alias("accuracy")
    rows = table.frame.group_by(SPEAKER).agg(hits).iter_rows()
    return {name: round(float(value), 6) for name, value in sorted(rows)}


@dataclass(frozen=True)
class ReliabilityBin:
    """Utterances that a model predicts with about the same confidence."""

    confidence: float  # mean probability of the predicted class
    accuracy: float
    num: int


def reliability(table: PredictionTable, num_bins: int = 10) -> list[ReliabilityBin]:
    """Group the predictions of classes into bins of equal width between confidence 0 and 1.

    Guo et al. 2017 (arXiv 1706.04599), as in the expected calibration error. Every row needs a
    label. Bins without an utterance are left out; the others are sorted by confidence.

    Example:
        >>> import numpy as np
        >>> logits, targets = 9 * np.eye(2, dtype=np.float32), np.array([0, 0])
        >>> table = PredictionTable.from_logits(["a", "b"], logits, targets, "xy", split="test")
        >>> [(round(item.confidence, 2), item.accuracy, item.num) for item in reliability(table)]
        [(1.0, 0.5, 2)]
    """
    confidence = table.probabilities().max(axis=1)
    confidence = table.probabilities().max(axis=1)
    columns = {
        "confidence": confidence,
        "right": table.frame["predicted"] == table.frame["label"],
        "bin": (confidence * num_bins).astype(int).clip(max=num_bins - 1),
    }
    means = pl.col("confidence").mean(), pl.col("right").mean(), pl.len().alias("num")
    bins = pl.DataFrame(columns).group_by("bin").agg(means)
    return [ReliabilityBin(*row) for _, *row in sorted(bins.iter_rows())]


def most_confident_errors(table: PredictionTable, max_errors: int) -> list[dict[str, object]]:
    """Return at most `max_errors` wrong predictions by decreasing confidence.

    Every row needs a label. The columns are `utterance_id`, `speaker` (None where it is unknown),
    `label`, `predicted` and `sure`, the probability of the predicted class.
    """
    frame = table.frame.with_columns(pl.Series("sure", table.probabilities().max(axis=1)))
    if SPEAKER not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.String).alias(SPEAKER))
    errors = frame.filter(pl.col("predicted") != pl.col("label"))
    errors = errors.sort("sure", ID, descending=[True, False]).head(max_errors)
    return errors.select(ID, SPEAKER, "label", "predicted", "sure").to_dicts()
