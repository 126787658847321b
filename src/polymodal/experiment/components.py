"""Builds the parts of an experiment without its data, so that what they refuse shows at once.

Nothing big is made: modules are built on PyTorch's meta device, which has shapes but no memory, and
pretrained encoders and those that are not trained are left for later.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from polymodal.config.instantiate import instantiate, instantiate_partial
from polymodal.encoders.base import Encoder
from polymodal.encoders.from_run import EncoderFromRun
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.errors import ConfigError, UserError
from polymodal.evaluation.classification import Score
from polymodal.evaluation.torchmetrics import build_score
from polymodal.experiment.trained_encoders import TrainedEncoder, trained_encoder
from polymodal.experiment.trainer import trainer_from
from polymodal.training.optimizers import build_optimizer
from polymodal.training.tasks import Task

NUM_STEPS = 1000  # of the training that a schedule is tried with
NUM_SHOWN = 50  # of a training whose learning rates are compared
UNKNOWN_WIDTH = 64  # stands for that of an encoder that was not built


def is_light(target: Callable[..., Any]) -> bool:
    """Tells whether an encoder can be built at once: it is trained here, from nothing.

    Args:
        target: Its class.
    """
    frozen = isinstance(target, type) and issubclass(target, FrozenEncoder | EncoderFromRun)
    return not frozen and not target.__module__.startswith(
        "polymodal.encoders.huggingface.backbone"
    )


def try_task(config: Mapping[str, Any]) -> Task:
    """Builds the task.

    Args:
        config: The configuration.

    Raises:
        UserError: It refuses its options.
    """
    task: Task = instantiate(config["task"], "task")
    return task


def try_score(section: Mapping[str, Any], task: Task) -> Score:
    """Builds a score.

    Args:
        section: Its options.
        task: The task.

    Raises:
        UserError: It refuses its options, or reads what the task does not have.
    """
    return build_score(instantiate_partial(section), task.kinds)


def try_loss(config: Mapping[str, Any], task: Task) -> None:
    """Builds the loss for as many utterances of each class.

    Args:
        config: The configuration.
        task: The task.

    Raises:
        UserError: It refuses its options, or is one for other tasks.
    """
    names = task.classes or task.values
    given = {"classes": names, "class_counts": [1.0] * len(names), "num_targets": len(names)}
    loss = instantiate(config["loss"], "loss", optional=given)
    tasks = getattr(loss, "tasks", (task.name,))
    if task.name not in tasks:
        raise ConfigError(
            f"the loss {type(loss).__name__} is for {' or '.join(tasks)}, the task is {task.name}",
            hint=f"leave the group loss out: it then is loss={task.name}",
        )


def try_encoder(section: Mapping[str, Any], key: str) -> Encoder:
    """Builds an encoder without its numbers.

    Args:
        section: Its options.
        key: Where they stand.

    Raises:
        UserError: It refuses its options.
    """
    encoder: Encoder = _without_numbers(lambda: instantiate(section, key))
    return encoder


def try_trained(
    name: str, config: Mapping[str, Any], planned: Mapping[str, Mapping[str, Any]] | None = None
) -> TrainedEncoder:
    """Find the run that an encoder is taken from, without its weights.

    Args:
        name: The modality.
        config: The configuration.
        planned: Name of each member of a study that has not run yet to its configuration.

    Raises:
        UserError: The run, or the member, cannot be used.
    """
    section, runs = config["encoder"][name], Path(config["paths"]["runs"])
    return trained_encoder(name, section, runs, planned)


def try_model(config: Mapping[str, Any], feature_sizes: Mapping[str, int], task: Task) -> None:
    """Builds the model without its numbers.

    Args:
        config: The configuration.
        feature_sizes: Modality to the width of its encoder's output.
        task: The task.

    Raises:
        UserError: It refuses its options.
    """
    sizes = dict(feature_sizes)
    given: dict[str, Any] = {"feature_sizes": sizes, "num_outputs": task.num_outputs}
    _without_numbers(lambda: instantiate(config["model"], "model", **given))


def try_balance(config: Mapping[str, Any], feature_sizes: Mapping[str, int], task: Task) -> None:
    """Builds the balance and its heads.

    Args:
        config: The configuration.
        feature_sizes: Modality to the width of its encoder's output.
        task: The task.

    Raises:
        UserError: It refuses its options.
    """
    balance = instantiate(config["balance"], "balance")
    _without_numbers(lambda: balance.heads(dict(feature_sizes), task.num_outputs))


def _without_numbers(make: Callable[[], Any]) -> Any:
    """Calls something on the meta device; with numbers, where it looks at them."""
    try:
        with torch.device("meta"):
            return make()
    except UserError:
        raise
    except Exception:
        return make()


def try_optimizer(config: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Builds the optimiser for one number.

    Args:
        config: The configuration.

    Raises:
        UserError: It refuses its options.
    """
    groups = [{"params": [_one_number()]}]
    try:
        return build_optimizer(instantiate_partial(config["optimizer"]), groups, fused=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer ({config['optimizer']['_target_']}): {error}") from None


def default_optimizer() -> torch.optim.Optimizer:
    """Returns an optimiser for one number, for schedules where the chosen one has a fault."""
    return torch.optim.SGD([_one_number()], lr=0.1)


def _one_number() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(1))


def try_scheduler(config: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Builds the schedule.

    Args:
        config: The configuration.
        optimizer: An optimiser.

    Raises:
        UserError: It refuses its options.
    """
    try:
        instantiate_partial(config["scheduler"])(optimizer, NUM_STEPS)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"scheduler ({config['scheduler']['_target_']}): {error}") from None


def try_seeded(section: Mapping[str, Any], key: str, **given: Any) -> Any:
    """Builds a part with the same random numbers each time.

    Args:
        section: Its options.
        key: Where they stand.
        given: Arguments that the program gives.

    Raises:
        UserError: It refuses its options.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return instantiate(section, key, **given)


def try_rates(config: Mapping[str, Any]) -> list[float]:
    """Returns the learning rate of every step of a short training.

    Args:
        config: The configuration.

    Raises:
        UserError: The optimiser or the schedule refuses its options.
    """
    optimizer = try_optimizer(config)
    schedule = instantiate_partial(config["scheduler"])(optimizer, NUM_SHOWN)
    rates = []
    for _ in range(NUM_SHOWN):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return rates


def try_trainer(config: Mapping[str, Any], precision: Any) -> None:
    """Builds Lightning's trainer without callbacks.

    Args:
        config: The configuration.
        precision: The precision to compute in.

    Raises:
        UserError: Lightning refuses an option, or this machine lacks the devices.
    """
    several = len(config["encoder"]) > 1
    trainer_from(config["trainer"], precision, several=several, callbacks=[], logger=False)
