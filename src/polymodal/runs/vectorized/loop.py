"""Trains many heads on stored features at once, each as Lightning would train it alone.

Heads differ in their seeds and in the fold that they are trained on. Each keeps its own order of
batches, dropout, schedule and best epoch; only the arithmetic of those with equally many batches an
epoch is done in one pass.

Legend: head = what is trained together, batch = utterances of one head.
"""

from collections.abc import Callable, Sequence
from itertools import groupby, zip_longest
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pytorch_lightning.__version__ import version
from torch import Tensor
from torch.utils.data import DataLoader

from polymodal.runs.vectorized.frames import PADDING_ROW, PackedFrames
from polymodal.runs.vectorized.head import HeadSpec, HeadState, LoopConfig, SplitBatches
from polymodal.runs.vectorized.stack import StackedModels
from polymodal.training.module import TrainingModule
from polymodal.training.optimizers import parameter_groups
from polymodal.training.prediction_writer import Outputs

# Optimisers of PyTorch that update a number by that number's own gradients alone.
ELEMENTWISE = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta")


def train_vectorized(
    heads: Sequence[HeadSpec],
    plan: LoopConfig,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Train all heads; what became of them is written into them.

    Args:
        heads: The heads: of one architecture, with encoders that learn nothing, one optimiser of
            `ELEMENTWISE` and one schedule.
        plan: How they are trained.
        device: Where.
        progress: Called with how many epochs of all heads are done, and of how many.

    Raises:
        FloatingPointError: A loss is no number; nothing was updated with it.
    """
    loaders = [one for head in heads for one in (head.training, head.validation) if one]
    frames = _frames([head.module for head in heads], loaders, device)
    learners = [HeadState(head, index, frames, device) for index, head in enumerate(heads)]
    learners.sort(key=lambda one: one.pace)
    ended, total = 0, len(heads) * plan.max_epochs
    for _, some in groupby(learners, key=lambda one: one.pace):
        group = _Group([*some], frames, plan)
        all_of_it = len(group.learners) * plan.max_epochs
        for epoch in range(plan.max_epochs):
            group.train(epoch)
            group.validate_and_checkpoint(epoch)
            left = len(group.learners) * (plan.max_epochs - 1 - epoch)
            progress(ended + all_of_it - left, total)
            if not group.learners:
                break
        ended += all_of_it


def apply_vectorized(
    modules: Sequence[TrainingModule], loaders: Sequence[DataLoader[Any]], device: torch.device
) -> list[Outputs]:
    """Compute what modules of one architecture put out for one part each."""
    frames = _frames(modules, loaders, device)
    parts = [SplitBatches(loader, frames, device) for loader in loaders]
    stack = StackedModels([module.to(device).model for module in modules], modules[0].widths)
    return _outputs(stack, frames, np.arange(len(parts)), parts)


class _Group:
    """Learners with equally many batches an epoch, so that one schedule serves them all."""

    def __init__(
        self, learners: Sequence[HeadState], frames: PackedFrames, plan: LoopConfig
    ) -> None:
        self.learners, self.frames, self.plan = list(learners), frames, plan
        first = learners[0].module
        self.stack = StackedModels([learner.module.model for learner in learners], first.widths)
        self.num_batches = len(learners[0].training.sampler)
        named = {id(weight): name for name, weight in first.model.named_parameters()}
        groups = [
            {**group, "params": [self.stack.parameters[named[id(one)]] for one in group["params"]]}
            for group in parameter_groups(first)
        ]
        self.optimizer = first.optimizer(groups)
        self.schedule = first.scheduler(self.optimizer, self.num_batches * plan.max_epochs)

    def train(self, epoch: int) -> None:
        """Goes through all training parts once."""
        # The module seeds every epoch so, before its first batch.
        seeds = [learner.module.seed * 1_000_003 + epoch * 1009 for learner in self.learners]
        states = [self.stack.random_state(seed) for seed in seeds]
        frames = np.zeros((len(seeds), 2), dtype=int)
        plans = [learner.training.batches(epoch) for learner in self.learners]
        for number, batches in enumerate(zip(*plans, strict=True)):
            frames += self._step(batches, states, epoch, number)
        for learner, (valid, padded) in zip(self.learners, frames.tolist(), strict=True):
            learner.padding = 1 - valid / max(1, padded)

    def validate_and_checkpoint(self, epoch: int) -> None:
        """Score the epoch, keeps what is to be kept, and lets those go that have finished."""
        step = (epoch + 1) * self.num_batches - 1
        scores = self._validate()
        left = []
        for index, (one, its) in enumerate(zip(self.learners, scores, strict=True)):
            if its:
                one.record(its, step, epoch)
            one.record({"train/padding_share": one.padding}, step, epoch)
            keep, stop = self.plan.keep, self.plan.stop
            if keep and one.improved(its, keep):
                one.head.best = self._checkpoint(index, epoch)
            if (stop and one.should_stop(its, stop)) or epoch + 1 == self.plan.max_epochs:
                one.head.last, one.head.epochs = self._checkpoint(index, epoch), epoch + 1
            else:
                left.append(index)
        if len(left) < len(self.learners):
            self._go_on_with(left)

    def _step(
        self, batches: Sequence[list[int]], states: list[Tensor], epoch: int, number: int
    ) -> Int[np.ndarray, "head 2"]:
        """Update all learners once; returns how many of their frames were real, and padded."""
        parts = [learner.training for learner in self.learners]
        rows = [part.rows[batch] for part, batch in zip(parts, batches, strict=True)]
        self.optimizer.zero_grad()
        losses = torch.zeros(len(parts))
        for places in self.frames.passes(rows):
            some = [rows[place] for place in places]
            sizes = [self.frames.sizes(one) for one in some]
            noise = self.stack.draw([states[place] for place in places], sizes)
            heads = [self.learners[place] for place in places]
            inputs = self.frames.gather(_level(some), _places(heads))
            outputs = self.stack(places, inputs, noise).unbind()
            these = torch.stack(
                [
                    head.module.loss(output[: len(row)], head.training.targets[batches[place]])
                    for place, head, output, row in zip(places, heads, outputs, some, strict=True)
                ]
            )
            torch.autograd.backward(these.sum())
            losses[places] = these.detach().cpu()
        self._check(losses, batches, epoch, number)
        step = epoch * self.num_batches + number
        if (step + 1) % self.plan.log_every == 0 or number == self.num_batches - 1:
            self._note(losses, step, epoch)
        if self.plan.max_norm:
            self._clip(self.plan.max_norm)
        self.optimizer.step()
        self.schedule.step()
        return np.array([self.frames.counts(row) for row in rows])

    def _check(self, losses: Tensor, batches: Sequence[list[int]], epoch: int, number: int) -> None:
        if torch.isfinite(losses).all():
            return
        place = int((~torch.isfinite(losses)).nonzero()[0])
        one = self.learners[place]
        ids = one.training.ids[batches[place][:8]].tolist()
        raise FloatingPointError(
            f"the loss is {losses[place].item()} in fold {one.module.fold}, seed "
            f"{one.module.seed}, epoch {epoch}, batch {number}, with the utterances "
            f"{', '.join(ids)}; try a smaller optimizer.lr or trainer.gradient_clip_val=1"
        )

    def _note(self, losses: Tensor, step: int, epoch: int) -> None:
        """Record what the module writes: the loss and the rate, and the gradient's norm."""
        rate = self.optimizer.param_groups[0]["lr"]
        norms = _norms(self._gradients()).tolist()
        for learner, loss, norm in zip(self.learners, losses.tolist(), norms, strict=True):
            learner.record({"train/loss": loss, "train/lr": rate}, step, epoch)
            learner.record({"train/grad_norm": norm}, step, epoch)

    def _clip(self, max_norm: float) -> None:
        """Clips the gradient of each learner by its own norm."""
        gradients = self._gradients()
        factors = (max_norm / (_norms(gradients) + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient *= factors[:, None]

    def _gradients(self) -> list[Float[Tensor, "head _"]]:
        gradients = [
            parameter.grad
            for parameter in self.stack.parameters.values()
            if parameter.grad is not None
        ]
        return [gradient.reshape(len(self.learners), -1) for gradient in gradients]

    def _validate(self) -> list[dict[str, float]]:
        parts = [learner.validation for learner in self.learners if learner.validation]
        if not parts:
            return [{} for _ in self.learners]
        outputs = _outputs(self.stack, self.frames, _places(self.learners), parts)
        return [
            learner.scores(output) for learner, output in zip(self.learners, outputs, strict=True)
        ]

    def _checkpoint(self, place: int, epoch: int) -> dict[str, Any]:
        """What Lightning would save, without what only it could go on with."""
        module = self.learners[place].module
        self.stack.write(place, module.model)
        checkpoint = {
            "epoch": epoch,
            "global_step": (epoch + 1) * self.num_batches,
            "pytorch-lightning_version": version,
            "state_dict": {k: one.cpu().clone() for k, one in module.state_dict().items()},
        }
        module.on_save_checkpoint(checkpoint)
        return checkpoint

    def _go_on_with(self, places: list[int]) -> None:
        self.learners = [self.learners[place] for place in places]
        for whole in self.stack.parameters.values():
            state = self.optimizer.state.get(whole, {})
            for key, value in state.items():
                if torch.is_tensor(value) and value.shape == whole.shape:
                    state[key] = value[places]
        self.stack.keep(places)


def _norms(gradients: Sequence[Float[Tensor, "head _"]]) -> Float[Tensor, " head"]:
    norms: Tensor = torch.stack([gradient.norm(dim=1) for gradient in gradients]).norm(dim=0)
    return norms


def _frames(
    modules: Sequence[TrainingModule], loaders: Sequence[DataLoader[Any]], device: torch.device
) -> PackedFrames:
    encoders: Any = [dict(module.encoders.items()) for module in modules]
    datasets: Any = [loader.dataset for loader in loaders]
    return PackedFrames(datasets, encoders, device)


def _places(learners: Sequence[HeadState]) -> Int[np.ndarray, " head"]:
    """The places of learners among all heads, by which their frames are found."""
    return np.array([learner.place for learner in learners])


def _outputs(
    stack: StackedModels,
    frames: PackedFrames,
    heads: Int[np.ndarray, " head"],
    parts: Sequence[SplitBatches],
) -> list[Outputs]:
    """What the models of a stack put out for one part each, without dropout."""
    said: list[list[np.ndarray]] = [[] for _ in parts]
    for batches in zip_longest(*(part.fixed for part in parts), fillvalue=()):
        there = [index for index, batch in enumerate(batches) if batch]
        rows = [parts[place].rows[batches[place]] for place in there]
        for some in frames.passes(rows):
            places = [there[one] for one in some]
            inputs = frames.gather(_level([rows[one] for one in some]), heads[places])
            with torch.no_grad():
                outputs = stack(places, inputs).cpu().numpy()
            for place, one, output in zip(places, some, outputs, strict=True):
                said[place].append(output[: len(rows[one])])
    return [_sorted(part, np.concatenate(its)) for part, its in zip(parts, said, strict=True)]


def _sorted(part: SplitBatches, said: np.ndarray) -> Outputs:
    """The outputs of a part, which were given batch by batch, in the order of the ids."""
    batched = np.concatenate(part.fixed)
    names, first = np.unique(part.ids[batched], return_index=True)
    targets = part.targets.cpu().numpy()[batched[first]]
    return Outputs(tuple(names.tolist()), said[first], targets)


def _level(rows: Sequence[np.ndarray]) -> Int[np.ndarray, "head batch"]:
    """Fill batches of different sizes up with nobody."""
    level = np.full((len(rows), max(len(row) for row in rows)), PADDING_ROW)
    for whole, row in zip(level, rows, strict=True):
        whole[: len(row)] = row
    return level
