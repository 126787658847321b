"""Losses of outputs and targets.

Legend: batch = utterances, classes = declared classes, labels = declared labels, values = target
dimensions of a regression, outputs = classes and values, targets = class index and values.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from polymodal.errors import ConfigError, nearest

Weights = Literal["none", "balanced"] | Mapping[str, float]


def upcast(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return values in at least single precision, which losses and prediction tables need."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class CrossEntropy(nn.Module):
    r"""Cross-entropy, or focal loss, over the labelled utterances of a batch.

    .. math:: -\frac{\sum_i w_{y_i} (1 - p_{y_i}(x_i))^\gamma \log p_{y_i}(x_i)}{\sum_i w_{y_i}}

    Args:
        classes: The declared classes.
        class_counts: Number of training utterances of each class.
        class_weights: `none`, `balanced` (in inverse proportion to the counts, mean 1 over the
            utterances) or a weight for each class by name.
        label_smoothing: Fraction of the target that is spread over all classes (Szegedy et al.,
            2016, arXiv 1512.00567). A row has the weight of its true class, so that weights move
            no target: PyTorch would weigh each class of the spread target instead.
        focus: Exponent :math:`\gamma` of the focal loss (Lin et al., 2017, arXiv 1708.02002),
            which gives less weight to utterances that are recognised already; 0 for cross-entropy.

    Raises:
        ConfigError: A weight is not of a class, or is missing; or smoothing and focus are combined.

    Example:
        >>> loss = CrossEntropy(["a", "b"], [3, 1], class_weights="balanced")
        >>> loss.weights.tolist()
        [0.6666666865348816, 2.0]
    """

    tasks = ("classification",)
    weights: Tensor | None

    def __init__(
        self,
        classes: Sequence[str],
        class_counts: Sequence[float],
        *,
        class_weights: Weights = "none",
        label_smoothing: float = 0.0,
        focus: float = 0.0,
    ) -> None:
        super().__init__()
        if label_smoothing and focus:
            raise ConfigError(
                f"loss.label_smoothing={label_smoothing} and loss.focus={focus}",
                expected="one of them 0, as they have opposite effects",
            )
        self.label_smoothing, self.focus = label_smoothing, focus
        weights = _weights(classes, class_counts, class_weights)
        self.register_buffer("weights", weights, persistent=False)

    def forward(
        self, logits: Float[Tensor, "batch classes"], targets: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Return the mean loss; targets of -1 are left out, and without a target it is 0."""
        labelled = self._labelled(targets)
        if not labelled.any():
            return logits.sum() * 0
        logits, targets = upcast(logits)[labelled], targets[labelled]
        if not self.focus and not (self.weights is not None and self.label_smoothing):
            return functional.cross_entropy(
                logits, targets, weight=self.weights, label_smoothing=self.label_smoothing
            )
        losses = self._losses(logits, targets)
        if self.weights is None:
            return losses.mean()
        weights = self.weights[targets]
        return (losses * weights).sum() / weights.sum()

    def weight_of(self, targets: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Return the sum of the rows' weights, over which the mean loss is taken."""
        labelled = self._labelled(targets)
        return (
            labelled.sum().float()
            if self.weights is None
            else self.weights[targets[labelled]].sum()
        )

    def _labelled(self, targets: Int[Tensor, " batch"]) -> Bool[Tensor, " batch"]:
        labelled = targets >= 0
        if self.weights is not None:  # a class without a training utterance has no weight
            labelled = labelled & (self.weights[targets.clamp(min=0)] > 0)
        return labelled

    def _losses(
        self, logits: Float[Tensor, "batch classes"], targets: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Return the loss of each row, without its weight."""
        if not self.focus:
            return functional.cross_entropy(
                logits, targets, label_smoothing=self.label_smoothing, reduction="none"
            )
        logs = functional.log_softmax(logits, dim=1).gather(1, targets[:, None]).squeeze(1)
        missed = (1 - logs.exp()).clamp(min=1e-8)  # the gradient of a power below 1 is inf at 0
        return -(missed**self.focus) * logs


class SoftCrossEntropy(nn.Module):
    r"""Cross-entropy, or divergence, of the model's distribution from the annotators'.

    .. math:: -\sum_k t_k \log p_k

    With `divergence` the entropy of the targets is subtracted (Kullback-Leibler), which changes no
    gradient but makes the loss of a perfect model 0.

    Args:
        classes: The declared classes.
        class_counts: Sum of the probabilities of each class over the training utterances.
        divergence: Whether to subtract the entropy of the targets.
        class_weights: As in `CrossEntropy`; a target has the mean weight of its distribution.

    Raises:
        ConfigError: A weight is not of a class, or is missing.

    Example:
        >>> loss = SoftCrossEntropy(["a", "b"], [1, 1], divergence=True)
        >>> round(loss(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]])).item(), 6)
        0.0
    """

    tasks = ("soft_labels",)
    weights: Tensor | None

    def __init__(
        self,
        classes: Sequence[str],
        class_counts: Sequence[float],
        *,
        divergence: bool = False,
        class_weights: Weights = "none",
    ) -> None:
        super().__init__()
        self.divergence = divergence
        weights = _weights(classes, class_counts, class_weights)
        self.register_buffer("weights", weights, persistent=False)

    def forward(
        self, logits: Float[Tensor, "batch classes"], targets: Float[Tensor, "batch classes"]
    ) -> Float[Tensor, ""]:
        """Return the mean loss; rows of NaN are left out, and without a target it is 0."""
        labelled = targets.isfinite().all(dim=1)
        if not labelled.any():
            return logits.sum() * 0
        targets = targets[labelled]
        losses = -(targets * functional.log_softmax(upcast(logits)[labelled], dim=1)).sum(dim=1)
        if self.divergence:
            losses = losses + torch.special.xlogy(targets, targets).sum(dim=1)
        if self.weights is None:
            return losses.mean()
        weights = targets @ self.weights
        return (losses * weights).sum() / weights.sum()

    def weight_of(self, targets: Float[Tensor, "batch classes"]) -> Float[Tensor, ""]:
        """Return the sum of the rows' weights, over which the mean loss is taken."""
        labelled = targets.isfinite().all(dim=1)
        return (
            labelled.sum().float()
            if self.weights is None
            else (targets[labelled] @ self.weights).sum()
        )


