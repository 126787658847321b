"""Keeps a strong modality from starving the weak ones in deep fusion.

Once the strong modality explains the training part, the fused loss has little gradient left, and
the encoders of the weak ones stop where they are. Small heads on the encoders' outputs
(`training/unimodal.py`) tell how each modality does alone; a balance says what follows from that.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Several
from itertools import repeat
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import ConfigError
from polymodal.training.unimodal import UnimodalOutput, unimodal_heads

FUSED = "fused"
MIN_GAP = 0.05  # change of a gap between mean losses that is told from noise


class ModalityBalancing:
    """What the losses of the single modalities do to the training of the fused model.

    A balance of one's own is a subclass; it never sees the fused outputs, nor changes them.

    Args:
        pooling: Of the unimodal heads: `attention`, `mean` or `first`, over the real frames.

    Attributes:
        modulates: Whether the heads only measure (no gradient passes from them to the encoders)
            and `modulate` is called before each step of the optimiser.
        validates: Whether it needs a validation part.
    """

    modulates = False
    validates = False

    def __init__(self, *, pooling: str = "attention") -> None:
        self.pooling = pooling

    def heads(self, feature_sizes: Mapping[str, int], num_outputs: int) -> nn.ModuleDict:
        """Builds the unimodal heads, which are trained and saved with the encoders.

        Args:
            feature_sizes: Name of each modality to the width of its encoder's output.
            num_outputs: Number of classes or values.

        Returns:
            Modality to its head.

        Raises:
            ConfigError: There is nothing to balance, or a name or the pooling cannot be used.
        """
        if len(feature_sizes) < 2 or FUSED in feature_sizes:
            raise ConfigError(
                f"balance: {type(self).__name__} is given the modalities {sorted(feature_sizes)}",
                expected=f"at least two, none of them called {FUSED!r}",
                hint="use balance=none, or name more encoders",
            )
        return unimodal_heads(feature_sizes, num_outputs, self.pooling)

    def loss(self, fused: Tensor, measured: Mapping[str, UnimodalOutput]) -> Tensor:
        """Returns what is minimised.

        Args:
            fused: Loss of the fused model.
            measured: Modality to what its head has measured.

        Returns:
            A scalar.
        """
        raise NotImplementedError

    def scale_gradients(
        self,
        own: Mapping[str, Several[nn.Parameter]],
        confidences: Mapping[str, float],
        seed: int,
    ) -> None:
        """Changes gradients in place before a step of the optimiser, on all ranks alike.

        Args:
            own: Modality to the parameters that are its own.
            confidences: Modality to the mean confidence of its head; absent ones are left out.
            seed: Of random numbers, the same on every rank.
        """

    def on_epoch_end(self, trained: Mapping[str, float], validated: Mapping[str, float]) -> None:
        """Draws conclusions at the end of an epoch.

        Args:
            trained: Modality, or `fused`, to the mean loss that training has seen.
            validated: The same for the validation part at the end of the epoch.
        """

    def log_dict(self) -> dict[str, float]:
        """Returns what the record should show of the epoch; called once at its end."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint must hold beside the heads, as plain types."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state` gave.

        Args:
            state: From a checkpoint.
        """


class NoBalance(ModalityBalancing):
    """The fused loss alone: no heads, no other parameters, no other random numbers."""

    def __init__(self) -> None:
        super().__init__()

    def heads(self, feature_sizes: Mapping[str, int], num_outputs: int) -> nn.ModuleDict:
        """Returns no heads."""
        return nn.ModuleDict()

    def loss(self, fused: Tensor, measured: Mapping[str, UnimodalOutput]) -> Tensor:
        """Returns the fused loss."""
        return fused


class AuxiliaryLosses(ModalityBalancing):
    """Adds the mean of the unimodal losses to the fused one.

    Args:
        weight: Of that mean; the fused loss has 1.
        pooling: As in `ModalityBalancing`.

    Raises:
        ConfigError: The weight is not above 0.

    Example:
        >>> measured = {"text": UnimodalOutput(torch.tensor(3.0), torch.tensor(0.1), 2)}
        >>> AuxiliaryLosses(weight=0.5).loss(torch.tensor(1.0), measured).item()
        2.5
    """

    def __init__(self, *, weight: float = 1.0, pooling: str = "attention") -> None:
        super().__init__(pooling=pooling)
        self.weight = _above_0("weight", weight)

    def loss(self, fused: Tensor, measured: Mapping[str, UnimodalOutput]) -> Tensor:
        """Adds the mean over the modalities that the batch has; absent ones count as 0."""
        num = sum(one.num > 0 for one in measured.values())
        alone = torch.stack([one.loss for one in measured.values()]).sum()
        return fused + self.weight * alone / max(1, num)


class GradientBlending(ModalityBalancing):
    """Weighs the fused and the unimodal losses by how well each generalises.

    Gradient-Blending (Wang et al., CVPR 2020, arXiv 1905.12681): between two epochs a loss has
    generalised by G, the fall of its validation loss, and has overfitted by O, the growth of its
    gap between validation and training. Its weight is proportional to `G / O²`; all add up to 1.

    The paper trains each head apart to estimate G and O; here both are read off the training that
    takes place anyway, so nothing is computed twice: training losses as they were met in an epoch,
    validation losses at its end. Three guards make up for the noise of that: G below 0 counts as
    0; O counts as at least `MIN_GAP`; and a share of the weight is spread evenly, so that no
    loss is given up for good. Where nothing has generalised, the weights stay.

    Args:
        every_epochs: Epochs between two estimates; until the first one all weights are equal.
        even_share: Share of the weight that is spread evenly, from 0 to 1.
        pooling: As in `ModalityBalancing`.

    Raises:
        ConfigError: An option is out of its range.
    """

    validates = True

    def __init__(
        self, *, every_epochs: int = 3, even_share: float = 0.2, pooling: str = "attention"
    ) -> None:
        super().__init__(pooling=pooling)
        if every_epochs < 1 or not 0 <= even_share <= 1:
            raise ConfigError(
                f"balance.every_epochs={every_epochs}, balance.even_share={even_share}",
                expected="at least 1, and a share from 0 to 1",
            )
        self.every_epochs, self.even_share = every_epochs, even_share
        self.weights: dict[str, float] = {}
        self.before: dict[str, list[float]] = {}
        self.epochs = 0

    def loss(self, fused: Tensor, measured: Mapping[str, UnimodalOutput]) -> Tensor:
        """Adds all losses up by their weights."""
        losses = {FUSED: fused, **{name: one.loss for name, one in measured.items()}}
        if not self.weights:
            self.weights = dict.fromkeys(losses, 1 / len(losses))
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()

    def on_epoch_end(self, trained: Mapping[str, float], validated: Mapping[str, float]) -> None:
        """Compares the losses with those of the last estimate, when it is time."""
        now = {name: [trained[name], validated[name]] for name in trained if name in validated}
        if not now:  # an epoch without validation
            return
        self.epochs += 1
        if self.before and self.epochs < self.every_epochs:
            return
        self._estimate(now)
        self.before, self.epochs = now, 0

    def _estimate(self, now: Mapping[str, Several[float]]) -> None:
        values = {
            name: generalisation_ratio(self.before[name], now[name])
            if name in now and name in self.before
            else 0
            for name in self.weights
        }
        total = sum(values.values())
        if total > 0:
            even = self.even_share / len(values)
            rest = 1 - self.even_share
            self.weights = {name: even + rest * one / total for name, one in values.items()}

    def log_dict(self) -> dict[str, float]:
        """Returns the weights."""
        return {f"weight_{name}": weight for name, weight in self.weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """Returns the weights and what the next estimate is compared with."""
        return {"weights": self.weights, "before": self.before, "epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state` gave."""
        self.weights, self.before = dict(state["weights"]), dict(state["before"])
        self.epochs = state["epochs"]


def generalisation_ratio(before: Several[float], now: Several[float]) -> float:
    """Returns `G / O²`: what a loss has generalised, over the square of what it has overfitted.

    Args:
        before: Training and validation loss of an earlier epoch.
        now: The same of a later one.

    Returns:
        At least 0.

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
    """Slows a modality down while its head is surer of what is true than the others are.

    OGM-GE (Peng et al., CVPR 2022, arXiv 2203.15332), for any number of modalities: before each
    step the gradients of a modality's own parameters are scaled by `1 - tanh(alpha * (r - 1))`
    where r, the ratio of its confidence to the mean of the others', is above 1. Of two modalities
    only the stronger one is slowed, as in the paper, whose scale `1 - tanh(alpha * r)` jumps at 1.
    Confidences are those of the step's batches on all ranks, over the utterances that have the
    modality. What several modalities share in the model is never scaled.

    Meant for SGD, as in the paper: Adam divides a lasting scale out again. The heads pass no
    gradient on to the encoders; but theirs count in the norm that `trainer.gradient_clip_val`
    limits.

    Args:
        alpha: How strongly.
        noise: Whether to add Gaussian noise, as wide as the gradients of each parameter spread,
            to the modalities' own gradients (the GE of the name).
        pooling: As in `ModalityBalancing`.

    Raises:
        ConfigError: `alpha` is not above 0.
    """

    modulates = True

    def __init__(
        self, *, alpha: float = 0.5, noise: bool = True, pooling: str = "attention"
    ) -> None:
        super().__init__(pooling=pooling)
        self.alpha, self.noise = _above_0("alpha", alpha), noise
        self.scales: list[dict[str, float]] = []

    def loss(self, fused: Tensor, measured: Mapping[str, UnimodalOutput]) -> Tensor:
        """Adds the losses of the heads, which nothing but the heads learns from."""
        return fused + torch.stack([one.loss for one in measured.values()]).sum()

    def scale_gradients(
        self,
        own: Mapping[str, Several[nn.Parameter]],
        confidences: Mapping[str, float],
        seed: int,
    ) -> None:
        """Scales the gradients, then adds the noise."""
        scales = modulation(confidences, self.alpha)
        self.scales.append(scales)
        scaled = [
            (parameter.grad, scales.get(name, 1.0))
            for name, parameters in own.items()
            for parameter in parameters
            if parameter.grad is not None
        ]
        noise: Iterable[Tensor | float] = repeat(0.0)
        if self.noise:
            noise = _noise([gradient for gradient, _ in scaled], seed)
        for (gradient, scale), added in zip(scaled, noise, strict=False):
            gradient.mul_(scale).add_(added)

    def log_dict(self) -> dict[str, float]:
        """Returns the mean scale of each modality over the steps of the epoch."""
        steps, self.scales = self.scales, []
        names = dict.fromkeys(name for scales in steps for name in scales)
        return {f"scale_{name}": fmean(scales.get(name, 1.0) for scales in steps) for name in names}


