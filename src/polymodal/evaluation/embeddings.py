"""Describe embeddings: how separable the classes are, and how far the splits are apart.

Deep fusion is trained on embeddings of encoders. Where these were fitted to the training rows, the
training rows are easier to separate than the test rows, and lie elsewhere.

Legend: row = utterances, feature = columns of an embedding, component = principal components.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from polymodal.evaluation.confusion import confusion_matrix, recalls
from polymodal.evaluation.linear_probe import (
    PrincipalComponents,
    fit_linear_probe,
    principal_components,
)

SPLITS = ("train", "val", "test")
MAX_COMPONENTS = 16  # of the space in which distances are measured
MIN_ROWS_PER_COMPONENT = 4
MAX_POINTS = 200  # for each split
MIN_SPREAD = 1e-6  # ratio of standard deviation to mean; less is rounding of float32
MAX_DEVIATIONS = 1e3  # standard deviations; larger ones are clipped

Values = Float[np.ndarray, "_ feature"]  # rows of a split


@dataclass(frozen=True)
class FoldEmbeddings:
    """Embeddings of one fold.

    Raises:
        ValueError: The three differ in length, or a split has another name.
    """

    values: Float[np.ndarray, "row feature"]  # mean over time of the embedding of each utterance
    targets: Int[np.ndarray, " row"]  # index of the class; -1 where it is unknown
    splits: Sequence[str]  # `train`, `val` or `test`

    def __post_init__(self) -> None:
        lengths = len(self.values), len(self.targets), len(self.splits)
        if len({*lengths}) > 1:
            raise ValueError(f"values, targets and splits have {lengths} rows")
        if unknown := {*self.splits} - {*SPLITS}:
            raise ValueError(f"splits are {', '.join(SPLITS)}, not {sorted(unknown)}")


def describe_embeddings(folds: Sequence[FoldEmbeddings], classes: Sequence[str]) -> dict[str, Any]:
    """Describe the embeddings of one modality over the folds of a run.

    Features are standardised by the train rows of their fold. Non-finite values count as the train
    mean; features that are constant on the train rows are left out. Folds without a train row are
    only counted.

    `classes` are the names of the declared classes, empty if the task is not a classification. The
    result holds values for JSON:

    - `num_folds`, `feature_size`, and `rows`: split to number of rows of all folds.
    - `probe`: split to the unweighted average recall of linear probes (`fit_linear_probe`) of the
      train rows of each fold, the predictions of all folds pooled. None without classes or labelled
      train rows.
    - `distance`: split to its Fréchet distance from the train rows, the mean over folds.
    - `points`: `split`, `label` (None where unknown), `x` and `y` of at most `MAX_POINTS` rows for
      each split of the first fold, on the first two principal components of its train rows.
    - `explained`: the ratio of the train variance along each of the two.

    Raises:
        ValueError: There is no fold.

    Example:
        >>> values = np.array([[0.0], [0.1], [1.0], [1.1], [0.05], [1.05]])
        >>> splits = ["train"] * 4 + ["test"] * 2
        >>> fold = FoldEmbeddings(values, np.array([0, 0, 1, 1, 0, 1]), splits)
        >>> describe_embeddings([fold], ["calm", "joy"])["probe"]
        {'train': 1.0, 'test': 1.0}
    """
    if not folds:
        raise ValueError("there is no fold to describe")
    splits = [split for fold in folds for split in fold.splits]
    spaces = [_Space.of(fold) for fold in folds if "train" in fold.splits]
    shown = spaces[0] if spaces else None
    return {
        "num_folds": len(folds),
        "feature_size": int(folds[0].values.shape[1]),
        "rows": {split: splits.count(split) for split in SPLITS if split in splits},
        "probe": _probe(spaces, len(classes)),
        "distance": _distances(spaces),
        "points": _points(shown, classes) if shown else [],
        "explained": _explained(shown) if shown else [],
    }


def frechet_distance(first: Values, second: Values) -> float:
    r"""Return the squared Fréchet distance of the Gaussians that fit two sets of rows.

    .. math:: \lVert \mu_1 - \mu_2 \rVert^2 + \operatorname{tr}\left(\Sigma_1 + \Sigma_2
              - 2 (\Sigma_1 \Sigma_2)^{1/2}\right)

    Dowson and Landau, 1982; as in FID (Heusel et al., 2017, arXiv 1706.08500).

    Both need at least two rows and finite values.

    Example:
        >>> rows = np.array([[-1.0], [1.0]])
        >>> frechet_distance(rows, rows + 3), frechet_distance(rows, 2 * rows).__round__(3)
        (9.0, 2.0)
    """
    away = first.mean(axis=0) - second.mean(axis=0)
    covariances = [np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (first, second)]
    variances, vectors = np.linalg.eigh(covariances[0])
    root = vectors * np.sqrt(np.maximum(variances, 0)) @ vectors.T
    # The eigenvalues of this symmetric matrix are those of the product of the two.
    shared = np.linalg.eigvalsh(root @ covariances[1] @ root)
    traces = np.trace(covariances[0]) + np.trace(covariances[1])
    overlap = np.sqrt(np.maximum(shared, 0)).sum()
    return float(max(away @ away + traces - 2 * overlap, 0.0))


@dataclass(frozen=True)
class _Space:
    """A standardised fold and the principal components of its train rows."""

    rows: Mapping[str, Values]  # split to standardised rows
    targets: Mapping[str, Int[np.ndarray, "_"]]
    components: PrincipalComponents

    @classmethod
    def of(cls, fold: FoldEmbeddings) -> "_Space":
        splits = np.asarray(fold.splits)
        masks = {split: splits == split for split in SPLITS if split in fold.splits}
        rows = _standardised(fold.values, masks)
        targets = {split: fold.targets[mask] for split, mask in masks.items()}
        return cls(rows, targets, principal_components(rows["train"]))


def _standardised(
    values: Values, masks: Mapping[str, Bool[np.ndarray, " row"]]
) -> dict[str, Values]:
    """Standardise the rows of each split by mean and deviation of the train rows."""
    rows = {split: values[mask].astype(np.float64) for split, mask in masks.items()}
    train = rows["train"]
    with np.errstate(all="ignore"):  # huge values overflow; such features are left out
        mean = _finite_mean(train)
        for features in rows.values():
            np.copyto(features, mean, where=~np.isfinite(features))
        spread = train.std(axis=0)
        usable = np.isfinite(spread) & (spread > MIN_SPREAD * np.abs(mean))
        for features in rows.values():
            features -= mean
            features /= np.where(usable, spread, 1.0)
            features[:, ~usable] = 0.0
            np.clip(features, -MAX_DEVIATIONS, MAX_DEVIATIONS, out=features)
    train -= train.mean(axis=0)
    return rows


def _finite_mean(train: Values) -> Float[np.ndarray, " feature"]:
    finite = np.isfinite(train)
    if finite.all():
        return np.asarray(train.mean(axis=0))
    sums = np.where(finite, train, 0.0).sum(axis=0)
    return np.asarray(np.nan_to_num(sums / np.maximum(finite.sum(axis=0), 1)))


def _probe(spaces: Sequence[_Space], num_classes: int) -> dict[str, float] | None:
    matrices: dict[str, Int[np.ndarray, "true predicted"]] = {}
    for space in spaces:
        rows, targets = _labelled(space, num_classes)
        if not len(targets["train"]):
            continue
        probe = fit_linear_probe(rows["train"], targets["train"], num_classes, space.components)
        for split, features in rows.items():
            matrix = confusion_matrix(probe.predict(features), targets[split], num_classes)
            matrices[split] = matrices.get(split, 0) + matrix
    scored = [split for split in SPLITS if split in matrices and matrices[split].any()]
    return {split: float(recalls(matrices[split]).mean()) for split in scored} or None


def _labelled(
    space: _Space, num_classes: int
) -> tuple[dict[str, Values], dict[str, Int[np.ndarray, "_"]]]:
    masks = {
        split: (targets >= 0) & (targets < num_classes) for split, targets in space.targets.items()
    }
    rows = {split: space.rows[split][mask] for split, mask in masks.items()}
    return rows, {split: space.targets[split][mask] for split, mask in masks.items()}


def _distances(spaces: Sequence[_Space]) -> dict[str, float]:
    """Split to its Fréchet distance from the train rows per component, the mean over folds.

    Rows are whitened by the first principal components of the train rows: at most `MAX_COMPONENTS`,
    and one for `MIN_ROWS_PER_COMPONENT` rows of the smallest split, as covariances of few rows are
    noise. Divided by the number of components, the distance depends neither on the width nor on the
    scale of the embedding. A split of one row is left out.
    """
    distances: dict[str, list[float]] = {}
    for space in spaces:
        rows = {split: features for split, features in space.rows.items() if len(features) > 1}
        num_components = len(space.components.variances)
        if "train" not in rows or not num_components:
            continue
        smallest = min(map(len, rows.values()))
        num = min(MAX_COMPONENTS, max(smallest // MIN_ROWS_PER_COMPONENT, 1), num_components)
        whitened = {split: space.components.whiten(rows[split], num) for split in rows}
        train = whitened.pop("train")
        for split, features in whitened.items():
            distances.setdefault(split, []).append(frechet_distance(train, features) / num)
    return {split: float(np.mean(distances[split])) for split in SPLITS if split in distances}


def _points(space: _Space, classes: Sequence[str]) -> list[dict[str, Any]]:
    directions = space.components.directions[:, :2]
    points = []
    for split, rows in space.rows.items():
        chosen = _spread_over_classes(space.targets[split], MAX_POINTS)
        plane = np.zeros((len(chosen), 2))
        plane[:, : directions.shape[1]] = rows[chosen] @ directions
        targets = space.targets[split][chosen].tolist()
        for (x, y), target in zip(plane.round(4).tolist(), targets, strict=True):
            label = classes[target] if 0 <= target < len(classes) else None
            points.append({"split": split, "label": label, "x": x, "y": y})
    return points


def _spread_over_classes(targets: Int[np.ndarray, " row"], num: int) -> Int[np.ndarray, "_"]:
    """Return at most `num` row indices, evenly spaced and as balanced over classes as possible."""
    by_class = [np.flatnonzero(targets == target) for target in np.unique(targets)]
    chosen, left = [], num
    for turn, rows in enumerate(sorted(by_class, key=len)):  # large classes get the remainder
        size = min(len(rows), left // (len(by_class) - turn))
        chosen.append(rows[np.linspace(0, len(rows) - 1, size).round().astype(np.int64)])
        left -= size
    return np.sort(np.concatenate(chosen))


def _explained(space: _Space) -> list[float]:
    variances = space.components.variances
    ratios = [float(variance / variances.sum()) for variance in variances[:2]]
    return [*ratios, 0.0, 0.0][:2]
