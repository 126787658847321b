"""The Lightning module for every model."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytorch_lightning as pl
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_
from torch.optim import Optimizer

from polymodal.encoders.base import Encoder
from polymodal.errors import CheckpointError, OutputShapeError
from polymodal.evaluation.classification import Score
from polymodal.evaluation.score import score_table
from polymodal.schemas.batch import Batch, PaddedSequence
from polymodal.schemas.predictions import PredictionTable
from polymodal.training.gradient_window import GradientWindow, target_weight
from polymodal.training.losses import upcast
from polymodal.training.nan_guard import NonFiniteGuard, parameters_of, total_norm
from polymodal.training.optimizers import build_optimizer, parameter_groups
from polymodal.training.prediction_writer import Outputs, PredictionCollector
from polymodal.training.tasks import Task


class TrainingModule(pl.LightningModule):
    """Encoders and a model, trained and scored.

    Scores are computed once an epoch from the predictions of all ranks, so that neither the batch
    size nor the number of devices moves them.

    Args:
        encoders: Modality to its encoder.
        model: Maps encoded modalities to outputs `[batch, output]`.
        loss: Maps outputs and targets to a scalar.
        task: Reads targets and fills prediction tables.
        scores: Name to score.
        optimizer: Builds an optimiser from parameter groups.
        scheduler: Builds a schedule from an optimiser and the number of steps.
        seed: Seed of the random numbers of every epoch.
        fold: Number of the fold.
        run_id: The run, for the prediction tables.
        speakers: Columns `utterance_id` and `speaker`, for the prediction tables.

    Attributes:
        withheld: Modalities that are treated as absent; their encoders are not computed.
        num_trained: Number of utterances that this process has trained on, with repetition.
        latest: The last logged scores of an epoch, for progress displays.
        split: Name of the split that `trainer.test` writes to `predictions`.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        model: nn.Module,
        loss: nn.Module,
        *,
        task: Task,
        scores: Mapping[str, Score],
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        scheduler: Callable[[Optimizer, int], Any],
        seed: int = 0,
        fold: int = 0,
        run_id: str = "",
        speakers: polars.DataFrame | None = None,
    ) -> None:
        super().__init__()
        self.encoders, self.model, self.loss = nn.ModuleDict(encoders), model, loss
        self.widths = {name: encoder.feature_size for name, encoder in encoders.items()}
        self.task, self.scores = task, dict(scores)
        self.optimizer, self.scheduler = optimizer, scheduler
        self.seed, self.fold, self.run_id = seed, fold, run_id
        self.speakers = speakers
        self.collector = PredictionCollector()
        self.split, self.predictions = "test", Path()
        self.withheld: frozenset[str] = frozenset()
        self.frames = {"valid": 0, "padded": 0}
        self.num_trained = 0
        self.latest: dict[str, float] = {}
        self.guard = NonFiniteGuard(self.named_parameters)
        self.window, self.target_weight = GradientWindow(), torch.zeros(())

    def forward(self, batch: Batch) -> Float[Tensor, "batch output"]:
        """Return the outputs for a batch: logits, values, or both."""
        return self.fuse(self.encode(batch))

    def encode(self, batch: Batch) -> dict[str, PaddedSequence]:
        """Encode each modality of a batch; missing and withheld ones are absent.

        Raises:
            OutputShapeError: An encoder returns vectors of another width than its `feature_size`.
        """
        encoded = {
            name: encoder(batch.modalities[name])
            if name in batch.modalities and name not in self.withheld
            else self._absent(len(batch), self.widths[name])
            for name, encoder in self.encoders.items()
        }
        for name, sequence in encoded.items():
            _check_shape(
                f"encoder.{name}",
                self.encoders[name],
                sequence.values,
                (len(batch), sequence.valid_mask.shape[1], self.widths[name]),
                "[batch, time, feature_size], with a mask [batch, time]",
            )
        return encoded

    def fuse(
        self, encoded: Mapping[str, PaddedSequence], withheld: Collection[str] = ()
    ) -> Float[Tensor, "batch output"]:
        """Return the outputs for encoded modalities, treating `withheld` ones as absent.

        Raises:
            OutputShapeError: The model returns another number of rows or outputs than asked for.
        """
        visible = {
            name: self._absent(len(sequence.valid_mask), self.widths[name])
            if name in withheld
            else sequence
            for name, sequence in encoded.items()
        }
        outputs: Tensor = self.model(visible)
        num_rows = len(next(iter(visible.values())).valid_mask)
        shape = (num_rows, self.task.num_outputs)
        _check_shape("model", self.model, outputs, shape, "[batch, num_outputs]")
        return upcast(outputs)

    def _absent(self, num_utterances: int, width: int) -> PaddedSequence:
        values = torch.zeros(num_utterances, 1, width, device=self.device)
        return PaddedSequence(values, values[..., 0] > 0)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch to a device, and count its utterances and frames."""
        if self.trainer.training:  # counted here, as reading a mask from a GPU would wait for it
            self.num_trained += len(batch)
            for sequence in batch.modalities.values():
                self.frames["padded"] += sequence.valid_mask.numel()
                self.frames["valid"] += int(np.count_nonzero(sequence.valid_mask.numpy()))
        return batch if device.type == "cpu" else batch.to(device, non_blocking=True)

    def on_train_epoch_start(self) -> None:
        """Reset the counts of frames."""
        self.frames = {"valid": 0, "padded": 0}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed each epoch by its number, so that a resumed run draws the same numbers."""
        if batch_idx == 0:
            torch.manual_seed(self.seed * 1_000_003 + self.current_epoch * 1009 + self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the loss of a batch."""
        encoded = self.encode(batch)
        fused: Tensor = self.loss(self.fuse(encoded), batch.targets)
        loss = self.total_loss(fused, encoded, batch)
        where = f"epoch {self.current_epoch}, batch {batch_idx}"
        self.guard.record(loss, batch.utterance_ids, where)
        self.target_weight = target_weight(self.loss, batch.targets)
        self._log_step(fused, batch_idx)
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Differentiate a loss, so that every target of an update has the same weight."""
        num_batches = int(self.trainer.accumulate_grad_batches)
        if num_batches > 1 or self.trainer.world_size > 1:
            loss = self.window.scale(
                loss,
                self.target_weight.to(loss.device, loss.dtype),
                is_last=self._is_update(),
                num_batches=num_batches,
                mean_over_ranks=lambda total: self.trainer.strategy.reduce(total, reduce_op="mean"),
                parameters=self.parameters(),
            )
        super().backward(loss, *args, **kwargs)

    def _is_update(self) -> bool:
        """Return whether an update of the weights follows this batch."""
        num_done = self.trainer.fit_loop.epoch_loop.batch_idx + 1
        is_last = self.trainer.is_last_batch or num_done == self.trainer.num_training_batches
        return is_last or num_done % int(self.trainer.accumulate_grad_batches) == 0

    def total_loss(
        self, fused: Tensor, encoded: Mapping[str, PaddedSequence], batch: Batch
    ) -> Tensor:
        """Return the scalar to minimise: the loss of the fused outputs."""
        return fused

    def _log_step(self, loss: Tensor, batch_idx: int) -> None:
        """Log every `log_every_n_steps` updates, and at the end of an epoch also to callbacks.

        In between, Lightning's `log` would take many times as long as the writing itself.
        """
        updates = (batch_idx + 1) % int(getattr(self.trainer, "accumulate_grad_batches", 1)) == 0
        if self.trainer.is_last_batch or (updates and self._is_due()):
            mean: Tensor = self.trainer.strategy.reduce(loss.detach().clone(), reduce_op="mean")
            self.latest = {"train/loss": mean.item(), **self._rates()}
            self._write(self.latest)
        if self.trainer.is_last_batch:
            self.log_dict(self.latest, batch_size=1, logger=False)

    def _is_due(self) -> bool:
        every = int(getattr(self.trainer, "log_every_n_steps", 1))
        return bool(every and (self.global_step + 1) % every == 0)

    def _write(self, scores: Mapping[str, float]) -> None:
        for logger in self.trainer.loggers:
            logger.log_metrics({**scores, "epoch": self.current_epoch}, self.global_step)

    def _rates(self) -> dict[str, float]:
        rates = [group["lr"] for group in self.trainer.optimizers[0].param_groups]
        lowest = {"train/lr_lowest": rates[-1]} if rates[-1] != rates[0] else {}
        return {"train/lr": rates[0], **lowest}  # the groups are sorted by their rate

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Check the gradient and the loss, log the norm, and clip.

        Clipping is left to Lightning only if a process has a shard of the gradient, or a scaled
        one: Lightning does not clip for fused optimisers in mixed precision, though bfloat16 scales
        nothing.

        Raises:
            FloatingPointError: The gradient or the loss is not finite; nothing was updated.
        """
        norm = total_norm(self.trainer, optimizer)
        self.guard.check(norm)
        if norm is not None and (self.trainer.is_last_batch or self._is_due()):
            self._write({"train/grad_norm": norm.item()})
        if norm is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val and gradient_clip_algorithm in (None, "norm"):
            clip_grads_with_norm_(parameters_of(optimizer), gradient_clip_val, norm)
        elif gradient_clip_val:
            clip_grad_value_(parameters_of(optimizer), gradient_clip_val)

    def _sum_over_ranks(self, values: Tensor) -> Tensor:
        total: Tensor = self.trainer.strategy.reduce(values, reduce_op="sum")
        return total

    def on_train_epoch_end(self) -> None:
        """Log the fraction of frames that are padding."""
        padding = 1 - self.frames["valid"] / max(1, self.frames["padded"])
        self.log("train/padding_share", padding, sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        """Discard outputs of the last epoch and of the sanity check."""
        self.collector.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the outputs of a batch."""
        self.collector.add(batch, self.validation_outputs(self.encode(batch)))

    def validation_outputs(
        self, encoded: Mapping[str, PaddedSequence]
    ) -> Float[Tensor, "batch output"]:
        """Return the outputs to collect in validation."""
        return self.fuse(encoded)

    def on_validation_epoch_end(self) -> None:
        """Score the validation split from the predictions of all ranks."""
        outputs = self.collector.gather()
        if outputs is not None:
            self.score_validation(outputs)

    def score_validation(self, outputs: Outputs) -> None:
        """Log loss and scores of the validation split."""
        rows = self.task.has_target(outputs.targets)  # the loss may be one of a library
        loss = self._mean_loss(outputs.logits[rows], outputs.targets[rows])
        scores = score_table(self.table(outputs, "val"), self.scores)
        self.log_dict({"val/loss": loss, **scores}, batch_size=1, rank_zero_only=False)

    def on_test_epoch_start(self) -> None:
        """Discard earlier outputs."""
        self.collector.reset()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the outputs of a batch."""
        self.collector.add(batch, self(batch))

    def on_test_epoch_end(self) -> None:
        """Write the prediction table of the split, on rank zero."""
        outputs = self.collector.gather()
        if outputs is None:
            return
        if self.trainer.is_global_zero:
            self.predictions.mkdir(parents=True, exist_ok=True)
            table = self.table(outputs, self.split)
            table.write(self.predictions / f"{self.split}.parquet")

    def configure_optimizers(self) -> Any:
        """Build the optimiser and its schedule, which is updated after each step."""
        fused = self.device.type == "cuda" and self.trainer.precision != "16-mixed"
        optimizer = build_optimizer(self.optimizer, parameter_groups(self), fused=fused)
        schedule = self.scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the order of the classes to the weights."""
        checkpoint["polymodal_classes"] = self.declared

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Reject weights that were trained for other classes or another order of them."""
        self.check_classes(checkpoint)

    def load_weights(self, checkpoint: dict[str, Any]) -> None:
        """Load the weights of a checkpoint.

        Raises:
            CheckpointError: Its classes or its parameters differ.
        """
        self.check_classes(checkpoint)
        try:
            self.load_state_dict(checkpoint["state_dict"])
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit the model: {str(error).splitlines()[-1].strip()}",
                hint="use the config that the checkpoint was trained with",
            ) from None

    def check_classes(self, checkpoint: dict[str, Any]) -> None:
        """Compare the classes of a checkpoint with those of this module.

        Raises:
            CheckpointError: They differ, be it only in their order.
        """
        classes = list(checkpoint.get("polymodal_classes", ()))
        if classes != self.declared:
            raise CheckpointError(
                f"the checkpoint was trained for the classes {classes}",
                expected=f"{self.declared}, in this order",
                hint="set task.classes to the checkpoint's classes",
            )

    @property
    def declared(self) -> list[str]:
        """Class or target dimension of each output, in their order."""
        return [*self.task.classes, *self.task.values]

    def table(self, outputs: Outputs, split: str) -> PredictionTable:
        """Return the prediction table of outputs, with speakers where they are known."""
        table = self.task.table(
            outputs.utterance_ids,
            outputs.logits,
            outputs.targets,
            split=split,
            fold=self.fold,
            seed=self.seed,
            run_id=self.run_id,
        )
        return table if self.speakers is None else table.with_speakers(self.speakers)

    @torch.no_grad()
    def _mean_loss(
        self,
        logits: Float[np.ndarray, "utterance output"],
        targets: Shaped[np.ndarray, "utterance ..."],
    ) -> Float[Tensor, ""]:
        loss: Tensor = self.loss(
            torch.from_numpy(logits).to(self.device), torch.from_numpy(targets).to(self.device)
        )
        return loss


def _check_shape(
    section: str, component: nn.Module, values: Tensor, shape: tuple[int, ...], legend: str
) -> None:
    """Blame the component by name; otherwise the next one would fail, and be blamed."""
    if tuple(values.shape) != shape:
        name = f"{type(component).__module__}.{type(component).__qualname__}"
        raise OutputShapeError(
            f"{section} ({name}) returned a tensor of shape {tuple(values.shape)}",
            section=section,
            expected=f"{shape}: {legend}",
            hint=f"correct the forward pass of {name}, or the sizes that it was built with",
        )
