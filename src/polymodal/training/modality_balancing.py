"""Balance modalities, so that a strong one does not starve the weak ones in deep fusion.

Once the strong modality explains the training split, the fused loss has little gradient left, and
the encoders of the weak modalities stop learning. Small heads on the encoders' outputs
(`training/unimodal.py`) measure how well each modality does alone; a balancing acts on that.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import ConfigError
from polymodal.training.unimodal import UnimodalOutput, unimodal_heads

FUSED = "fused"
MIN_GAP = 0.05  # change of a gap between mean losses that is not noise


def no_balancing() -> None:
    """Return None, for a configuration without balancing: only the fused loss is minimised."""


class ModalityBalancing:
    """How unimodal losses influence the training of the fused model; never its outputs.

    Args:
        pooling: Of the unimodal heads: `attention`, `mean` or `first`, over the valid frames.

    Attributes:
        modulates: Whether the heads only measure (no gradient passes from them to the encoders)
            and `scale_gradients` is called before each optimiser step.
        validates: Whether it needs a validation split.
    """

    modulates = False
    validates = False

    def __init__(self, *, pooling: str = "attention") -> None:
        self.pooling = pooling

    def heads(self, feature_sizes: Mapping[str, int], num_outputs: int) -> nn.ModuleDict:
        """Return a head for each modality, to be trained and saved with the encoders.

        Raises:
            ConfigError: There is only one modality, or a name or the pooling cannot be used.
        """
        if len(feature_sizes) < 2 or FUSED in feature_sizes:
            raise ConfigError(
                f"balance: {type(self).__name__} is given the modalities {sorted(feature_sizes)}",
                expected=f"at least two, none of them called {FUSED!r}",
                hint="use balance=none, or name more encoders",
            )
        return unimodal_heads(feature_sizes, num_outputs, self.pooling)

    def loss(self, fused: Tensor, unimodal: Mapping[str, UnimodalOutput]) -> Tensor:
        """Return the scalar to minimise, given the loss of the fused model and of each modality."""
        raise NotImplementedError

    def scale_gradients(
        self,
        parameters: Mapping[str, Sequence[nn.Parameter]],
        confidences: Mapping[str, float],
        seed: int,
    ) -> None:
        """Change gradients in place before an optimiser step, on all ranks alike.

        Args:
            parameters: Modality to the parameters that belong to it alone.
            confidences: Modality to the mean confidence of its head; absent ones are left out.
            seed: Of random numbers, the same on every rank.
        """

    def on_epoch_end(self, trained: Mapping[str, float], validated: Mapping[str, float]) -> None:
        """Update the balancing from the losses of an epoch.

        Args:
            trained: Modality, or `fused`, to its mean training loss of the epoch.
            validated: The same for the validation split at the end of the epoch.
        """

    def log_dict(self) -> dict[str, float]:
        """Return what to log of the epoch; called once at its end."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint, as plain types."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""


class AuxiliaryLosses(ModalityBalancing):
    """Add the mean of the unimodal losses to the fused one.

    Args:
        weight: Of that mean; the fused loss has 1.
        pooling: As in `ModalityBalancing`.

    Raises:
        ConfigError: The weight is not above 0.

    Example:
        >>> unimodal = {"text": UnimodalOutput(torch.tensor(3.0), torch.tensor(0.1), 2)}
        >>> AuxiliaryLosses(weight=0.5).loss(torch.tensor(1.0), unimodal).item()
        2.5
    """

    def __init__(self, *, weight: float = 1.0, pooling: str = "attention") -> None:
        super().__init__(pooling=pooling)
        self.weight = _positive("weight", weight)

    def loss(self, fused: Tensor, unimodal: Mapping[str, UnimodalOutput]) -> Tensor:
        """Add the mean over the modalities that the batch has; absent ones count as 0."""
        num = sum(output.num > 0 for output in unimodal.values())
        total = torch.stack([output.loss for output in unimodal.values()]).sum()
        return fused + self.weight * total / max(1, num)


