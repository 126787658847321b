"""Train many heads on stored features in one pass, each as Lightning would train it alone.

Heads differ in their seeds and in the fold that they are trained on. Each has its own order of
batches, dropout, schedule and best epoch; only the arithmetic of heads with equally many batches
per epoch is vectorized.

Legend: head = models that are trained together, batch = utterances of one head.
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

# Optimisers of PyTorch that update a weight by that weight's gradients alone.
ELEMENTWISE = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta")


def train_vectorized(
    specs: Sequence[HeadSpec],
    config: LoopConfig,
    device: torch.device,
    progress: Callable[[int, int, float], None] = lambda epoch, total, fraction: None,
) -> None:
    """Train all heads, and write the results into their specs.

    Args:
        specs: Heads of one architecture, with frozen encoders, one optimiser of `ELEMENTWISE` and
            one schedule.
        config: How they are trained.
        device: Where they are trained.
        progress: Called with the number of the finished epoch, from 1, the greatest number of
            epochs, and the fraction of the epochs of all heads that are done.

    Raises:
        FloatingPointError: A loss is not finite; nothing was updated with it.
    """
    loaders = [x for spec in specs for x in (spec.training, spec.validation) if x]
    frames = _pack_frames([spec.module for spec in specs], loaders, device)
    heads = [HeadState(spec, index, frames, device) for index, spec in enumerate(specs)]
    heads.sort(key=lambda head: head.pace)
    num_ended, total = 0, len(specs) * config.max_epochs
    for _, members in groupby(heads, key=lambda head: head.pace):
        group = _Group([*members], frames, config)
        num_epochs = len(group.heads) * config.max_epochs
        for epoch in range(config.max_epochs):
            group.train(epoch)
            group.validate_and_checkpoint(epoch)
            num_left = len(group.heads) * (config.max_epochs - 1 - epoch)
            fraction = (num_ended + num_epochs - num_left) / total
            progress(epoch + 1, config.max_epochs, fraction)
            if not group.heads:
                break
        num_ended += num_epochs


def apply_vectorized(
    modules: Sequence[TrainingModule], loaders: Sequence[DataLoader[Any]], device: torch.device
) -> list[Outputs]:
    """Return the outputs of modules of one architecture, each for its loader."""
    frames = _pack_frames(modules, loaders, device)
    splits = [SplitBatches(loader, frames, device) for loader in loaders]
    stack = StackedModels([module.to(device).model for module in modules], modules[0].widths)
    return _outputs(stack, frames, np.arange(len(splits)), splits)


class _Group:
    """Heads with equally many batches per epoch, so that one schedule serves them all."""

    def __init__(
        self, heads: Sequence[HeadState], frames: PackedFrames, config: LoopConfig
    ) -> None:
        self.heads, self.frames, self.config = list(heads), frames, config
        first = heads[0].module
        self.stack = StackedModels([head.module.model for head in heads], first.widths)
        self.num_batches = len(heads[0].training.sampler)
        names = {id(weight): name for name, weight in first.model.named_parameters()}
        groups = [
            {**group, "params": [self.stack.parameters[names[id(p)]] for p in group["params"]]}
            for group in parameter_groups(first)
        ]
        self.optimizer = first.optimizer(groups)
        self.schedule = first.scheduler(self.optimizer, self.num_batches * config.max_epochs)

    def train(self, epoch: int) -> None:
        # As the module seeds every epoch before its first batch.
        seeds = [head.module.seed * 1_000_003 + epoch * 1009 for head in self.heads]
        states = [self.stack.random_state(seed) for seed in seeds]
        frames = np.zeros((len(seeds), 2), dtype=int)
        batches_by_head = [head.training.batches(epoch) for head in self.heads]
        for number, batches in enumerate(zip(*batches_by_head, strict=True)):
            frames += self._step(batches, states, epoch, number)
        for head, (valid, padded) in zip(self.heads, frames.tolist(), strict=True):
            head.padding = 1 - valid / max(1, padded)

    def validate_and_checkpoint(self, epoch: int) -> None:
        """Score the epoch, keep checkpoints, and drop the heads that have finished."""
        step = (epoch + 1) * self.num_batches - 1
        unfinished = []
        for index, (head, scores) in enumerate(zip(self.heads, self._validate(), strict=True)):
            if scores:
                head.record(scores, step, epoch)
            head.record({"train/padding_share": head.padding}, step, epoch)
            keep, stop = self.config.keep, self.config.stop
            if keep and head.improved(scores, keep):
                head.spec.best = self._checkpoint(index, epoch)
            if (stop and head.should_stop(scores, stop)) or epoch + 1 == self.config.max_epochs:
                head.spec.last, head.spec.epochs = self._checkpoint(index, epoch), epoch + 1
            else:
                unfinished.append(index)
        if len(unfinished) < len(self.heads):
            self._keep(unfinished)

    def _step(
        self, batches: Sequence[list[int]], states: list[Tensor], epoch: int, number: int
    ) -> Int[np.ndarray, "head 2"]:
        """Update all heads once; return how many of their frames are valid, and padded."""
        splits = [head.training for head in self.heads]
        rows = [split.rows[batch] for split, batch in zip(splits, batches, strict=True)]
        self.optimizer.zero_grad()
        losses = torch.zeros(len(splits))
        for indices in self.frames.passes(rows):
            chosen = [rows[index] for index in indices]
            sizes = [self.frames.sizes(batch) for batch in chosen]
            noise = self.stack.draw([states[index] for index in indices], sizes)
            heads = [self.heads[index] for index in indices]
            inputs = self.frames.gather(_pad_rows(chosen), _head_indices(heads))
            outputs = self.stack(indices, inputs, noise)
            pass_losses = torch.stack(
                [
                    head.module.loss(output[: len(row)], head.training.targets[batches[index]])
                    for index, head, output, row in zip(
                        indices, heads, outputs.unbind(), chosen, strict=True
                    )
                ]
            )
            torch.autograd.backward(pass_losses.sum())
            losses[indices] = pass_losses.detach().cpu()
        self._check(losses, batches, epoch, number)
        step = epoch * self.num_batches + number
        if (step + 1) % self.config.log_every == 0 or number == self.num_batches - 1:
            self._log(losses, step, epoch)
        if self.config.max_norm:
            self._clip(self.config.max_norm)
        self.optimizer.step()
        self.schedule.step()
        return np.array([self.frames.counts(row) for row in rows])

    def _check(
        self, losses: Float[Tensor, " head"], batches: Sequence[list[int]], epoch: int, number: int
    ) -> None:
        if torch.isfinite(losses).all():
            return
        index = int((~torch.isfinite(losses)).nonzero()[0])
        head = self.heads[index]
        ids = head.training.ids[batches[index][:8]].tolist()
        raise FloatingPointError(
            f"the loss is {losses[index].item()} in fold {head.module.fold}, seed "
            f"{head.module.seed}, epoch {epoch}, batch {number}, with the utterances "
            f"{', '.join(ids)}; try a smaller optimizer.lr or trainer.gradient_clip_val=1"
        )

    def _log(self, losses: Float[Tensor, " head"], step: int, epoch: int) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        norms = _norms(self._gradients()).tolist()
        for head, loss, norm in zip(self.heads, losses.tolist(), norms, strict=True):
            head.record({"train/loss": loss, "train/lr": rate}, step, epoch)
            head.record({"train/grad_norm": norm}, step, epoch)

    def _clip(self, max_norm: float) -> None:
        gradients = self._gradients()
        factors = (max_norm / (_norms(gradients) + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient *= factors[:, None]

    def _gradients(self) -> list[Float[Tensor, "head _"]]:
        gradients = [p.grad for p in self.stack.parameters.values() if p.grad is not None]
        return [gradient.reshape(len(self.heads), -1) for gradient in gradients]

    def _validate(self) -> list[dict[str, float]]:
        splits = [head.validation for head in self.heads if head.validation]
        if not splits:
            return [{} for _ in self.heads]
        outputs = _outputs(self.stack, self.frames, _head_indices(self.heads), splits)
        return [head.scores(output) for head, output in zip(self.heads, outputs, strict=True)]

    def _checkpoint(self, index: int, epoch: int) -> dict[str, Any]:
        """What Lightning would save, without what only Lightning could resume from."""
        module = self.heads[index].module
        self.stack.write(index, module.model)
        checkpoint = {
            "epoch": epoch,
            "global_step": (epoch + 1) * self.num_batches,
            "pytorch-lightning_version": version,
            "state_dict": {k: value.cpu().clone() for k, value in module.state_dict().items()},
        }
        module.on_save_checkpoint(checkpoint)
        return checkpoint

    def _keep(self, indices: list[int]) -> None:
        self.heads = [self.heads[index] for index in indices]
        for parameter in self.stack.parameters.values():
            state = self.optimizer.state.get(parameter, {})
            for key, value in state.items():
                if torch.is_tensor(value) and value.shape == parameter.shape:
                    state[key] = value[indices]
        self.stack.keep(indices)


def _norms(gradients: Sequence[Float[Tensor, "head _"]]) -> Float[Tensor, " head"]:
    norms: Tensor = torch.stack([gradient.norm(dim=1) for gradient in gradients]).norm(dim=0)
    return norms


def _pack_frames(
    modules: Sequence[TrainingModule], loaders: Sequence[DataLoader[Any]], device: torch.device
) -> PackedFrames:
    encoders: Any = [dict(module.encoders.items()) for module in modules]
    datasets: Any = [loader.dataset for loader in loaders]
    return PackedFrames(datasets, encoders, device)


def _head_indices(heads: Sequence[HeadState]) -> Int[np.ndarray, " head"]:
    return np.array([head.index for head in heads])


def _outputs(
    stack: StackedModels,
    frames: PackedFrames,
    heads: Int[np.ndarray, " head"],
    splits: Sequence[SplitBatches],
) -> list[Outputs]:
    """Return the outputs of the models of a stack, each for its split, without dropout."""
    collected: list[list[np.ndarray]] = [[] for _ in splits]
    for batches in zip_longest(*(split.fixed for split in splits), fillvalue=()):
        present = [index for index, batch in enumerate(batches) if batch]
        rows = [splits[index].rows[batches[index]] for index in present]
        for positions in frames.passes(rows):
            indices = [present[position] for position in positions]
            chosen = [rows[position] for position in positions]
            inputs = frames.gather(_pad_rows(chosen), heads[indices])
            with torch.no_grad():
                outputs = stack(indices, inputs).cpu().numpy()
            for index, row, output in zip(indices, chosen, outputs, strict=True):
                collected[index].append(output[: len(row)])
    return [_sort(split, np.concatenate(x)) for split, x in zip(splits, collected, strict=True)]


def _sort(split: SplitBatches, logits: Float[np.ndarray, "utterance output"]) -> Outputs:
    """Sort outputs of a split, which were computed batch by batch, by utterance id."""
    order = np.concatenate(split.fixed)
    names, first = np.unique(split.ids[order], return_index=True)
    targets = split.targets.cpu().numpy()[order[first]]
    return Outputs(tuple(names.tolist()), logits[first], targets)


def _pad_rows(rows: Sequence[np.ndarray]) -> Int[np.ndarray, "head batch"]:
    padded = np.full((len(rows), max(map(len, rows))), PADDING_ROW)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded
