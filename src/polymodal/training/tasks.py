"""Tasks: read targets from a manifest, and store predictions.

Legend: utterance = rows of a manifest, class = declared classes, label = declared labels, value =
target dimensions, output = outputs of a model, target = class index and values.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int, Shaped

from polymodal.errors import ConfigError, ManifestError, nearest
from polymodal.schemas.predictions import PredictionTable, kinds_of

IGNORE_INDEX = -1
VALUES = ("valence", "arousal")

Targets = Shaped[np.ndarray, "utterance ..."]
Outputs = Float[np.ndarray, "utterance output"]


class Task(ABC):
    """A prediction task.

    Attributes:
        name: Name of the task in prediction tables.
        classes: The declared classes in the order of the logits.
        values: Names of the target dimensions, whose outputs follow the logits.
        monitor: The score that selects the epoch, for the callbacks.
    """

    name: str
    classes: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    monitor: str

    @property
    def num_outputs(self) -> int:
        """Number of outputs of the model."""
        return len(self.classes) + len(self.values)

    @property
    def kinds(self) -> dict[str, int]:
        """Number of classes, labels or values, by kind."""
        return kinds_of(self.name, self.classes, self.values)

    @abstractmethod
    def targets(self, frame: pl.DataFrame) -> Targets:
        """Return the targets of rows of a manifest.

        Class indices are int64, -1 where unknown; values are float32, NaN where unknown.
        """

    @abstractmethod
    def table(
        self,
        utterance_ids: Sequence[str],
        outputs: Outputs,
        targets: Targets,
        **where: Any,
    ) -> PredictionTable:
        """Return the prediction table of outputs; `where` is split, fold, seed and run id."""

    def has_target(self, targets: Targets) -> Bool[np.ndarray, " utterance"]:
        """Return which utterances have a target that is known."""
        if targets.ndim == 1:
            return np.asarray(targets >= 0)
        return np.asarray(np.isfinite(targets).any(axis=1))

    def class_counts(self, targets: Targets) -> list[float]:
        """Return the number of utterances of each class; for soft labels a sum of probabilities."""
        if targets.ndim == 1:
            counts = np.bincount(targets[targets >= 0], minlength=len(self.classes))
            return [float(count) for count in counts]
        return [float(count) for count in np.nansum(targets, axis=0)]


class Classification(Task):
    """One of several classes for each utterance.

    Args:
        classes: The declared classes, in the order of the logits.
        ties: What happens to utterances without a label whose votes are tied: `drop` them from
            training and scores, or take the `first` of the classes with most votes.
        monitor: The score that selects the epoch.

    Raises:
        ConfigError: There are fewer than two classes, or duplicates.

    Example:
        >>> Classification(["anger", "joy"]).num_outputs
        2
    """

    name = "classification"

    def __init__(
        self,
        classes: Sequence[str],
        *,
        ties: Literal["drop", "first"] = "drop",
        monitor: str = "uar",
    ) -> None:
        self.classes, self.ties, self.monitor = _declared(classes, 2), ties, monitor

    def targets(self, frame: pl.DataFrame) -> Int[np.ndarray, " utterance"]:
        """Return the index of each utterance's class; -1 without a label."""
        labels = frame["label"]
        if self.ties == "first":
            labels = pl.select(pl.coalesce(labels, _first_of_most(frame["votes"]))).to_series()
        return _indices(labels, self.classes)

    def table(
        self,
        utterance_ids: Sequence[str],
        outputs: Outputs,
        targets: Int[np.ndarray, " utterance"],
        **where: Any,
    ) -> PredictionTable:
        """Return a table of classes."""
        return PredictionTable.from_logits(
            utterance_ids, outputs, targets, self.classes, task=self.name, **where
        )


class SoftLabels(Task):
    """The annotators' votes as a distribution over the classes, ties included.

    An utterance without votes counts as one vote for its label. Scores of classes use the majority
    and leave ties out. Votes for classes that are not declared do not count.

    Args:
        classes: The declared classes.
        monitor: The score that selects the epoch.

    Raises:
        ConfigError: There are fewer than two classes, or duplicates.

    Example:
        >>> votes = [[{"label": "joy", "count": 3}, {"label": "anger", "count": 1}]]
        >>> frame = pl.DataFrame({"label": ["joy"], "votes": votes})
        >>> SoftLabels(["anger", "joy"]).targets(frame).tolist()
        [[0.25, 0.75]]
    """

    name = "soft_labels"

    def __init__(self, classes: Sequence[str], *, monitor: str = "uar") -> None:
        self.classes, self.monitor = _declared(classes, 2), monitor

    def targets(self, frame: pl.DataFrame) -> Float[np.ndarray, "utterance class"]:
        """Return the probability of each class; NaN without a vote for any of them."""
        counts = _vote_counts(frame["votes"], self.classes)
        labels = _indices(frame["label"], self.classes)
        only_label = (counts.sum(axis=1) == 0) & (labels >= 0)
        counts[only_label, labels[only_label]] = 1
        total = counts.sum(axis=1, keepdims=True)
        unknown = np.full_like(counts, np.nan)
        return np.asarray(np.divide(counts, total, out=unknown, where=total > 0))

    def table(
        self,
        utterance_ids: Sequence[str],
        outputs: Outputs,
        targets: Float[np.ndarray, "utterance class"],
        **where: Any,
    ) -> PredictionTable:
        """Return a table of classes; its label is the majority, null for a tie."""
        highest = targets.max(axis=1, keepdims=True)
        single = (targets == highest).sum(axis=1) == 1
        majority = np.where(single, targets.argmax(axis=1), IGNORE_INDEX)
        return PredictionTable.from_logits(
            utterance_ids, outputs, majority, self.classes, task=self.name, **where
        )


class MultiLabel(Task):
    """Any number of labels for each utterance, a binary decision for each.

    Args:
        classes: The declared labels.
        min_votes: Number of annotators from which a label counts; an utterance without votes has
            only its label, and is unknown without it.
        monitor: The score that selects the epoch.

    Raises:
        ConfigError: There is no label, or there are duplicates.

    Example:
        >>> frame = pl.DataFrame({"label": [None], "votes": [[{"label": "joy", "count": 1}]]})
        >>> MultiLabel(["anger", "joy"]).targets(frame).tolist()
        [[0.0, 1.0]]
    """

    name = "multilabel"

    def __init__(
        self, classes: Sequence[str], *, min_votes: int = 1, monitor: str = "macro_f1"
    ) -> None:
        self.values, self.min_votes, self.monitor = _declared(classes, 1), min_votes, monitor

    def targets(self, frame: pl.DataFrame) -> Float[np.ndarray, "utterance label"]:
        """Return 1 for every label that an utterance has, 0 for the others; NaN if unknown."""
        chosen = _vote_counts(frame["votes"], self.values) >= self.min_votes
        targets = chosen.astype(np.float32)
        labels = _indices(frame["label"], self.values)
        silent = frame["votes"].is_null().to_numpy()
        targets[silent & (labels < 0)] = np.nan
        only_label = silent & (labels >= 0)
        targets[only_label, labels[only_label]] = 1
        return targets

    def table(
        self,
        utterance_ids: Sequence[str],
        outputs: Outputs,
        targets: Float[np.ndarray, "utterance label"],
        **where: Any,
    ) -> PredictionTable:
        """Return a table of labels: a logit as the value, 0 or 1 as the target."""
        return PredictionTable.from_values(
            utterance_ids, outputs, targets, self.values, task=self.name, **where
        )


class Regression(Task):
    """One or more target dimensions for each utterance, such as valence and arousal.

    The model predicts `(value - centre) / spread`.

    Args:
        values: Columns of the manifest.
        centre: Middle of the scale.
        spread: About the standard deviation.
        monitor: The score that selects the epoch.

    Raises:
        ConfigError: There is no value, there are duplicates, or the spread is not above 0.

    Example:
        >>> Regression(["valence"]).targets(pl.DataFrame({"valence": [2.5, None]})).tolist()
        [[2.5], [nan]]
    """

    name = "regression"

    def __init__(
        self,
        values: Sequence[str] = VALUES,
        *,
        centre: float = 0.0,
        spread: float = 1.0,
        monitor: str = "ccc",
    ) -> None:
        self.values, self.monitor = _declared(values, 1), monitor
        self.centre, self.spread = centre, spread
        if spread <= 0:
            raise ConfigError(f"task.spread={spread}", expected="above 0")

    def targets(self, frame: pl.DataFrame) -> Float[np.ndarray, "utterance value"]:
        """Return the values on the scale of the model; NaN where unknown.

        Raises:
            ManifestError: A column does not exist or holds no numbers.
        """
        columns = []
        for name in self.values:
            if name not in frame.columns:
                raise ManifestError(
                    f"the corpus has no column {name!r}, which task.values names",
                    hint=nearest(name, frame.columns),
                )
            try:
                columns.append(frame[name].cast(pl.Float64).to_numpy())
            except pl.exceptions.PolarsError:
                raise ManifestError(
                    f"column {name!r}, which task.values names, holds text", expected="numbers"
                ) from None
        values = np.stack(columns, axis=1).astype(np.float64)
        return ((values - self.centre) / self.spread).astype(np.float32)

    def table(
        self,
        utterance_ids: Sequence[str],
        outputs: Outputs,
        targets: Float[np.ndarray, "utterance value"],
        **where: Any,
    ) -> PredictionTable:
        """Return a table of values on the scale of the corpus."""
        predicted, true = (
            (x * self.spread + self.centre).astype(np.float32) for x in (outputs, targets)
        )
        return PredictionTable.from_values(
            utterance_ids, predicted, true, self.values, task=self.name, **where
        )

    def class_counts(self, targets: Targets) -> list[float]:
        """Return no counts, as there are no classes."""
        return []


