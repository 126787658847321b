"""The state of one head while it is trained with others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from polymodal.evaluation.score import input_kind, score_table
from polymodal.runs.vectorized.frames import PackedFrames
from polymodal.training.module import TrainingModule
from polymodal.training.prediction_writer import Outputs

Line = tuple[dict[str, float], int, int]


@dataclass(frozen=True)
class MonitorSpec:
    """The score by which epochs are compared.

    Args:
        monitor: Such as `val/uar`.
        mode: `max` or `min`.
        min_delta: Difference that is more than noise.
        patience: Number of epochs without improvement after which training stops.
    """

    monitor: str
    mode: str
    min_delta: float = 0.0
    patience: int = 3  # as Lightning's

    def better(self, score: np.float32, best: np.float32 | None) -> bool:
        """Return whether a score is better than the best one, which is None before the first.

        Example:
            >>> monitor = MonitorSpec("val/loss", "min", min_delta=0.1)
            >>> monitor.better(np.float32(0.85), np.float32(0.9))
            False
        """
        delta = np.float32(self.min_delta)
        if best is None:
            return True
        return bool(score - delta > best if self.mode == "max" else score + delta < best)


@dataclass(frozen=True)
class LoopConfig:
    """How long heads are trained, and which of their epochs are kept.

    Args:
        max_epochs: Maximal number of epochs.
        max_norm: Norm to which the gradient of a head is clipped; None for no clipping.
        log_every: Number of steps between two logs of the loss.
        keep: What the best epoch is chosen by; None keeps only the last.
        stop: What stops training early; None for nothing.
    """

    max_epochs: int
    max_norm: float | None = None
    log_every: int = 10
    keep: MonitorSpec | None = None
    stop: MonitorSpec | None = None


@dataclass
class HeadSpec:
    """A module to be trained with others, and the results.

    Args:
        module: The module, with its initial weights.
        training: Its training split.
        validation: Its validation split, or None.

    Attributes:
        epochs: Number of epochs it was trained.
        lines: What Lightning would have logged: scores, step and epoch.
        last: Checkpoint of the last epoch.
        best: Checkpoint of the best epoch; empty if none is kept.
    """

    module: TrainingModule
    training: DataLoader[Any]
    validation: DataLoader[Any] | None
    epochs: int = 0
    lines: list[Line] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)


class SplitBatches:
    """The batches of a loader: its rows among all frames, and its targets on a device."""

    def __init__(self, loader: DataLoader[Any], frames: PackedFrames, device: torch.device) -> None:
        dataset: Any = loader.dataset
        self.sampler: Any = loader.batch_sampler
        self.ids = np.array(dataset.manifest.frame["utterance_id"].to_list())
        self.rows = np.array([frames.rows[name] for name in self.ids.tolist()])
        self.targets = torch.from_numpy(dataset.targets.copy()).to(device)

    def batches(self, epoch: int) -> list[list[int]]:
        """Return the batches of an epoch, as indices into the split."""
        self.sampler.set_epoch(epoch)
        return list(self.sampler)

    @cached_property
    def fixed(self) -> list[list[int]]:
        """The batches of a split that is not trained on."""
        return self.batches(0)


class HeadState:
    """A head while it is trained; `index` is its index among all heads."""

    def __init__(
        self, spec: HeadSpec, index: int, frames: PackedFrames, device: torch.device
    ) -> None:
        self.spec, self.module, self.index = spec, spec.module.to(device), index
        self.training = SplitBatches(spec.training, frames, device)
        self.validation = SplitBatches(spec.validation, frames, device) if spec.validation else None
        self.pace = len(self.training.sampler), self.validation is None
        self.labels: np.ndarray | None = None
        self.best: np.float32 | None = None
        self.best_to_stop: np.float32 | None = None
        self.num_worse, self.padding = 0, 0.0

    def record(self, scores: Mapping[str, Any], step: int, epoch: int) -> None:
        """Record scores in single precision, as Lightning does."""
        singles = {name: float(np.float32(score)) for name, score in scores.items()}
        self.spec.lines.append((singles, step, epoch))

    def scores(self, outputs: Outputs) -> dict[str, float]:
        """Score the validation split; its labels are read from a prediction table once."""
        module = self.module
        rows = module.task.has_target(outputs.targets)
        with torch.no_grad():
            logits = torch.from_numpy(outputs.logits[rows]).to(module.device)
            targets = torch.from_numpy(outputs.targets[rows]).to(module.device)
            scores = {"val/loss": float(module.loss(logits, targets))}
        if any(input_kind(score) != "classes" for score in module.scores.values()):
            return scores | score_table(module.table(outputs, "val"), module.scores)
        if self.labels is None:
            self.labels = module.table(outputs, "val").targets()
        rows = self.labels >= 0
        class_logits = outputs.logits[rows, : len(module.task.classes)].astype(float)
        named = module.scores.items() if rows.any() else ()
        labels = self.labels[rows]
        return scores | {f"val/{name}": score(class_logits, labels) for name, score in named}

    def improved(self, scores: Mapping[str, float], spec: MonitorSpec) -> bool:
        """Return whether this epoch is the best one so far, and remember it."""
        score = np.float32(scores[spec.monitor])
        if np.isnan(score):
            score = np.float32("-inf" if spec.mode == "max" else "inf")
        better = spec.better(score, self.best)
        self.best = score if better else self.best
        return better

    def should_stop(self, scores: Mapping[str, float], spec: MonitorSpec) -> bool:
        """Return whether the score has not improved for too long, or is not finite."""
        score = np.float32(scores[spec.monitor])
        if spec.better(score, self.best_to_stop):
            self.best_to_stop, self.num_worse = score, 0
        else:
            self.num_worse += 1
        return not np.isfinite(score) or self.num_worse >= max(1, spec.patience)