def modulation(confidences: Mapping[str, float], alpha: float) -> dict[str, float]:
    """Returns the scale of each modality's gradients.

    Args:
        confidences: Modality to the mean confidence of its head.
        alpha: How strongly a ratio above 1 is counted.

    Returns:
        Modality to a scale, above 0 and at most 1.

    Example:
        >>> scales = modulation({"speech": 0.75, "text": 0.25}, alpha=0.5)  # 1 - tanh(0.5 * 2)
        >>> {name: round(scale, 4) for name, scale in scales.items()}
        {'speech': 0.2384, 'text': 1.0}
    """
    if len(confidences) < 2:
        return dict.fromkeys(confidences, 1.0)
    total, num_others = sum(confidences.values()), len(confidences) - 1
    scales = {}
    for name, own in confidences.items():
        ratio = own / max((total - own) / num_others, 1e-8)
        scales[name] = 1 - math.tanh(alpha * max(0.0, ratio - 1))
    return scales


def _noise(gradients: Several[Tensor], seed: int) -> Iterator[Tensor]:
    """Noise as wide as each gradient spreads; where gradients are equal on ranks, so is it."""
    generators: dict[torch.device, torch.Generator] = {}
    for gradient in gradients:
        if gradient.device not in generators:
            generators[gradient.device] = torch.Generator(gradient.device).manual_seed(seed)
        noise = torch.empty_like(gradient).normal_(generator=generators[gradient.device])
        yield noise * gradient.std(correction=0)


def _above_0(name: str, value: float) -> float:
    if not value > 0:
        raise ConfigError(f"balance.{name}={value}", expected="above 0")
    return value