class Joint(Task):
    """A class and values for each utterance: the logits first, then the values.

    Args:
        classes: The declared classes.
        values: Columns of the manifest.
        ties: As in `Classification`.
        centre: As in `Regression`.
        spread: As in `Regression`.
        monitor: The score that selects the epoch.

    Raises:
        ConfigError: There are fewer than two classes, no value, or duplicates.

    Example:
        >>> Joint(["anger", "joy"], ["valence"]).num_outputs
        3
    """

    name = "joint"

    def __init__(
        self,
        classes: Sequence[str],
        values: Sequence[str] = VALUES,
        *,
        ties: Literal["drop", "first"] = "drop",
        centre: float = 0.0,
        spread: float = 1.0,
        monitor: str = "uar",
    ) -> None:
        self.monitor = monitor
        self.classification = Classification(classes, ties=ties)
        self.regression = Regression(values, centre=centre, spread=spread)
        self.classes, self.values = self.classification.classes, self.regression.values

    def targets(self, frame: pl.DataFrame) -> Float[np.ndarray, "utterance target"]:
        """Return the index of the class (NaN where unknown), then the values."""
        index = self.classification.targets(frame).astype(np.float32)
        index[index < 0] = np.nan
        return np.concatenate([index[:, None], self.regression.targets(frame)], axis=1)

    def table(
        self,
        utterance_ids: Sequence[str],
        outputs: Outputs,
        targets: Float[np.ndarray, "utterance target"],
        **where: Any,
    ) -> PredictionTable:
        """Return a table of classes and values."""
        num_classes = len(self.classes)
        index = np.nan_to_num(targets[:, 0], nan=IGNORE_INDEX).astype(np.int64)
        table = self.classification.table(utterance_ids, outputs[:, :num_classes], index, **where)
        values = self.regression.table(
            utterance_ids, outputs[:, num_classes:], targets[:, 1:], **where
        )
        return PredictionTable(table.frame, self.classes, self.name, table.run_id).beside(values)

    def class_counts(self, targets: Targets) -> list[float]:
        """Return the number of utterances of each class."""
        index = np.nan_to_num(targets[:, 0], nan=IGNORE_INDEX).astype(np.int64)
        return self.classification.class_counts(index)


def _declared(names: Sequence[str], min_names: int) -> tuple[str, ...]:
    if len(names) < min_names or len({*names}) < len(names):
        expected = {1: "one name", 2: "two different classes"}[min_names]
        raise ConfigError(
            f"the task declares {list(names)}",
            expected=f"at least {expected}, each once",
            hint="declare them in task.classes or task.values, or in the corpus's YAML",
        )
    return tuple(names)


def _indices(labels: pl.Series, classes: Sequence[str]) -> Int[np.ndarray, " utterance"]:
    index = {name: position for position, name in enumerate(classes)}
    indices = labels.cast(pl.String).replace_strict(
        index, default=IGNORE_INDEX, return_dtype=pl.Int64
    )
    return indices.fill_null(IGNORE_INDEX).to_numpy()


def _vote_counts(votes: pl.Series, classes: Sequence[str]) -> Float[np.ndarray, "utterance class"]:
    counts = np.zeros((len(votes), len(classes)), dtype=np.float32)
    index = {name: position for position, name in enumerate(classes)}
    rows = pl.DataFrame({"row": np.arange(len(votes)), "vote": votes}).explode("vote")
    flat = rows.drop_nulls("vote").unnest("vote")
    for row, label, count in flat.iter_rows():
        if label in index:
            counts[row, index[label]] += count
    return counts


def _first_of_most(votes: pl.Series) -> pl.Series:
    """The first label with the most votes, in the order in which the corpus lists them."""
    first = [
        max(ballots, key=lambda vote: vote["count"])["label"] if ballots else None
        for ballots in votes.to_list()
    ]
    return pl.Series("label", first, dtype=pl.String)
