"""`data.batch_s=auto`: the largest batches that the device of a run has room for."""

import gc
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from polymodal.data.folds import Fold
from polymodal.errors import ConfigError
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import precision_of
from polymodal.training.batch_size import find_max_batch
from polymodal.training.devices import resolve_accelerator

AUTO, FILE = "auto", "budget.json"


def with_budget(experiment: Experiment, fold: Fold, run: Path) -> Experiment:
    """Find the budget of an experiment that asks for it; on the CPU that is the usual one.

    Args:
        experiment: The experiment.
        fold: The fold that is tried.
        run: The run folder, where the budget is kept for the other folds, and for a run that goes
            on: another one would make other batches.

    Raises:
        ConfigError: It is asked for on several devices, which could find different ones.
    """
    config = experiment.config
    accelerator = resolve_accelerator(config["trainer"]["accelerator"])
    if (
        experiment.data_options.batch_s != AUTO
        or accelerator == "cpu"
        or not torch.cuda.is_available()
    ):
        return experiment
    if config["trainer"]["devices"] not in (1, "1"):
        raise ConfigError(
            f"data.batch_s=auto with trainer.devices={config['trainer']['devices']}",
            expected="one device",
            hint="find it with trainer.devices=1, and give the number that the record shows",
        )
    path = run / FILE
    if not path.is_file():
        path.write_text(json.dumps({"batch_s": _found(experiment, fold)}), encoding="utf-8")
    return replace(experiment, batch_s=json.loads(path.read_text(encoding="utf-8"))["batch_s"])


def _found(experiment: Experiment, fold: Fold) -> float:
    room = torch.cuda.get_device_properties(0).total_memory
    result = find_max_batch(partial(_peak_bytes, experiment, fold), room)
    _clear()
    return result


def _peak_bytes(experiment: Experiment, fold: Fold, budget_s: float) -> int:
    """Train on the longest utterances; the greatest memory that PyTorch held."""
    _clear()
    torch.cuda.reset_peak_memory_stats()
    device = torch.device("cuda", torch.cuda.current_device())
    module = experiment.build_module(fold).to(device).train()
    optimizer = module.optimizer([{"params": [p for p in module.parameters() if p.requires_grad]}])
    loader = replace(experiment, batch_s=budget_s).build_loader(fold, "train")
    assert loader is not None, "an experiment refuses a fold without training rows"
    batch = next(iter(loader)).to(device)
    mixed = str(precision_of(experiment)).startswith("bf16")
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=mixed):
        loss = module.loss(module(batch), batch.targets)
    loss.backward()
    optimizer.step()  # its state is part of what has to fit
    return torch.cuda.max_memory_allocated()


def _clear() -> None:
    gc.collect()
    torch.cuda.empty_cache()
