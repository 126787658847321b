"""Metrics of torchmetrics as scores: `kappa: {_target_: torchmetrics.CohenKappa}` is enough.

The key of the configuration names the score, never the metric's class, so a renaming in the library
does not move a monitor. Macro averages of torchmetrics leave absent classes out; those of
`polymodal.evaluation.scores` do not.
"""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from polymodal.errors import ConfigError
from polymodal.evaluation.scores import Score, log_softmax

if TYPE_CHECKING:
    from torchmetrics import Metric


class TorchmetricsScore:
    """A torchmetrics metric as a `Score`: reset, fed all predictions at once, and read.

    It does not gather over ranks, as every rank that scores has all predictions already.

    Args:
        metric: A classification metric that gives one number.

    Raises:
        ConfigError: The metric does not say whether higher is better.

    Example:
        >>> from torchmetrics import CohenKappa
        >>> kappa = TorchmetricsScore(CohenKappa(task="multiclass", num_classes=2))
        >>> kappa(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 1]))
        1.0
    """

    def __init__(self, metric: "Metric") -> None:
        if metric.higher_is_better is None:
            raise ConfigError(
                f"{type(metric).__name__} does not say whether higher is better",
                remedy="use a metric that gives one comparable number",
            )
        metric.sync_on_compute = False
        self.metric = metric
        self.higher_is_better = bool(metric.higher_is_better)

    def __call__(
        self, logits: Float[np.ndarray, "utterance class"], targets: Int[np.ndarray, " utterance"]
    ) -> float:
        """Returns the metric of all predictions, as `Score` describes.

        Args:
            logits: Logits, `[utterance, class]`; the metric gets their softmax.
            targets: Index of the true class, `[utterance]`.

        Returns:
            The score.

        Raises:
            ConfigError: The metric gives several numbers.
        """
        import torch  # here, as scores are also read where torch must not be loaded

        self.metric.reset()
        probabilities = torch.from_numpy(np.exp(log_softmax(logits)))
        self.metric.update(probabilities, torch.from_numpy(targets.astype(np.int64)))
        value = self.metric.compute()
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            raise ConfigError(
                f"{type(self.metric).__name__} gives several numbers",
                expected="one number",
                remedy="set its average, such as `average: macro`",
            )
        return float(value)


def build_score(factory: Callable[..., object], num_classes: int) -> Score:
    """Builds a score, telling the constructor the task where it asks for it.

    Args:
        factory: A class, function or partial; it gets `task="multiclass"` and `num_classes` where
            it has these arguments and they are not set yet.
        num_classes: Number of declared classes.

    Returns:
        The score.

    Raises:
        ConfigError: It cannot be built, or what it builds is neither a score nor a metric.

    Example:
        >>> from torchmetrics import F1Score
        >>> build_score(functools.partial(F1Score, average="macro"), 4).higher_is_better
        True
    """
    name = getattr(factory, "__name__", None) or repr(factory)
    try:
        built: Any = factory(**_task_arguments(factory, num_classes))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the score {name} cannot be built: {error}", remedy="correct its arguments"
        ) from error
    if all(hasattr(built, method) for method in ("reset", "update", "compute")):
        return TorchmetricsScore(built)
    if callable(built) and hasattr(built, "higher_is_better"):
        score: Score = built
        return score
    raise ConfigError(
        f"{name} builds a {type(built).__name__}",
        expected="a torchmetrics metric, or a callable with `higher_is_better`",
        remedy="see polymodal.evaluation.scores.Score",
    )


def _task_arguments(factory: Callable[..., object], num_classes: int) -> dict[str, Any]:
    known = inspect.signature(factory).parameters
    bound = factory.keywords if isinstance(factory, functools.partial) else {}
    offered = {"task": "multiclass", "num_classes": num_classes}
    return {key: value for key, value in offered.items() if key in known and key not in bound}
