"""A head while it is trained with others: what it is trained on, how it scores, when it ends.

Legend: head = what is trained together.
"""

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
    """The score that tells a good epoch.

    Args:
        monitor: Such as `val/uar`.
        mode: `max` or `min`.
        min_delta: What it must be better by.
        patience: After how many epochs that are no better training ends.
    """

    monitor: str
    mode: str
    min_delta: float = 0.0
    patience: int = 3  # as Lightning's

    def better(self, score: np.float32, best: np.float32 | None) -> bool:
        """Return whether a score is better than the best one so far.

        Args:
            score: The score.
            best: The best one; None before the first epoch.

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
        max_epochs: Greatest number of epochs.
        max_norm: Greatest norm of a head's gradient, to which it is clipped; None for any.
        log_every: After how many steps the loss is noted.
        keep: What the best epoch is chosen by; None keeps only the last.
        stop: What ends training early; None for nothing.
    """

    max_epochs: int
    max_norm: float | None = None
    log_every: int = 10
    keep: MonitorSpec | None = None
    stop: MonitorSpec | None = None


@dataclass
class HeadSpec:
    """A module to be trained with others, and what became of it.

    Args:
        module: The module, with its first weights.
        training: Its training part.
        validation: Its validation part, or None.

    Attributes:
        epochs: How many epochs it was trained.
        lines: What Lightning would have logged: scores, step and epoch.
        last: Checkpoint of the last epoch.
        best: Checkpoint of the best epoch; empty where none is kept.
    """

    module: TrainingModule
    training: DataLoader[Any]
    validation: DataLoader[Any] | None
    epochs: int = 0
    lines: list[Line] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)


class SplitBatches:
    """A part of a fold: its rows among all frames, its targets, and its batches.

    Args:
        loader: The part.
        frames: The frames of all utterances.
        device: Where its targets are kept.
    """

    def __init__(self, loader: DataLoader[Any], frames: PackedFrames, device: torch.device) -> None:
        dataset: Any = loader.dataset
        self.sampler: Any = loader.batch_sampler
        self.ids = np.array(dataset.manifest.frame["utterance_id"].to_list())
        self.rows = np.array([frames.rows[one] for one in self.ids.tolist()])
        self.targets = torch.from_numpy(dataset.targets.copy()).to(device)

    def batches(self, epoch: int) -> list[list[int]]:
        """Return the batches of an epoch, as places in the part."""
        self.sampler.set_epoch(epoch)
        return list(self.sampler)

    @cached_property
    def fixed(self) -> list[list[int]]:
        """The batches of a part that is not trained on."""
        return self.batches(0)


class HeadState:
    """A head while it is trained.

    Args:
        head: The head.
        place: Its place among all heads.
        frames: The frames of all utterances.
        device: Where it is trained.
    """

    def __init__(
        self, head: HeadSpec, place: int, frames: PackedFrames, device: torch.device
    ) -> None:
        self.head, self.module, self.place = head, head.module.to(device), place
        self.training = SplitBatches(head.training, frames, device)
        self.validation = SplitBatches(head.validation, frames, device) if head.validation else None
        self.pace = len(self.training.sampler), self.validation is None
        self.labels: np.ndarray | None = None
        self.best: np.float32 | None = None
        self.best_to_stop: np.float32 | None = None
        self.num_worse, self.padding = 0, 0.0

    def record(self, scores: Mapping[str, Any], step: int, epoch: int) -> None:
        """Keep scores in single precision, as Lightning does."""
        singles = {name: float(np.float32(score)) for name, score in scores.items()}
        self.head.lines.append((singles, step, epoch))

    def scores(self, outputs: Outputs) -> dict[str, float]:
        """Score the validation part; its labels are read from a prediction table once."""
        module = self.module
        known = module.task.has_target(outputs.targets)
        with torch.no_grad():
            logits = torch.from_numpy(outputs.logits[known]).to(module.device)
            targets = torch.from_numpy(outputs.targets[known]).to(module.device)
            scores = {"val/loss": float(module.loss(logits, targets))}
        if any(input_kind(score) != "classes" for score in module.scores.values()):
            return scores | score_table(module.table(outputs, "val"), module.scores)
        if self.labels is None:
            self.labels = module.table(outputs, "val").targets()
        known = self.labels >= 0
        said = outputs.logits[known, : len(module.task.classes)].astype(float)
        named = module.scores.items() if known.any() else ()
        return scores | {f"val/{name}": score(said, self.labels[known]) for name, score in named}

    def improved(self, scores: Mapping[str, float], watch: MonitorSpec) -> bool:
        """Return whether this epoch is the best one so far, and remembers it."""
        score = np.float32(scores[watch.monitor])
        if np.isnan(score):
            score = np.float32("-inf" if watch.mode == "max" else "inf")
        better = watch.better(score, self.best)
        self.best = score if better else self.best
        return better

    def should_stop(self, scores: Mapping[str, float], watch: MonitorSpec) -> bool:
        """Return whether the score has not become better for too long, or is no number."""
        score = np.float32(scores[watch.monitor])
        if watch.better(score, self.best_to_stop):
            self.best_to_stop, self.num_worse = score, 0
        else:
            self.num_worse += 1
        return not np.isfinite(score) or self.num_worse >= max(1, watch.patience)
