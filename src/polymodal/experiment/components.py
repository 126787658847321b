"""Build the components of an experiment: the only place where YAML becomes objects."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from polymodal.config.instantiate import instantiate, instantiate_partial
from polymodal.data.samplers import class_balanced_weights
from polymodal.encoders.base import Encoder
from polymodal.errors import ConfigError, UserError
from polymodal.evaluation.classification import Score
from polymodal.evaluation.torchmetrics import build_score as build_any_score
from polymodal.training.modality_balancing import ModalityBalancing
from polymodal.training.optimizers import build_optimizer as build_any_optimizer
from polymodal.training.tasks import Task

NUM_STEPS = 1000  # of the training that a schedule is tried with
NUM_SHOWN = 50  # of a training whose learning rates are compared

Built = TypeVar("Built")


def build_task(section: Mapping[str, Any]) -> Task:
    """Build the task.

    Raises:
        UserError: It rejects its options.
    """
    task: Task = instantiate(section, "task")
    return task


def build_score(section: Mapping[str, Any], task: Task) -> Score:
    """Build a score.

    Raises:
        UserError: It rejects its options, or reads what the task does not have.
    """
    return build_any_score(instantiate_partial(section), task.kinds)


def build_loss(
    section: Mapping[str, Any], task: Task, class_counts: Sequence[float], num_targets: int
) -> torch.nn.Module:
    """Build the loss.

    Args:
        section: Its options.
        task: The task.
        class_counts: Training rows of each class, which may be fractions.
        num_targets: Training rows that have a target.

    Raises:
        UserError: It rejects its options, or is one for other tasks.
    """
    names = task.classes or task.values
    facts = {"classes": names, "class_counts": class_counts, "num_targets": num_targets}
    loss: torch.nn.Module = instantiate(section, "loss", optional=facts)
    tasks = getattr(loss, "tasks", (task.name,))
    if task.name not in tasks:
        raise ConfigError(
            f"the loss {type(loss).__name__} is for {' or '.join(tasks)}, the task is {task.name}",
            hint=f"leave the group loss out: it then is loss={task.name}",
        )
    return loss


def build_encoders(
    sections: Mapping[str, Any], trained: Mapping[str, Callable[[], Encoder]] | None = None
) -> dict[str, Encoder]:
    """Build encoders with new parameters, except those that come from runs.

    Args:
        sections: Modality to the options of its encoder.
        trained: Modality to what returns its encoder with the weights of a run.

    Raises:
        UserError: There is none, or one rejects its options.
    """
    if not sections:
        raise ConfigError("encoder names no modality", hint="choose one, such as logmel")
    given = trained or {}
    return {
        name: given[name]() if name in given else instantiate(section, f"encoder.{name}")
        for name, section in sections.items()
    }


def build_model(
    section: Mapping[str, Any], feature_sizes: Mapping[str, int], task: Task
) -> torch.nn.Module:
    """Build the model.

    Args:
        section: Its options.
        feature_sizes: Modality to the width of its encoder's output.
        task: The task.

    Raises:
        UserError: It rejects its options.
    """
    sizes = dict(feature_sizes)
    model: torch.nn.Module = instantiate(
        section, "model", feature_sizes=sizes, num_outputs=task.num_outputs
    )
    return model


def build_balance(
    section: Mapping[str, Any], feature_sizes: Mapping[str, int], task: Task
) -> ModalityBalancing | None:
    """Build what balances the modalities, and its heads once, so that it fails early.

    Raises:
        UserError: It rejects its options.
    """
    balance: ModalityBalancing | None = instantiate(section, "balance")
    if balance is not None:
        balance.heads(dict(feature_sizes), task.num_outputs)
    return balance


def build_optimizer(section: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Build the optimizer for a single parameter.

    Raises:
        UserError: It rejects its options.
    """
    groups = [{"params": [_single_parameter()]}]
    try:
        return build_any_optimizer(instantiate_partial(section), groups, fused=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer cannot be built: {error}") from None


def default_optimizer() -> torch.optim.Optimizer:
    """Return an optimizer for schedules if the chosen one cannot be built."""
    return torch.optim.SGD([_single_parameter()], lr=0.1)


def build_scheduler(
    section: Mapping[str, Any], optimizer: torch.optim.Optimizer, num_steps: int = NUM_STEPS
) -> Any:
    """Build the schedule of the learning rate.

    Raises:
        UserError: It rejects its options.
    """
    try:
        return instantiate_partial(section)(optimizer, num_steps)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"scheduler cannot be built: {error}") from None


def learning_rates(
    config: Mapping[str, Any], num_steps: int = NUM_SHOWN, num_shown: int = NUM_SHOWN
) -> list[float]:
    """Return the learning rate of the first steps, `num_shown`, of a training of `num_steps`.

    Raises:
        UserError: The optimizer or the schedule rejects its options.
    """
    optimizer = build_optimizer(config["optimizer"])
    schedule = build_scheduler(config["scheduler"], optimizer, num_steps)
    rates = []
    for _ in range(num_shown):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return rates


def sampling_weights(sampling: str, targets: np.ndarray, task: Task) -> np.ndarray | None:
    """Return how often each utterance is drawn in training, as `data.sampling` says.

    Args:
        sampling: `natural` for each once, `balanced` for each class equally often.
        targets: As the task reads them.
        task: The task.

    Returns:
        Weights, `[utterance]`; None for each once.

    Raises:
        ConfigError: The task has no single class an utterance.
    """
    if sampling == "natural":
        return None
    width = targets.shape[1] if targets.ndim == 2 else len(task.classes)
    if not task.classes or width != len(task.classes):
        raise ConfigError(
            f"data.sampling=balanced, but task {task.name} has no single class an utterance",
            hint="use data.sampling=natural, and weights in the loss",
        )
    return class_balanced_weights(targets, len(task.classes))


def without_memory(build: Callable[[], Built]) -> Built:
    """Build on PyTorch's meta device, which has shapes but no memory.

    A component that looks at its values while it is built gets memory.

    Raises:
        UserError: The component rejects its options.
    """
    try:
        with torch.device("meta"):
            return build()
    except UserError:
        raise
    except Exception:
        return build()


def build_seeded(section: Mapping[str, Any], key: str, **given: Any) -> Any:
    """Build a component with the same random numbers each time, to compare it with another.

    Raises:
        UserError: It rejects its options.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return instantiate(section, key, **given)


def _single_parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(1))