class GradientBlending(ModalityBalancing):
    r"""Weight the fused and the unimodal losses by how well each generalises.

    Gradient-Blending (Wang et al., CVPR 2020, arXiv 1905.12681): between two epochs a loss
    generalises by :math:`G`, the fall of its validation loss, and overfits by :math:`O`, the growth
    of its gap between validation and training. Weights are proportional to :math:`G / O^2` and add
    up to 1.

    The paper trains each head separately to estimate G and O; here both are read from the training
    itself: training losses as the mean over an epoch, validation losses at its end. Against the
    noise of that, G below 0 counts as 0, O as at least `MIN_GAP`, and a fraction of the weight is
    spread evenly, so that every loss keeps some. Where nothing generalises, the weights stay.

    Args:
        every_epochs: Epochs between two estimates; until the first one all weights are equal.
        even_fraction: Fraction of the weight that is spread evenly, from 0 to 1.
        pooling: As in `ModalityBalancing`.

    Raises:
        ConfigError: An option is out of its range.
    """

    validates = True

    def __init__(
        self, *, every_epochs: int = 3, even_fraction: float = 0.2, pooling: str = "attention"
    ) -> None:
        super().__init__(pooling=pooling)
        if every_epochs < 1 or not 0 <= even_fraction <= 1:
            raise ConfigError(
                f"balance.every_epochs={every_epochs}, balance.even_fraction={even_fraction}",
                expected="at least 1, and a fraction from 0 to 1",
            )
        self.every_epochs, self.even_fraction = every_epochs, even_fraction
        self.weights: dict[str, float] = {}
        self.before: dict[str, list[float]] = {}
        self.epochs = 0

    def loss(self, fused: Tensor, unimodal: Mapping[str, UnimodalOutput]) -> Tensor:
        """Return the weighted sum of all losses."""
        losses = {FUSED: fused, **{name: output.loss for name, output in unimodal.items()}}
        if not self.weights:
            self.weights = dict.fromkeys(losses, 1 / len(losses))
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()

    def on_epoch_end(self, trained: Mapping[str, float], validated: Mapping[str, float]) -> None:
        """Compare the losses with those of the last estimate, every `every_epochs` epochs."""
        now = {name: [trained[name], validated[name]] for name in trained if name in validated}
        if not now:  # an epoch without validation
            return
        self.epochs += 1
        if self.before and self.epochs < self.every_epochs:
            return
        self._estimate(now)
        self.before, self.epochs = now, 0

    def _estimate(self, now: Mapping[str, Sequence[float]]) -> None:
        ratios = {
            name: generalisation_ratio(self.before[name], now[name])
            if name in now and name in self.before
            else 0
            for name in self.weights
        }
        total = sum(ratios.values())
        if total > 0:
            even = self.even_fraction / len(ratios)
            rest = 1 - self.even_fraction
            self.weights = {name: even + rest * ratio / total for name, ratio in ratios.items()}

    def log_dict(self) -> dict[str, float]:
        """Return the weights."""
        return {f"weight_{name}": weight for name, weight in self.weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the weights and what the next estimate is compared with."""
        return {"weights": self.weights, "before": self.before, "epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.weights, self.before = dict(state["weights"]), dict(state["before"])
        self.epochs = state["epochs"]


def generalisation_ratio(before: Sequence[float], now: Sequence[float]) -> float:
    """Return `G / O²` from the training and validation loss of an earlier and a later epoch.

    Example:
        >>> round(generalisation_ratio([1.0, 1.0], [0.6, 0.8]), 6)  # G 0.2, O 0.2
        5.0
        >>> generalisation_ratio([1.0, 1.0], [0.6, 1.1])
        0.0
    """
    generalised = max(0.0, before[1] - now[1])
    overfitted = (now[1] - now[0]) - (before[1] - before[0])
    return generalised / max(abs(overfitted), MIN_GAP) ** 2


class OGMGE(ModalityBalancing):
    r"""Slow a modality down while its head is more confident of the truth than the others.

    OGM-GE (Peng et al., CVPR 2022, arXiv 2203.15332), for any number of modalities: before each
    step the gradients of the parameters of one modality are scaled by
    :math:`1 - \tanh(\alpha (r - 1))` where :math:`r > 1`, the ratio of its confidence to the mean
    of the others'. Of two modalities only the stronger one is slowed down, as in the paper, whose
    scale :math:`1 - \tanh(\alpha r)` jumps at 1. Confidences are those of the batches of the step
    on all ranks, over the utterances that have the modality. Shared parameters are never scaled.

    Meant for SGD, as in the paper: Adam divides a lasting scale out again. The heads pass no
    gradient to the encoders, but theirs count in the norm that `trainer.gradient_clip_val` limits.

    Args:
        alpha: Strength of the modulation.
        noise: Whether to add Gaussian noise with the standard deviation of each scaled gradient
            (the GE of the name).
        pooling: As in `ModalityBalancing`.

    Raises:
        ConfigError: `alpha` is not above 0.
    """

    modulates = True

    def __init__(
        self, *, alpha: float = 0.5, noise: bool = True, pooling: str = "attention"
    ) -> None:
        super().__init__(pooling=pooling)
        self.alpha, self.noise = _positive("alpha", alpha), noise
        self.scales: list[dict[str, float]] = []

    def loss(self, fused: Tensor, unimodal: Mapping[str, UnimodalOutput]) -> Tensor:
        """Add the losses of the heads, from which only the heads learn."""
        return fused + torch.stack([output.loss for output in unimodal.values()]).sum()

    def scale_gradients(
        self,
        parameters: Mapping[str, Sequence[nn.Parameter]],
        confidences: Mapping[str, float],
        seed: int,
    ) -> None:
        """Scale the gradients, then add the noise."""
        scales = modulation(confidences, self.alpha)
        self.scales.append(scales)
        scaled = [
            (parameter.grad, scales.get(name, 1.0))
            for name, of_modality in parameters.items()
            for parameter in of_modality
            if parameter.grad is not None
        ]
        noise: Iterable[Tensor | float] = repeat(0.0)
        if self.noise:
            noise = _noise([gradient for gradient, _ in scaled], seed)
        for (gradient, scale), added in zip(scaled, noise, strict=False):
            gradient.mul_(scale).add_(added)

    def log_dict(self) -> dict[str, float]:
        """Return the mean scale of each modality over the steps of the epoch."""
        steps, self.scales = self.scales, []
        names = dict.fromkeys(name for scales in steps for name in scales)
        return {f"scale_{name}": fmean(scales.get(name, 1.0) for scales in steps) for name in names}


def modulation(confidences: Mapping[str, float], alpha: float) -> dict[str, float]:
    """Return the scale of each modality's gradients, above 0 and at most 1.

    Example:
        >>> scales = modulation({"speech": 0.75, "text": 0.25}, alpha=0.5)  # 1 - tanh(0.5 * 2)
        >>> {name: round(scale, 4) for name, scale in scales.items()}
        {'speech': 0.2384, 'text': 1.0}
    """
    if len(confidences) < 2:
        return dict.fromkeys(confidences, 1.0)
    total, num_others = sum(confidences.values()), len(confidences) - 1
    scales = {}
    for name, confidence in confidences.items():
        ratio = confidence / max((total - confidence) / num_others, 1e-8)
        scales[name] = 1 - math.tanh(alpha * max(0.0, ratio - 1))
    return scales


def _noise(gradients: Sequence[Tensor], seed: int) -> Iterator[Tensor]:
    generators: dict[torch.device, torch.Generator] = {}
    for gradient in gradients:
        if gradient.device not in generators:
            generators[gradient.device] = torch.Generator(gradient.device).manual_seed(seed)
        noise = torch.empty_like(gradient).normal_(generator=generators[gradient.device])
        yield noise * gradient.std(correction=0)


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ConfigError(f"balance.{name}={value}", expected="above 0")
    return value
