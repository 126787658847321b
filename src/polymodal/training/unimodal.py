"""Measure each modality alone, next to the fused model: its head, its loss, its confidence.

Legend: batch = utterances, output = classes or values, modality = in the order of the heads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from polymodal.models.unimodal import UnimodalClassifier
from polymodal.schemas.batch import PaddedSequence
from polymodal.training.losses import upcast

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class UnimodalOutput:
    """Results of one modality's head on the utterances of a batch that have the modality.

    Args:
        loss: Their mean loss, a scalar; 0 without such an utterance.
        confidence: Mean probability of the truth, a scalar from 0 to 1 without a gradient.
        num: Number of utterances.
    """

    loss: Tensor
    confidence: Tensor
    num: int


def unimodal_heads(
    feature_sizes: Mapping[str, int], num_outputs: int, pooling: str
) -> nn.ModuleDict:
    """Build a pooling and a linear layer for each modality.

    Raises:
        ConfigError: The pooling is unknown.

    Example:
        >>> sorted(unimodal_heads({"speech": 8, "text": 4}, 3, "mean"))
        ['speech', 'text']
    """
    return nn.ModuleDict(
        {
            name: UnimodalClassifier({name: size}, num_outputs, pooling=pooling)
            for name, size in feature_sizes.items()
        }
    )


def measure(
    heads: nn.ModuleDict,
    encoded: Mapping[str, PaddedSequence],
    targets: Shaped[Tensor, "batch ..."],
    loss: Loss,
    *,
    detached: bool,
) -> dict[str, UnimodalOutput]:
    """Compute the loss of each modality alone, over the utterances that have it.

    Every head takes part in every step, as DDP expects it. If `detached`, no gradient passes from
    the heads to the encoders.
    """
    measured = {}
    for name, head in heads.items():
        sequence = encoded[name]
        if detached:
            sequence = PaddedSequence(sequence.values.detach(), sequence.valid_mask)
        outputs = upcast(head({name: sequence}))
        rows = sequence.present
        num = int(rows.sum())
        mean = loss(outputs[rows], targets[rows]) if num else outputs.sum() * 0
        confident = confidence(outputs[rows], targets[rows], mean) if num else mean
        measured[name] = UnimodalOutput(mean, confident.detach(), num)
    return measured


def confidence(
    outputs: Float[Tensor, "batch output"],
    targets: Shaped[Tensor, "batch ..."],
    loss: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Return the mean probability of the true class; without a single class, `exp(-loss)`.

    The latter is the geometric mean of the probabilities for soft and multiple labels, and falls
    from 1 with growing error for values. Rows with a target of -1 are left out.

    Example:
        >>> confidence(torch.zeros(2, 4), torch.tensor([0, 3]), torch.tensor(0.0)).item()
        0.25
    """
    if targets.is_floating_point() or not (targets >= 0).any():
        return torch.exp(-loss)
    labelled = targets >= 0
    probabilities = outputs[labelled].softmax(dim=1)
    return probabilities.gather(1, targets[labelled][:, None]).mean()


def unimodal_outputs(
    heads: nn.ModuleDict, encoded: Mapping[str, PaddedSequence]
) -> list[Float[Tensor, "batch output"]]:
    """Return the outputs of each head, NaN in the rows of utterances without the modality."""
    return [
        upcast(head({name: encoded[name]})).masked_fill(
            ~encoded[name].present[:, None], float("nan")
        )
        for name, head in heads.items()
    ]


def modality_parameters(encoders: nn.ModuleDict, model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the trainable parameters that belong to one modality alone.

    These are the parameters of its encoder and, in the model, those in a `ModuleDict` under its
    name and under no other modality's. What lets one modality attend to another belongs to neither.

    Example:
        >>> encoders = nn.ModuleDict({"speech": nn.Linear(2, 2), "text": nn.Linear(2, 2)})
        >>> model = nn.Sequential(nn.ModuleDict({"text": nn.Linear(2, 2)}), nn.Linear(2, 2))
        >>> {name: len(values) for name, values in modality_parameters(encoders, model).items()}
        {'speech': 2, 'text': 4}
    """
    owners: dict[nn.Parameter, set[str]] = {}
    for name, encoder in encoders.items():
        for parameter in encoder.parameters():
            owners.setdefault(parameter, set()).add(name)
    for holder in model.modules():
        for name, child in holder.items() if isinstance(holder, nn.ModuleDict) else ():
            for parameter in child.parameters() if name in encoders else ():
                owners.setdefault(parameter, set()).add(name)
    return {
        name: [p for p, modalities in owners.items() if modalities == {name} and p.requires_grad]
        for name in encoders
    }


@dataclass
class WeightedMean:
    """Running means by name, weighted by numbers of utterances, until they are computed."""

    sums: dict[str, Tensor] = field(default_factory=dict)

    def update(self, name: str, mean: Tensor, num: int) -> None:
        """Add the mean of `num` utterances; with 0 only the name is registered."""
        value = mean.detach().float()
        pair = torch.stack([value * num, torch.full_like(value, num)])
        self.sums[name] = self.sums[name] + pair if name in self.sums else pair

    def compute(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return the means over all utterances of all ranks, and start again.

        Args:
            reduce: Sums a tensor over the ranks; every rank must call it with the same names.

        Returns:
            Name to mean; names without an utterance are left out.

        Example:
            >>> means = WeightedMean()
            >>> means.update("text", torch.tensor(1.0), 3)
            >>> means.update("text", torch.tensor(5.0), 1)
            >>> means.compute(lambda sums: sums)
            {'text': 2.0}
        """
        if not self.sums:
            return {}
        pairs = reduce(torch.stack([*self.sums.values()])).tolist()
        means = {
            name: total / num for name, (total, num) in zip(self.sums, pairs, strict=True) if num
        }
        self.sums = {}
        return means
