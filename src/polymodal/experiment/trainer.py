"""Build Lightning's trainer for an experiment, fit a fold and predict its splits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from polymodal.config.compose import project_packages
from polymodal.config.instantiate import instantiate
from polymodal.data.folds import Fold
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.evaluation.score import monitor_mode
from polymodal.experiment.experiment import Experiment
from polymodal.security.targets import resolve_target
from polymodal.tracking.run_folder import FoldDir
from polymodal.training.checkpoints import VerifiedCheckpointIO, best_checkpoint, keeps_best
from polymodal.training.devices import (
    resolve_accelerator,
    resolve_devices,
    resolve_precision,
    resolve_strategy,
)
from polymodal.training.module import TrainingModule
from polymodal.training.profiler import NoProfiler


def build_trainer(
    experiment: Experiment, *, callbacks: Sequence[pl.Callback], logger: Any
) -> pl.Trainer:
    """Build Lightning's trainer from its section, with our record, checkpoints and samplers.

    Raises:
        ConfigError: Lightning rejects an option, or the strategy no longer exists.
    """
    return trainer_from(
        experiment.config["trainer"],
        precision_of(experiment),
        several=len(experiment.prototypes) > 1,
        callbacks=callbacks,
        logger=logger,
    )


def trainer_from(
    section: Mapping[str, Any],
    precision: Any,
    *,
    several: bool,
    callbacks: Sequence[pl.Callback],
    logger: Any,
) -> pl.Trainer:
    """Build Lightning's trainer from a section.

    Args:
        section: Its options.
        precision: Lightning's word.
        several: Whether there are several modalities, any of which a batch may lack.
        callbacks: The callbacks.
        logger: The logger, or False.

    Raises:
        ConfigError: Lightning rejects an option, or the strategy no longer exists.
    """
    options = {**section, "precision": precision}
    accelerator = resolve_accelerator(options["accelerator"])
    options["devices"] = resolve_devices(accelerator, options["devices"])
    strategy = resolve_strategy(
        options.pop("strategy"),
        accelerator,
        find_unused=several,
        devices=options["devices"],
        num_nodes=int(options.get("num_nodes", 1)),
    )
    trainer: pl.Trainer = instantiate(
        {
            "use_distributed_sampler": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **options,
            "profiler": options.get("profiler") or NoProfiler(),
            "accelerator": accelerator,
        },
        "trainer",
        strategy=strategy,
        callbacks=[*callbacks],
        logger=logger,
        plugins=[VerifiedCheckpointIO()],
    )
    return trainer


def precision_of(experiment: Experiment) -> Any:
    """Return the precision that an experiment is trained in."""
    options = experiment.config["trainer"]
    small = all(
        isinstance(prototype, FrozenEncoder) and prototype.frame_rate_hz is None
        for prototype in experiment.prototypes.values()
    )
    accelerator = resolve_accelerator(options["accelerator"])
    return resolve_precision(options.get("precision"), accelerator, small=small)


def fit_fold(
    experiment: Experiment,
    fold: Fold,
    fold_dir: FoldDir,
    module: TrainingModule,
    trainer: pl.Trainer,
) -> None:
    """Train a fold, or goes on where its training was stopped."""
    training = experiment.build_loader(fold, "train", training=True)
    validation = experiment.build_loader(fold, "val")
    going_on = fold_dir.last_checkpoint if fold_dir.last_checkpoint.is_file() else None
    trainer.fit(module, training, validation, ckpt_path=going_on)
    if trainer.is_global_zero:
        fold_dir.mark_done(trainer.current_epoch, best_checkpoint(trainer))
    trainer.strategy.barrier("fitted")


def predict_split(
    trainer: pl.Trainer, module: TrainingModule, loader: DataLoader[Any] | None, split: str
) -> None:
    """Write the prediction table of a split with the current weights of the module.

    Args:
        trainer: The trainer.
        module: The trained module.
        loader: The split, or None if it is empty.
        split: Name of the split in the table, and of the file.
    """
    if loader is not None:
        module.split = split
        trainer.test(module, loader, verbose=False)


def build_callbacks(experiment: Experiment, fold_dir: FoldDir) -> list[pl.Callback]:
    """Build the callbacks of a fold; checkpoints go to its folder."""
    sections = experiment.config["callbacks"] or {}
    return [
        instantiate(
            _completed(section, experiment),
            f"callbacks.{name}",
            optional={"dirpath": fold_dir.checkpoints},
        )
        for name, section in sections.items()
        if section
    ]


def _completed(section: Mapping[str, Any], experiment: Experiment) -> dict[str, Any]:
    """Return options with `mode: auto` resolved, and a file for each of several checkpoints."""
    options = dict(section)
    target = resolve_target(section["_target_"], "callbacks", project_packages(Path.cwd()))
    if options.get("mode") == "auto":
        options["mode"] = monitor_mode(str(options.get("monitor")), experiment.scores)
    # Lightning would write them all to one file, the last over the best.
    names_each = options.get("filename") is None or "{" in str(options["filename"])
    if keeps_best(target) and options.get("save_top_k", 1) not in (0, 1) and not names_each:
        options["filename"] = f"{options['filename']}-{{epoch}}"
    return options