class BinaryCrossEntropy(nn.Module):
    """Binary cross-entropy of each label, for utterances with several labels.

    Args:
        classes: The declared labels.
        class_counts: Number of training utterances of each label.
        num_targets: Number of training utterances.
        balanced: Whether presence and absence of a label have the same total weight in training.
        max_weight: Upper bound of the weight of a rare label's presence.

    Example:
        >>> loss = BinaryCrossEntropy(["a", "b"], [1, 2], 4, balanced=True)
        >>> loss.weights.tolist()
        [3.0, 1.0]
    """

    tasks = ("multilabel",)
    weights: Tensor | None

    def __init__(
        self,
        classes: Sequence[str],
        class_counts: Sequence[float],
        num_targets: int,
        *,
        balanced: bool = False,
        max_weight: float = 100.0,
    ) -> None:
        super().__init__()
        present = torch.tensor(class_counts, dtype=torch.float32).clamp(min=1)
        weights = ((num_targets - present) / present).clamp(1 / max_weight, max_weight)
        self.register_buffer("weights", weights if balanced else None, persistent=False)

    def forward(
        self, logits: Float[Tensor, "batch labels"], targets: Float[Tensor, "batch labels"]
    ) -> Float[Tensor, ""]:
        """Return the mean loss; rows of NaN are left out, and without a target it is 0."""
        labelled = targets.isfinite().all(dim=1)
        if not labelled.any():
            return logits.sum() * 0
        return functional.binary_cross_entropy_with_logits(
            upcast(logits)[labelled], targets[labelled], pos_weight=self.weights
        )


class ConcordanceLoss(nn.Module):
    r"""One minus the concordance correlation of a batch (Lin, 1989), the mean over the values.

    .. math:: 1 - \frac{2 \sigma_{xy}}{\sigma_x^2 + \sigma_y^2 + (\mu_x - \mu_y)^2}

    A batch of one, or of equal targets, has no correlation; there the squared error is used.

    Args:
        mse: Weight of the squared error that is added, which stabilises mean and scale in small
            batches.

    Example:
        >>> truth = torch.tensor([[1.0], [2.0], [3.0]])
        >>> round(ConcordanceLoss()(truth, truth).item(), 6)
        0.0
    """

    tasks = ("regression",)

    def __init__(self, *, mse: float = 0.0) -> None:
        super().__init__()
        self.mse = mse

    def forward(
        self, values: Float[Tensor, "batch values"], targets: Float[Tensor, "batch values"]
    ) -> Float[Tensor, ""]:
        """Return the loss, from 0 to 2 plus the squared error; NaN is left out."""
        losses = []
        for predicted, true in zip(upcast(values).unbind(1), targets.unbind(1), strict=True):
            valid = true.isfinite()
            if valid.any():
                losses.append(self._of_dimension(predicted[valid], true[valid]))
        return torch.stack(losses).mean() if losses else values.sum() * 0

    def _of_dimension(
        self, predicted: Float[Tensor, " batch"], true: Float[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        error = functional.mse_loss(predicted, true)
        spread = true.var(unbiased=False)
        if len(true) < 2 or spread < 1e-8:
            return error
        covariance = ((predicted - predicted.mean()) * (true - true.mean())).mean()
        distance = (predicted.mean() - true.mean()) ** 2
        total = predicted.var(unbiased=False) + spread + distance
        return 1 - 2 * covariance / total + self.mse * error


class MeanSquaredError(nn.Module):
    """Mean squared error over the values that are not NaN.

    Example:
        >>> loss = MeanSquaredError()
        >>> loss(torch.zeros(1, 2), torch.tensor([[3.0, float("nan")]])).item()
        9.0
    """

    tasks = ("regression",)

    def forward(
        self, values: Float[Tensor, "batch values"], targets: Float[Tensor, "batch values"]
    ) -> Float[Tensor, ""]:
        """Return the mean loss; NaN is left out, and without a target it is 0."""
        valid = targets.isfinite()
        if not valid.any():
            return values.sum() * 0
        return functional.mse_loss(upcast(values)[valid], targets[valid])

    def weight_of(self, targets: Float[Tensor, "batch values"]) -> Float[Tensor, ""]:
        """Return the number of values, over which the mean loss is taken."""
        return targets.isfinite().sum().float()


class JointLoss(nn.Module):
    """The sum of a loss of the class and a loss of the values.

    Args:
        classes: The declared classes.
        class_counts: Number of training utterances of each class.
        class_weights: As in `CrossEntropy`.
        focus: As in `CrossEntropy`.
        values_weight: Weight of the loss of the values; that of the class has 1.
        values_loss: `ccc` or `mse`.

    Raises:
        ConfigError: A weight is not of a class, or is missing.

    Example:
        >>> loss = JointLoss(["a", "b"], [1, 1], values_loss="mse")
        >>> targets = torch.tensor([[float("nan"), 2.0]])
        >>> loss(torch.zeros(1, 3), targets).item()
        4.0
    """

    tasks = ("joint",)

    def __init__(
        self,
        classes: Sequence[str],
        class_counts: Sequence[float],
        *,
        class_weights: Weights = "none",
        focus: float = 0.0,
        values_weight: float = 1.0,
        values_loss: Literal["ccc", "mse"] = "ccc",
    ) -> None:
        super().__init__()
        self.num_classes, self.values_weight = len(classes), values_weight
        self.of_class = CrossEntropy(
            classes, class_counts, class_weights=class_weights, focus=focus
        )
        self.of_values = ConcordanceLoss() if values_loss == "ccc" else MeanSquaredError()

    def forward(
        self, outputs: Float[Tensor, "batch outputs"], targets: Float[Tensor, "batch targets"]
    ) -> Float[Tensor, ""]:
        """Return the loss of logits and values; targets are an index and values, NaN left out."""
        index = targets[:, 0].nan_to_num(-1).long()
        logits, values = outputs[:, : self.num_classes], outputs[:, self.num_classes :]
        loss: Tensor = self.of_class(logits, index)
        loss += self.values_weight * self.of_values(values, targets[:, 1:])
        return loss


def _weights(
    classes: Sequence[str], counts: Sequence[float], weights: str | Mapping[str, float]
) -> Float[Tensor, " classes"] | None:
    if weights == "none":
        return None
    if weights == "balanced":
        total = torch.tensor(counts, dtype=torch.float32)
        present = (total > 0).sum()
        return torch.where(total > 0, total.sum() / (present * total.clamp(min=1)), 0.0)
    if not isinstance(weights, Mapping):
        raise ConfigError(
            f"loss.class_weights={weights!r}", expected="none, balanced, or a weight by class"
        )
    for name in weights:
        if name not in classes:
            raise ConfigError(
                f"loss.class_weights names {name!r}", hint=nearest(str(name), classes)
            )
    if missing := [name for name in classes if name not in weights]:
        raise ConfigError(f"loss.class_weights lacks {missing}", expected="a weight for each class")
    return torch.tensor([float(weights[name]) for name in classes])
