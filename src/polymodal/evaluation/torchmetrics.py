"""Metrics of torchmetrics as scores: `kappa: {_target_: torchmetrics.CohenKappa}` is enough.

The key of the configuration names the score, never the metric's class, so a renaming in the library
does not move a monitor. Macro averages of torchmetrics leave absent classes out; those of
`polymodal.evaluation.classification` do not.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped

from polymodal.errors import ConfigError
from polymodal.evaluation.classification import Score, log_softmax
from polymodal.evaluation.score import input_kind

if TYPE_CHECKING:
    from torchmetrics import Metric


class TorchmetricsScore:
    """A torchmetrics metric as a `Score`: reset, fed all predictions at once, and read.

    It does not gather over ranks, as every rank that scores has all predictions already.

    Args:
        metric: A metric that gives one number.
        reads: What it is of: `classes` (it gets probabilities and indices), `labels`
            (probabilities, 0 and 1) or `values` (numbers).

    Raises:
        ConfigError: The metric does not say whether higher is better.

    Example:
        >>> from torchmetrics import CohenKappa
        >>> kappa = TorchmetricsScore(CohenKappa(task="multiclass", num_classes=2))
        >>> kappa(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 1]))
        1.0
    """

    def __init__(self, metric: "Metric", reads: str = "classes") -> None:
        if metric.higher_is_better is None:
            raise ConfigError(
                f"{type(metric).__name__} does not say whether higher is better",
                hint="use a metric that gives one comparable number",
            )
        metric.sync_on_compute = False
        self.metric, self.reads = metric, reads
        self.higher_is_better = bool(metric.higher_is_better)

    def __call__(
        self, said: Float[np.ndarray, "utterance ..."], true: Shaped[np.ndarray, "utterance ..."]
    ) -> float:
        """Returns the metric of all predictions, as `Score` describes.

        Args:
            said: Logits, `[utterance, class]`, or values, `[utterance]`.
            true: Index of the true class, yes or no a label, or the true value.

        Returns:
            The score.

        Raises:
            ConfigError: The metric gives several numbers.
        """
        import torch  # here, as scores are also read where torch must not be loaded

        self.metric.reset()
        if self.reads == "values":
            self.metric.update(torch.from_numpy(said).float(), torch.from_numpy(true).float())
        else:
            shares = (
                np.exp(log_softmax(said)) if self.reads == "classes" else 1 / (1 + np.exp(-said))
            )
            self.metric.update(torch.from_numpy(shares), torch.from_numpy(true.astype(np.int64)))
        value = self.metric.compute()
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            raise ConfigError(
                f"{type(self.metric).__name__} gives several numbers",
                expected="one number",
                hint="set its average, such as `average: macro`",
            )
        return float(value)


def build_score(factory: Callable[..., object], kinds: Mapping[str, int]) -> Score:
    """Builds a score, telling the constructor the task where it asks for it.

    Args:
        factory: A class, function or partial; it gets `task` and `num_classes` or `num_labels`
            where it has these arguments and they are not set yet.
        kinds: What the task has: `classes`, `labels` or `values`, and how many.

    Returns:
        The score.

    Raises:
        ConfigError: It cannot be built, what it builds is neither a score nor a metric, or it reads
            what the task does not have.

    Example:
        >>> from torchmetrics import F1Score
        >>> build_score(functools.partial(F1Score, average="macro"), {"classes": 4}).reads
        'classes'
    """
    name = getattr(_origin(factory), "__name__", None) or repr(factory)
    of_values = "torchmetrics.regression" in getattr(_origin(factory), "__module__", "")
    kind = "values" if of_values else "labels" if "labels" in kinds else "classes"
    try:
        built: Any = factory(**_task_arguments(factory, kind, kinds.get(kind, 0)))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the score {name} cannot be built: {error}", hint="correct its arguments"
        ) from error
    if all(hasattr(built, method) for method in ("reset", "update", "compute")):
        built = TorchmetricsScore(built, kind)
    if not (callable(built) and hasattr(built, "higher_is_better")):
        raise ConfigError(
            f"{name} builds a {type(built).__name__}",
            expected="a torchmetrics metric, or a callable with `higher_is_better`",
            hint="see polymodal.evaluation.classification.Score",
        )
    score: Score = built
    if input_kind(score) not in kinds:
        raise ConfigError(
            f"the score {name} reads {input_kind(score)}, which this task does not have",
            expected=f"a score of {' or '.join(kinds)}",
            hint=f"choose the scores of the task: scores={_fitting(kinds)}",
        )
    return score


def _fitting(kinds: Mapping[str, int]) -> str:
    if len(kinds) > 1:
        return "joint"
    return {"classes": "classification", "labels": "multilabel"}.get(
        next(iter(kinds)), "regression"
    )


def _origin(factory: Callable[..., object]) -> object:
    return factory.func if isinstance(factory, functools.partial) else factory


def _task_arguments(factory: Callable[..., object], kind: str, num: int) -> dict[str, Any]:
    known = inspect.signature(factory).parameters
    bound = factory.keywords if isinstance(factory, functools.partial) else {}
    offered = {
        "task": "multilabel" if kind == "labels" else "multiclass",
        "num_labels" if kind == "labels" else "num_classes": num,
    }
    return {key: value for key, value in offered.items() if key in known and key not in bound}
