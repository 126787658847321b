"""What each modality says alone, beside the fused model: its head, its loss, its confidence.

Legend: batch = utterances, output = classes or values, modality = in the order of the heads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from polymodal.models.unimodal import UnimodalClassifier
from polymodal.schemas.batch import PaddedSequence

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class UnimodalOutput:
    """What one modality said of those utterances of a batch that have it.

    Args:
        loss: Their mean loss, a scalar; 0 where no utterance has the modality.
        confidence: Their mean confidence in what is true, from 0 to 1; without a gradient.
        num: Number of utterances that have it.
    """

    loss: Tensor
    confidence: Tensor
    num: int


def unimodal_heads(
    feature_sizes: Mapping[str, int], num_outputs: int, pooling: str
) -> nn.ModuleDict:
    """Builds a pooling and a linear layer for each modality.

    Args:
        feature_sizes: Name of each modality to the width of its encoder's output.
        num_outputs: Number of classes or values.
        pooling: `attention`, `mean` or `first`, over the real frames.

    Returns:
        Modality to its head.

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
    """Computes the loss of each modality alone, over the utterances that have it.

    Every head takes part in every step, as DDP expects it, and an empty one gives no NaN.

    Args:
        heads: Modality to its head.
        encoded: Modality to the output of its encoder.
        targets: As the task reads them.
        loss: Outputs and targets to a scalar.
        detached: Whether the heads only measure: no gradient passes on to the encoders.

    Returns:
        Modality to what was measured.
    """
    measured = {}
    for name, head in heads.items():
        one = encoded[name]
        seen = PaddedSequence(one.values.detach(), one.valid_mask) if detached else one
        outputs = head({name: seen}).float()
        rows = one.present
        num = int(rows.sum())
        mean = loss(outputs[rows], targets[rows]) if num else outputs.sum() * 0
        sure = confidence(outputs[rows], targets[rows], mean) if num else mean
        measured[name] = UnimodalOutput(mean, sure.detach(), num)
    return measured


def confidence(
    outputs: Float[Tensor, "batch output"], targets: Shaped[Tensor, "batch ..."], loss: Tensor
) -> Tensor:
    """Returns the mean probability of the true class; without a single class, `exp(-loss)`.

    The latter is the geometric mean of the probabilities for soft labels and several labels, and
    falls from 1 as the error grows for values.

    Args:
        outputs: Of a head.
        targets: As the task reads them; -1 is left out.
        loss: The mean loss of the outputs.

    Returns:
        A scalar from 0 to 1.

    Example:
        >>> confidence(torch.zeros(2, 4), torch.tensor([0, 3]), torch.tensor(0.0)).item()
        0.25
    """
    if targets.is_floating_point() or not (targets >= 0).any():
        return torch.exp(-loss)
    known = targets >= 0
    shares = outputs[known].softmax(dim=1)
    return shares.gather(1, targets[known][:, None]).mean()


def unimodal_outputs(
    heads: nn.ModuleDict, encoded: Mapping[str, PaddedSequence]
) -> list[Float[Tensor, "batch output"]]:
    """Returns what each head says, NaN in the rows of utterances that lack the modality.

    Args:
        heads: Modality to its head.
        encoded: Modality to the output of its encoder.

    Returns:
        Outputs in the order of the heads.
    """
    return [
        head({name: encoded[name]})
        .float()
        .masked_fill(~encoded[name].present[:, None], float("nan"))
        for name, head in heads.items()
    ]


def own_parameters(encoders: nn.ModuleDict, model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Finds the parameters that belong to one modality alone.

    Those are of its encoder, and of the model all that stand in a `ModuleDict` under its name and
    under no other modality's. What lets one modality read another belongs to neither.

    Args:
        encoders: Modality to its encoder.
        model: The fused model.

    Returns:
        Modality to its trainable parameters.

    Example:
        >>> encoders = nn.ModuleDict({"speech": nn.Linear(2, 2), "text": nn.Linear(2, 2)})
        >>> model = nn.Sequential(nn.ModuleDict({"text": nn.Linear(2, 2)}), nn.Linear(2, 2))
        >>> {name: len(own) for name, own in own_parameters(encoders, model).items()}
        {'speech': 2, 'text': 4}
    """
    owners: dict[nn.Parameter, set[str]] = {}
    for name, encoder in encoders.items():
        for parameter in encoder.parameters():
            owners.setdefault(parameter, set()).add(name)
    for holder in model.modules():
        for name, part in holder.items() if isinstance(holder, nn.ModuleDict) else ():
            for parameter in part.parameters() if name in encoders else ():
                owners.setdefault(parameter, set()).add(name)
    return {
        name: [one for one, of in owners.items() if of == {name} and one.requires_grad]
        for name in encoders
    }


@dataclass
class WeightedMean:
    """Sums of named means, weighted by the utterances behind them, until they are read."""

    sums: dict[str, Tensor] = field(default_factory=dict)

    def update(self, name: str, mean: Tensor, num: int) -> None:
        """Adds the mean of some utterances.

        Args:
            name: Of what.
            mean: A scalar.
            num: Number of utterances; 0 adds nothing, but the name is known.
        """
        value = mean.detach().float()
        pair = torch.stack([value * num, torch.full_like(value, num)])
        self.sums[name] = self.sums[name] + pair if name in self.sums else pair

    def compute(self, add_up: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Returns the means over all utterances of all ranks, and begins anew.

        Args:
            add_up: Sums a tensor over the ranks; every rank must call it with the same names.

        Returns:
            Name to mean; names without an utterance are left out.

        Example:
            >>> totals = WeightedMean()
            >>> totals.update("text", torch.tensor(1.0), 3)
            >>> totals.update("text", torch.tensor(5.0), 1)
            >>> totals.compute(lambda sums: sums)
            {'text': 2.0}
        """
        if not self.sums:
            return {}
        pairs = add_up(torch.stack([*self.sums.values()])).tolist()
        means = {
            name: pair[0] / pair[1] for name, pair in zip(self.sums, pairs, strict=True) if pair[1]
        }
        self.sums = {}
        return means
