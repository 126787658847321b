"""Losses, with weights for classes that are rare."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from polymodal.errors import ConfigError, nearest


class CrossEntropy(nn.Module):
    """Cross-entropy over the labelled utterances of a batch.

    Args:
        classes: The declared classes.
        class_counts: How often each stands in the training part.
        class_weights: `none`, `balanced` (in inverse proportion to the counts, mean 1 over the
            utterances) or a weight for each class by name.
        label_smoothing: Share of the target that is spread over all classes (Szegedy et al., 2016).

    Raises:
        ConfigError: A weight names no class, or a class lacks its weight.

    Example:
        >>> loss = CrossEntropy(["a", "b"], [3, 1], class_weights="balanced")
        >>> loss.weights.tolist()
        [0.6666666865348816, 2.0]
    """

    weights: Tensor | None

    def __init__(
        self,
        classes: Sequence[str],
        class_counts: Sequence[int],
        *,
        class_weights: Literal["none", "balanced"] | Mapping[str, float] = "none",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
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
        if not (targets >= 0).any():
            return logits.sum() * 0
        return functional.cross_entropy(
            logits.float(),
            targets,
            weight=self.weights,
            ignore_index=-1,
            label_smoothing=self.label_smoothing,
        )


def _weights(
    classes: Sequence[str], counts: Sequence[int], wanted: str | Mapping[str, float]
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
                f"loss.class_weights names {name!r}", remedy=nearest(str(name), classes)
            )
    if lacking := [name for name in classes if name not in wanted]:
        raise ConfigError(f"loss.class_weights lacks {lacking}", expected="a weight a class")
    return torch.tensor([float(wanted[name]) for name in classes])
