"""Folds and seeds of small heads on stored features, trained and applied in one process at once."""

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
from polymodal.tracking.layout import FoldDir
from polymodal.training.checkpoints import VerifiedCheckpointIO, read_checkpoint
from polymodal.training.devices import resolve_accelerator
from polymodal.training.modality_balancing import no_balancing
from polymodal.training.module import TrainingModule

MAX_GB = 4.0  # of features in memory, which every fold standardises in its own way
EARLY_STOPPING = "pytorch_lightning.callbacks.EarlyStopping"
MODEL_CHECKPOINT = "pytorch_lightning.callbacks.ModelCheckpoint"
LAST_CHECKPOINT = "polymodal.training.last_checkpoint.LastCheckpoint"
# Options of Lightning, and those of their values that are followed here; None where it is left out.
Followed = Mapping[str, Collection[Any] | None]
ANY = None
TRAINER: Followed = {
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
STOP: Followed = dict.fromkeys(("_target_", "monitor", "mode", "patience", "min_delta"), ANY)
KEEP: Followed = {
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
        experiment: The experiment, its features extracted.
        fold: The fold.
        place: Its folder.
        run_id: The run, for the prediction tables.
    """

    experiment: Experiment
    fold: Fold
    place: FoldDir
    run_id: str = ""

    @cached_property
    def module(self) -> TrainingModule:
        """What is trained, built once."""
        module = self.experiment.build_module(self.fold, self.run_id)
        module.predictions = self.place.predictions
        return module

    def loader(self, part: str) -> DataLoader[Any] | None:
        """Make the loader of a part; None where it is empty."""
        return self.experiment.build_loader(self.fold, part)

    def head(self) -> HeadSpec:
        """Return what is to be trained, and on what."""
        training = self.experiment.build_loader(self.fold, "train", training=True)
        assert training, "an experiment refuses a fold without training rows"
        return HeadSpec(self.module, training, self.loader("val"))


@dataclass(frozen=True)
class Trained:
    """What was logged of a head.

    Args:
        epochs: How many epochs it was trained.
        lines: Scores, step and epoch, as `RunWriter.log` takes them.
    """

    epochs: int
    lines: list[Line] = field(repr=False)


def why_not_vectorizable(experiment: Experiment) -> str | None:
    """Return whether the folds of an experiment can be trained together.

    Returns:
        None, or the reason why they cannot, in words.
    """
    return _not_followed(experiment) or _not_stored(experiment) or _not_alike(experiment)


def fit_vectorized(
    jobs: Sequence[HeadJob], progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Trained]:
    """Train all jobs; each place then holds what `fit` leaves there.

    The checkpoints are written when all have been trained, and hold weights only: what was cut
    off is trained anew.

    Args:
        jobs: Jobs whose configurations differ in the seed alone, to which `applies` has no
            objection.
        progress: Called with how many epochs of all jobs are done, and of how many.

    Returns:
        What was logged, in the order of the jobs.

    Raises:
        FloatingPointError: A loss is no number.
    """
    heads = [job.head() for job in jobs]
    train_vectorized(heads, _plan(jobs[0].experiment), _device(jobs[0].experiment), progress)
    files = VerifiedCheckpointIO()
    for job, head in zip(jobs, heads, strict=True):
        if head.best:
            files.save_checkpoint(head.best, job.place.checkpoints / "best.ckpt")
        files.save_checkpoint(head.last, job.place.last_checkpoint)
        job.place.mark_done(head.epochs)
    return [Trained(head.epochs, head.lines) for head in heads]


def predict_vectorized(jobs: Sequence[HeadJob], part: str, file: str | None = None) -> None:
    """Write the prediction tables of a part with the weights that each place holds.

    Args:
        jobs: As `fit_vectorized` takes them, fitted.
        part: `train`, `val`, `test`, or `all` for the whole corpus.
        file: Name of the part in the table, and of the file; that of the part by default.
    """
    loaders = [job.loader(part) for job in jobs]
    there = [(job, loader) for job, loader in zip(jobs, loaders, strict=True) if loader]
    if not there:
        return
    for job, _ in there:
        job.module.load_weights(read_checkpoint(job.place.best_or_last_checkpoint))
    modules = [job.module for job, _ in there]
    device = _device(jobs[0].experiment)
    outputs = apply_vectorized(modules, [loader for _, loader in there], device)
    for module, output in zip(modules, outputs, strict=True):
        module.predictions.mkdir(parents=True, exist_ok=True)
        table = module.table(output, file or part)
        table.write(module.predictions / f"{file or part}.parquet")


def _plan(experiment: Experiment) -> LoopConfig:
    trainer, (keep, stop) = experiment.config["trainer"], _callbacks(experiment.config)
    return LoopConfig(
        max_epochs=trainer["max_epochs"],
        max_norm=trainer.get("gradient_clip_val"),
        log_every=trainer.get("log_every_n_steps", 50),
        keep=_watch(keep, experiment) if keep else None,
        stop=_watch(stop, experiment) if stop else None,
    )


def _watch(section: Mapping[str, Any], experiment: Experiment) -> MonitorSpec:
    options = {name: section[name] for name in ("min_delta", "patience") if name in section}
    return MonitorSpec(
        section["monitor"], monitor_mode(section["monitor"], experiment.scores), **options
    )


def _callbacks(config: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, ...]:
    """The callback that keeps the best epoch, and the one that stops early."""
    sections = [one for one in (config["callbacks"] or {}).values() if one]
    found = {section["_target_"]: section for section in sections}
    return found.get(MODEL_CHECKPOINT), found.get(EARLY_STOPPING)


def _not_followed(experiment: Experiment) -> str | None:
    """The first wish of Lightning that is not fulfilled here."""
    config = experiment.config
    keep, stop = _callbacks(config)
    targets = [one["_target_"] for one in (config["callbacks"] or {}).values() if one]
    if sorted(targets) != sorted(
        [LAST_CHECKPOINT] + [MODEL_CHECKPOINT] * bool(keep) + [EARLY_STOPPING] * bool(stop)
    ):
        return "the callbacks are others than LastCheckpoint, ModelCheckpoint and EarlyStopping"
    for section in filter(None, (stop, keep)):
        if not str(section.get("monitor")).startswith("val/"):
            return f"{section['_target_']} does not watch the validation part"
    trainer = {**config["trainer"], "precision": precision_of(experiment)}
    accelerator = resolve_accelerator(trainer["accelerator"])
    if accelerator != "cpu" and not torch.cuda.is_available():
        return f"trainer.accelerator={accelerator} is neither the CPU nor CUDA"
    return (
        (_beyond(keep, KEEP, "ModelCheckpoint") if keep else None)
        or (_beyond(stop, STOP, "EarlyStopping") if stop else None)
        or _beyond(trainer, TRAINER, "trainer")
        or (None if (trainer["max_epochs"] or 0) > 0 else "trainer.max_epochs is no number")
    )


def _beyond(section: Mapping[str, Any], followed: Followed, name: str) -> str | None:
    """The first option of a section that is not followed."""
    for key in {**section, **followed}:
        values = followed.get(key, ())
        if values is not ANY and section.get(key) not in values:
            return f"{name}.{key}={section.get(key)}"
    return None


def _not_stored(experiment: Experiment) -> str | None:
    """The first encoder that is trained, or whose features are too many to be held."""
    num_bytes = 0
    for name, encoder in experiment.prototypes.items():
        if isinstance(encoder, FrozenEncoder):
            for fold in experiment.folds:
                stored = experiment.stored_features(name, fold).values()
                num_bytes += (1 + len(fold.inner)) * sum(one.nbytes for one in stored)
        elif isinstance(encoder, PrecomputedEncoder):
            num_bytes += _num_bytes(experiment.manifest, encoder.signal)
        else:
            return f"encoder.{name} is trained"
    size_gb = num_bytes / 1e9
    return f"the features take {size_gb:.1f} GB" if size_gb > MAX_GB else None


def _num_bytes(manifest: Manifest, signal: str) -> int:
    """How large the files of a signal are."""
    references = manifest.frame["signals"].explode().struct.unnest()
    paths = references.filter(pl.col("name") == signal)["path"].unique()
    files = [manifest.signals_folder / path for path in paths]
    return sum(file.stat().st_size for file in files if file.is_file())


def _not_alike(experiment: Experiment) -> str | None:
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
    return why_not_stackable(
        model, {name: prototype.feature_size for name, prototype in prototypes.items()}
    )


def _device(experiment: Experiment) -> torch.device:
    accelerator = resolve_accelerator(experiment.config["trainer"]["accelerator"])
    return torch.device("cpu" if accelerator == "cpu" else "cuda:0")
