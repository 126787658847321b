"""Train and apply small heads on stored features, of all folds and seeds, in one pass."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl
import torch
from torch.utils.data import DataLoader

from polymodal.data.folds import Fold
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.encoders.precomputed import PrecomputedEncoder
from polymodal.evaluation.score import monitor_mode
from polymodal.experiment.experiment import Experiment
from polymodal.experiment.trainer import precision_of
from polymodal.runs.vectorized.head import HeadSpec, Line, LoopConfig, MonitorSpec
from polymodal.runs.vectorized.loop import ELEMENTWISE, apply_vectorized, train_vectorized
from polymodal.runs.vectorized.stack import why_not_stackable
from polymodal.schemas.manifest import Manifest
from polymodal.tracking.run_folder import FoldDir
from polymodal.training.checkpoints import VerifiedCheckpointIO, read_checkpoint
from polymodal.training.devices import resolve_accelerator
from polymodal.training.modality_balancing import no_balancing
from polymodal.training.module import TrainingModule

MAX_GB = 4.0  # of features in memory, of which every fold has a standardised copy
EARLY_STOPPING = "pytorch_lightning.callbacks.EarlyStopping"
MODEL_CHECKPOINT = "pytorch_lightning.callbacks.ModelCheckpoint"
LAST_CHECKPOINT = "polymodal.training.last_checkpoint.LastCheckpoint"
# Options of Lightning, and the values that are supported here; None stands for an option left out.
Supported = Mapping[str, Collection[Any] | None]
ANY = None
TRAINER: Supported = {
    "_target_": ("pytorch_lightning.Trainer",),
    "accelerator": ("auto", "cpu", "gpu", "cuda"),
    "devices": (1, "1"),
    "strategy": ("auto",),
    "max_epochs": ANY,
    "precision": ("32-true", "32", 32, None),
    "gradient_clip_val": ANY,
    "gradient_clip_algorithm": ("norm", None),
    "accumulate_grad_batches": (1, None),
    "log_every_n_steps": ANY,
    "deterministic": (False, None),
}
STOP: Supported = dict.fromkeys(("_target_", "monitor", "mode", "patience", "min_delta"), ANY)
KEEP: Supported = {
    **dict.fromkeys(("_target_", "monitor", "mode"), ANY),
    "filename": ("best",),
    "save_top_k": (1, None),
    "every_n_epochs": (1, None),
    "save_on_train_epoch_end": (True,),
    "enable_version_counter": (False,),
}


@dataclass(frozen=True)
class HeadJob:
    """One head to be trained: a fold of an experiment, with the experiment's seed.

    Args:
        experiment: The experiment, with its features extracted.
        fold: The fold.
        directory: Its directory.
        run_id: The run, for the prediction tables.
    """

    experiment: Experiment
    fold: Fold
    directory: FoldDir
    run_id: str = ""

    @cached_property
    def module(self) -> TrainingModule:
        """The module, built once."""
        module = self.experiment.build_module(self.fold, self.run_id)
        module.predictions = self.directory.predictions
        return module

    def loader(self, split: str) -> DataLoader[Any] | None:
        """Return the loader of a split; None if it is empty."""
        return self.experiment.build_loader(self.fold, split)

    def spec(self) -> HeadSpec:
        """Return the module with its training and validation split."""
        training = self.experiment.build_loader(self.fold, "train", training=True)
        assert training, "an experiment rejects a fold without training rows"
        return HeadSpec(self.module, training, self.loader("val"))


@dataclass(frozen=True)
class Trained:
    """The number of epochs of a head, and its log: scores, step and epoch."""

    epochs: int
    lines: list[Line] = field(repr=False)


def why_not_vectorizable(experiment: Experiment) -> str | None:
    """Return why the folds of an experiment cannot be trained together, or None."""
    return (
        _unsupported_option(experiment)
        or _unstored_encoder(experiment)
        or _unstackable_component(experiment)
    )


def fit_vectorized(
    jobs: Sequence[HeadJob],
    progress: Callable[[int, int, float], None] = lambda epoch, total, fraction: None,
) -> list[Trained]:
    """Train all jobs; the directory of each then has the checkpoints that `fit` leaves there.

    They are written when all jobs have been trained, and hold weights only: an interrupted training
    starts again.

    Args:
        jobs: Jobs that can be vectorized, whose configurations differ in the seed alone.
        progress: As of `train_vectorized`.

    Returns:
        What was logged, in the order of the jobs.

    Raises:
        FloatingPointError: A loss is not finite.
    """
    specs = [job.spec() for job in jobs]
    train_vectorized(specs, _loop_config(jobs[0].experiment), _device(jobs[0].experiment), progress)
    files = VerifiedCheckpointIO()
    for job, spec in zip(jobs, specs, strict=True):
        best = job.directory.checkpoints / "best.ckpt" if spec.best else None
        if best:
            files.save_checkpoint(spec.best, best)
        files.save_checkpoint(spec.last, job.directory.last_checkpoint)
        job.directory.mark_done(spec.epochs, best)
    return [Trained(spec.epochs, spec.lines) for spec in specs]


def predict_vectorized(jobs: Sequence[HeadJob], split: str, file: str | None = None) -> None:
    """Write the prediction tables of a split with the weights in the directory of each job.

    Args:
        jobs: Jobs that have been fitted.
        split: `train`, `val`, `test`, or `all` for the whole corpus.
        file: Name of the split in the table, and of the file; that of the split by default.
    """
    loaders = [job.loader(split) for job in jobs]
    present = [(job, loader) for job, loader in zip(jobs, loaders, strict=True) if loader]
    if not present:
        return
    for job, _ in present:
        job.module.load_weights(read_checkpoint(job.directory.best_or_last_checkpoint))
    modules = [job.module for job, _ in present]
    device = _device(jobs[0].experiment)
    outputs = apply_vectorized(modules, [loader for _, loader in present], device)
    for module, output in zip(modules, outputs, strict=True):
        module.predictions.mkdir(parents=True, exist_ok=True)
        table = module.table(output, file or split)
        table.write(module.predictions / f"{file or split}.parquet")


def _loop_config(experiment: Experiment) -> LoopConfig:
    trainer, (keep, stop) = experiment.config["trainer"], _callbacks(experiment.config)
    return LoopConfig(
        max_epochs=trainer["max_epochs"],
        max_norm=trainer.get("gradient_clip_val"),
        log_every=trainer.get("log_every_n_steps", 50),
        keep=_monitor(keep, experiment) if keep else None,
        stop=_monitor(stop, experiment) if stop else None,
    )


def _monitor(section: Mapping[str, Any], experiment: Experiment) -> MonitorSpec:
    options = {name: section[name] for name in ("min_delta", "patience") if name in section}
    return MonitorSpec(
        section["monitor"], monitor_mode(section["monitor"], experiment.scores), **options
    )


def _callbacks(config: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, ...]:
    """The callback that keeps the best epoch, and the one that stops early."""
    sections = (section for section in (config["callbacks"] or {}).values() if section)
    by_target = {section["_target_"]: section for section in sections}
    return by_target.get(MODEL_CHECKPOINT), by_target.get(EARLY_STOPPING)


def _unsupported_option(experiment: Experiment) -> str | None:
    """The first option of Lightning that is not supported here."""
    config = experiment.config
    keep, stop = _callbacks(config)
    targets = [section["_target_"] for section in (config["callbacks"] or {}).values() if section]
    if sorted(targets) != sorted(
        [LAST_CHECKPOINT] + [MODEL_CHECKPOINT] * bool(keep) + [EARLY_STOPPING] * bool(stop)
    ):
        return "the callbacks are others than LastCheckpoint, ModelCheckpoint and EarlyStopping"
    for section in filter(None, (stop, keep)):
        if not str(section.get("monitor")).startswith("val/"):
            return f"{section['_target_']} does not monitor the validation split"
    trainer = {**config["trainer"], "precision": precision_of(experiment)}
    accelerator = resolve_accelerator(trainer["accelerator"])
    if accelerator != "cpu" and not torch.cuda.is_available():
        return f"trainer.accelerator={accelerator} is neither the CPU nor CUDA"
    return (
        (_unsupported(keep, KEEP, "ModelCheckpoint") if keep else None)
        or (_unsupported(stop, STOP, "EarlyStopping") if stop else None)
        or _unsupported(trainer, TRAINER, "trainer")
        or (None if (trainer["max_epochs"] or 0) > 0 else "trainer.max_epochs is not positive")
    )


def _unsupported(section: Mapping[str, Any], supported: Supported, name: str) -> str | None:
    for key in {**section, **supported}:
        values = supported.get(key, ())
        if values is not ANY and section.get(key) not in values:
            return f"{name}.{key}={section.get(key)}"
    return None


def _unstored_encoder(experiment: Experiment) -> str | None:
    """The first encoder that is trained, or the size of features that exceed the memory."""
    num_bytes = 0
    for name, encoder in experiment.prototypes.items():
        if isinstance(encoder, FrozenEncoder):
            for fold in experiment.folds:
                stored = experiment.stored_features(name, fold).values()
                num_bytes += (1 + len(fold.inner)) * sum(features.nbytes for features in stored)
        elif isinstance(encoder, PrecomputedEncoder):
            of_files = _num_bytes(experiment.manifest, encoder.signal)
            is_shared = encoder.normalise == "none"
            copies = 1 if is_shared else sum(1 + len(fold.inner) for fold in experiment.folds)
            num_bytes += copies * of_files
        else:
            return f"encoder.{name} is trained"
    size_gb = num_bytes / 1e9
    return f"the features take {size_gb:.1f} GB" if size_gb > MAX_GB else None


def _num_bytes(manifest: Manifest, signal: str) -> int:
    references = manifest.frame["signals"].explode().struct.unnest()
    paths = references.filter(pl.col("name") == signal)["path"].unique()
    files = [manifest.signals_folder / path for path in paths]
    return sum(file.stat().st_size for file in files if file.is_file())


def _unstackable_component(experiment: Experiment) -> str | None:
    """What would make a head trained with others differ from one trained alone."""
    config, prototypes = experiment.config, experiment.prototypes
    balance = config["balance"]["_target_"].rpartition(".")[2]
    if balance != no_balancing.__name__:
        return f"balance is {balance}"
    optimizer = config["optimizer"]["_target_"]
    if optimizer not in [f"torch.optim.{name}" for name in ELEMENTWISE]:
        return f"the optimiser {optimizer} may see several heads as one"
    if any(True for _ in experiment.build_loss(Fold(0, {})).parameters()):
        return "the loss has parameters"
    with torch.random.fork_rng():
        model = experiment.build_model(prototypes)
    return why_not_stackable(model, {name: x.feature_size for name, x in prototypes.items()})


def _device(experiment: Experiment) -> torch.device:
    accelerator = resolve_accelerator(experiment.config["trainer"]["accelerator"])
    return torch.device("cpu" if accelerator == "cpu" else "cuda:0")
