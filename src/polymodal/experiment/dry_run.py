"""What one training step shows: the loss, which parameters it reaches, its memory and its time."""

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional

from polymodal.schemas.batch import Batch, PaddedSequence
from polymodal.training.module import TrainingModule

TOLERANCE = 1e-3  # of the largest output


@dataclass
class DryRunResult:
    """What a dry run has shown.

    Args:
        loss: Of the training batch.
        unreached: Trainable parameters that got no gradient, by name.
        infinite: Names of parameters whose gradient is not finite.
        logged: Names of all that was logged.
        num_parameters: All parameters.
        num_trainable: Number of trained parameters.
        saved_mb: What the forward pass keeps for the backward pass of one batch, in MB.
        state_mb: Weights, gradients and the optimiser's state, in MB.
        step_s: Seconds of the quickest step on this machine's CPU.
        num_utterances: Utterances of that step.
        reads_padding: Keys of components whose output for an utterance changes with the padding.
    """

    loss: float = math.nan
    unreached: list[str] = field(default_factory=list)
    infinite: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    num_parameters: int = 0
    num_trainable: int = 0
    saved_mb: float = 0.0
    state_mb: float = 0.0
    step_s: float = math.inf
    num_utterances: int = 0
    reads_padding: list[str] = field(default_factory=list)


class DryRunCallback(Callback):
    """Watches a training of a few batches.

    Attributes:
        seen: What has been seen so far.
    """

    def __init__(self) -> None:
        self.seen = DryRunResult()
        self._saved: dict[int, int] = {}
        self._hooks: Any = None
        self._began = 0.0
        self._reached: set[str] = set()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count parameters."""
        sizes = [
            (parameter.numel(), parameter.requires_grad) for parameter in pl_module.parameters()
        ]
        self.seen.num_parameters = sum(size for size, _ in sizes)
        self.seen.num_trainable = sum(size for size, trained in sizes if trained)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start to note what the forward pass keeps."""
        self._saved, self._began = {}, time.perf_counter()
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._note, lambda tensor: tensor)
        self._hooks.__enter__()

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """End the notes of the forward pass."""
        self._close()
        self.seen.loss = float(loss.detach())
        weights = {parameter.untyped_storage().data_ptr() for parameter in pl_module.parameters()}
        saved_bytes = sum(size for pointer, size in self._saved.items() if pointer not in weights)
        self.seen.saved_mb = max(self.seen.saved_mb, saved_bytes / 1e6)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record which parameters have a gradient."""
        trained = [(n, p) for n, p in pl_module.named_parameters() if p.requires_grad]
        self._reached |= {name for name, parameter in trained if parameter.grad is not None}
        self.seen.unreached = [name for name, _ in trained if name not in self._reached]
        self.seen.infinite = [
            name
            for name, parameter in trained
            if parameter.grad is not None and not parameter.grad.isfinite().all()
        ]

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Record the time of the step, and the memory of the optimiser."""
        step_s = time.perf_counter() - self._began
        if step_s < self.seen.step_s:
            self.seen.step_s, self.seen.num_utterances = step_s, len(batch)
        held = sum(_bytes(parameter) for parameter in pl_module.parameters())
        held += sum(
            _bytes(parameter) for parameter in pl_module.parameters() if parameter.requires_grad
        )
        for optimizer in trainer.optimizers:
            state = [tensor for of in optimizer.state.values() for tensor in of.values()]
            held += sum(_bytes(tensor) for tensor in state if isinstance(tensor, Tensor))
        self.seen.state_mb = held / 1e6

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record what was logged."""
        self.seen.logged = sorted(trainer.callback_metrics)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the notes where a step has failed."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """End the notes where a step has failed."""
        self._close()

    def _note(self, saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        self._saved[storage.data_ptr()] = storage.nbytes()
        return saved

    def _close(self) -> None:
        if self._hooks is not None:
            self._hooks.__exit__(None, None, None)
            self._hooks = None


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@torch.no_grad()
def components_that_read_padding(module: TrainingModule, batch: Batch) -> list[str]:
    """Return the keys of the encoders, or of the model, that read what stands under the padding.

    Each utterance is encoded, and fused, alone without padding, and in the batch with more of it.
    Outputs that differ would make predictions depend on the other utterances of a batch.
    """
    module.eval()
    padded = {name: _padded(sequence) for name, sequence in batch.modalities.items()}
    encoded = module.encode(replace(batch, modalities=padded))
    readers = [
        f"encoder.{name}"
        for name, sequence in batch.modalities.items()
        if not _same_alone(module.encoders[name], sequence, encoded[name])
    ]
    fused = module.fuse({name: _padded(sequence) for name, sequence in encoded.items()})
    alone = [
        module.fuse({name: _alone(sequence, row) for name, sequence in encoded.items()})
        for row in range(len(batch))
    ]
    return readers if _close(torch.cat(alone), fused) else [*readers, "model"]


def _same_alone(encoder: nn.Module, sequence: PaddedSequence, encoded: PaddedSequence) -> bool:
    for row in sequence.present.nonzero().flatten().tolist():
        alone, together = encoder(_alone(sequence, row)), _alone(encoded, row)
        if not _close(alone.values[0, alone.valid_mask[0]], together.values[0]):
            return False
    return True


def _padded(sequence: PaddedSequence) -> PaddedSequence:
    """Return a sequence with a quarter of its length as further padding."""
    num_frames = -(-sequence.values.shape[1] // 4)
    after = (0, 0) * (sequence.values.ndim - 2) + (0, num_frames)
    return PaddedSequence(
        functional.pad(sequence.values, after),
        functional.pad(sequence.valid_mask, (0, num_frames), value=False),
    )


def _alone(sequence: PaddedSequence, row: int) -> PaddedSequence:
    """Return one row without its padding; an absent one keeps a frame, as a batch has one."""
    length = max(1, int(sequence.num_valid[row]))
    return PaddedSequence(
        sequence.values[row : row + 1, :length], sequence.valid_mask[row : row + 1, :length]
    )


def _close(values: Tensor, others: Tensor) -> bool:
    """Return whether outputs are equal but for rounding, which is another one for other shapes."""
    if values.shape != others.shape:
        return False
    scale = 1 + values.abs().amax() if values.numel() else 1.0
    return bool(((values - others).abs() <= TOLERANCE * scale).all())
