"""Losses: outputs of the model and targets of the task to one number.

Legend: batch = utterances, classes = declared classes, values = what a regression predicts.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from polymodal.errors import ConfigError, nearest

Weights = Literal["none", "balanced"] | Mapping[str, float]


class CrossEntropy(nn.Module):
    """Cross-entropy over the labelled utterances of a batch.

    Args:
        classes: The declared classes.
        class_counts: How often each stands in the training part.
        class_weights: `none`, `balanced` (in inverse proportion to the counts, mean 1 over the
            utterances) or a weight for each class by name.
        label_smoothing: Share of the target that is spread over all classes (Szegedy et al., 2016).
        focus: Exponent of the focal loss (Lin et al., 2017), which turns from utterances that are
            recognised already; 0 for plain cross-entropy.

    Raises:
        ConfigError: A weight names no class, or a class lacks its weight; or smoothing and focus
            are both asked for.

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
                expected="one of them 0, as the one undoes what the other does",
            )
        self.label_smoothing, self.focus = label_smoothing, focus
        weights = _weights(classes, class_counts, class_weights)
        self.register_buffer("weights", weights, persistent=False)

    def forward(
        self, logits: Float[Tensor, "batch classes"], targets: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Computes the mean loss.

        Args:
            logits: `[batch, classes]`.
            targets: Index of the class, `[batch]`; -1 is left out.

        Returns:
            A scalar; 0 where no utterance is labelled.
        """
        known = targets >= 0
        if self.weights is not None:  # a class that training lacks has no weight
            known = known & (self.weights[targets.clamp(min=0)] > 0)
        if not known.any():
            return logits.sum() * 0
        logits, targets = logits.float()[known], targets[known]
        if not self.focus:
            return functional.cross_entropy(
                logits, targets, weight=self.weights, label_smoothing=self.label_smoothing
            )
        log_shares = functional.log_softmax(logits, dim=1)
        log_share = log_shares.gather(1, targets[:, None]).squeeze(1)
        missed = (1 - log_share.exp()).clamp(min=1e-8)  # a power below 1 has no slope at 0
        losses = -(missed**self.focus) * log_share
        if self.weights is None:
            return losses.mean()
        weights = self.weights[targets]
        return (losses * weights).sum() / weights.sum()


class SoftCrossEntropy(nn.Module):
    """Cross-entropy, or divergence, from the annotators' shares to the model's.

    The two have equal gradients; the Kullback-Leibler divergence is 0 for a perfect model.

    Args:
        classes: The declared classes.
        class_counts: Sum of the shares of each class in the training part.
        divergence: Whether to subtract the entropy of the targets (Kullback-Leibler).
        class_weights: As in `CrossEntropy`; a target counts by the mean weight of its shares.

    Raises:
        ConfigError: A weight names no class, or a class lacks its weight.

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
        """Computes the mean loss.

        Args:
            logits: `[batch, classes]`.
            targets: Shares, `[batch, classes]`; a row of NaN is left out.

        Returns:
            A scalar; 0 where no utterance is labelled.
        """
        known = targets.isfinite().all(dim=1)
        if not known.any():
            return logits.sum() * 0
        shares = targets[known]
        losses = -(shares * functional.log_softmax(logits.float()[known], dim=1)).sum(dim=1)
        if self.divergence:
            losses = losses + torch.special.xlogy(shares, shares).sum(dim=1)
        if self.weights is None:
            return losses.mean()
        weights = shares @ self.weights
        return (losses * weights).sum() / weights.sum()


class BinaryCrossEntropy(nn.Module):
    """Cross-entropy of each label by itself, for utterances with several.

    Args:
        classes: The declared labels.
        class_counts: How often each stands in the training part.
        num_targets: Number of utterances of the training part.
        balanced: Whether a label's presence counts as much as its absence, over the training part.
        max_weight: Greatest weight of a rare label's presence.

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
        """Computes the mean loss.

        Args:
            logits: `[batch, labels]`.
            targets: 0 or 1, `[batch, labels]`; a row of NaN is left out.

        Returns:
            A scalar; 0 where no utterance is labelled.
        """
        known = targets.isfinite().all(dim=1)
        if not known.any():
            return logits.sum() * 0
        return functional.binary_cross_entropy_with_logits(
            logits.float()[known], targets[known], pos_weight=self.weights
        )


class ConcordanceLoss(nn.Module):
    """One minus the concordance correlation of a batch (Lin, 1989), the mean over the values.

    A batch of one, or of equal targets, has no correlation: there the squared error takes its
    place, so that such a batch teaches something, too.

    Args:
        mse: Share of the squared error that is added, which holds mean and scale in small batches.

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
        """Computes the loss.

        Args:
            values: `[batch, values]`.
            targets: `[batch, values]`; NaN is left out.

        Returns:
            A scalar, from 0 to 2 (plus the squared error); 0 where nothing is known.
        """
        losses = []
        for said, true in zip(values.float().unbind(1), targets.unbind(1), strict=True):
            known = true.isfinite()
            if known.any():
                losses.append(self._one(said[known], true[known]))
        return torch.stack(losses).mean() if losses else values.sum() * 0

    def _one(self, said: Tensor, true: Tensor) -> Tensor:
        error = functional.mse_loss(said, true)
        spread = true.var(unbiased=False)
        if len(true) < 2 or spread < 1e-8:
            return error
        covariance = ((said - said.mean()) * (true - true.mean())).mean()
        distance = (said.mean() - true.mean()) ** 2
        total = said.var(unbiased=False) + spread + distance
        return 1 - 2 * covariance / total + self.mse * error


class MeanSquaredError(nn.Module):
    """Mean squared error over the known values.

    Example:
        >>> loss = MeanSquaredError()
        >>> loss(torch.zeros(1, 2), torch.tensor([[3.0, float("nan")]])).item()
        9.0
    """

    tasks = ("regression",)

    def forward(
        self, values: Float[Tensor, "batch values"], targets: Float[Tensor, "batch values"]
    ) -> Float[Tensor, ""]:
        """Computes the loss.

        Args:
            values: `[batch, values]`.
            targets: `[batch, values]`; NaN is left out.

        Returns:
            A scalar; 0 where nothing is known.
        """
        known = targets.isfinite()
        if not known.any():
            return values.sum() * 0
        return functional.mse_loss(values.float()[known], targets[known])


class JointLoss(nn.Module):
    """A loss of the class and one of the values, added up.

    Args:
        classes: The declared classes.
        class_counts: How often each stands in the training part.
        class_weights: As in `CrossEntropy`.
        focus: As in `CrossEntropy`.
        values_weight: Weight of the values' loss; the class has 1.
        values_loss: `ccc` or `mse`.

    Raises:
        ConfigError: A weight names no class, or a class lacks its weight.

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
        """Computes the loss.

        Args:
            outputs: Logits, then values, `[batch, outputs]`.
            targets: Index of the class, then values, `[batch, targets]`; NaN is left out.

        Returns:
            A scalar.
        """
        index = targets[:, 0].nan_to_num(-1).long()
        logits, values = outputs[:, : self.num_classes], outputs[:, self.num_classes :]
        loss: Tensor = self.of_class(logits, index)
        loss += self.values_weight * self.of_values(values, targets[:, 1:])
        return loss


def _weights(
    classes: Sequence[str], counts: Sequence[float], wanted: str | Mapping[str, float]
) -> Tensor | None:
    if wanted == "none":
        return None
    if wanted == "balanced":
        total = torch.tensor(counts, dtype=torch.float32)
        present = (total > 0).sum()
        return torch.where(total > 0, total.sum() / (present * total.clamp(min=1)), 0.0)
    if not isinstance(wanted, Mapping):
        raise ConfigError(
            f"loss.class_weights={wanted!r}", expected="none, balanced, or a weight by class"
        )
    for name in wanted:
        if name not in classes:
            raise ConfigError(
                f"loss.class_weights names {name!r}", hint=nearest(str(name), classes)
            )
    if lacking := [name for name in classes if name not in wanted]:
        raise ConfigError(f"loss.class_weights lacks {lacking}", expected="a weight a class")
    return torch.tensor([float(wanted[name]) for name in classes])
