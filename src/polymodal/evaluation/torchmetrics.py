"""Use metrics of torchmetrics as scores: `kappa: {_target_: torchmetrics.CohenKappa}` is enough.

The key of the configuration names the score, not the class, so a renamed class does not change a
monitor. Macro averages of torchmetrics leave absent classes out; those of
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

SCORE_GROUPS = {"classes": "classification", "labels": "multilabel", "values": "regression"}


class TorchmetricsScore:
    """A torchmetrics metric as a `Score`: reset, updated with all predictions, and computed.

    It does not synchronise over ranks, as each rank that scores has all predictions already.

    `reads` are its inputs: `classes` (probabilities and indices), `labels` (probabilities, 0 and 1)
    or `values`.

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
        self,
        predicted: Float[np.ndarray, "utterance ..."],
        targets: Shaped[np.ndarray, "utterance ..."],
    ) -> float:
        """Return the metric of all predictions; logits are turned into probabilities.

        Raises:
            ConfigError: The metric gives several numbers.
        """
        import torch  # here, as scores are also read where torch must not be loaded

        self.metric.reset()
        if self.reads == "values":
            inputs = torch.from_numpy(predicted).float(), torch.from_numpy(targets).float()
        else:
            is_multiclass = self.reads == "classes"
            probabilities = (
                np.exp(log_softmax(predicted)) if is_multiclass else 1 / (1 + np.exp(-predicted))
            )
            indices = torch.from_numpy(targets.astype(np.int64))
            inputs = torch.from_numpy(probabilities), indices
        self.metric.update(*inputs)
        value = self.metric.compute()
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            raise ConfigError(
                f"{type(self.metric).__name__} gives several numbers",
                expected="one number",
                hint="set its average, such as `average: macro`",
            )
        return float(value)


def build_score(factory: Callable[..., object], kinds: Mapping[str, int]) -> Score:
    """Build a score from a class, function or partial, and pass the task on to it.

    It gets `task` and `num_classes` or `num_labels` where it has these parameters and they are not
    bound. `kinds` is what the task predicts (`classes`, `labels` or `values`) and how many of each.

    Raises:
        ConfigError: It cannot be built, the result is neither a score nor a metric, or it reads
            what the task does not predict.

    Example:
        >>> from torchmetrics import F1Score
        >>> build_score(functools.partial(F1Score, average="macro"), {"classes": 4}).reads
        'classes'
    """
    origin = factory.func if isinstance(factory, functools.partial) else factory
    name = getattr(origin, "__name__", None) or repr(factory)
    of_values = "torchmetrics.regression" in getattr(origin, "__module__", "")
    kind = "values" if of_values else "labels" if "labels" in kinds else "classes"
    try:
        built: Any = factory(**_task_arguments(factory, kind, kinds.get(kind, 0)))
    except (TypeError, ValueError) as error:
        message = f"the score {name} cannot be built: {error}"
        raise ConfigError(message, hint="correct its arguments") from error
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
        group = "joint" if len(kinds) > 1 else SCORE_GROUPS[next(iter(kinds))]
        raise ConfigError(
            f"the score {name} reads {input_kind(score)}, which this task does not have",
            expected=f"a score of {' or '.join(kinds)}",
            hint=f"choose the scores of the task: scores={group}",
        )
    return score


def _task_arguments(factory: Callable[..., object], kind: str, num: int) -> dict[str, Any]:
    parameters = inspect.signature(factory).parameters
    bound = factory.keywords if isinstance(factory, functools.partial) else {}
    arguments = {
        "task": "multilabel" if kind == "labels" else "multiclass",
        "num_labels" if kind == "labels" else "num_classes": num,
    }
    return {k: v for k, v in arguments.items() if k in parameters and k not in bound}
