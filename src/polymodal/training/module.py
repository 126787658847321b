"""The one Lightning module for every model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from polymodal.contracts.batch import Batch
from polymodal.contracts.predictions import PredictionTable
from polymodal.contracts.sequences import Sequence
from polymodal.encoders.base import Encoder
from polymodal.errors import CheckpointError
from polymodal.evaluation.evaluate import score_table
from polymodal.evaluation.scores import Score
from polymodal.training.collector import Collector, Outputs
from polymodal.training.optimizers import parameter_groups
from polymodal.training.tasks import Task


class TrainingModule(pl.LightningModule):
    """Encoders and a model, trained and scored.

    Scores are computed once an epoch from the predictions of all ranks, so that neither the batch
    size nor the number of devices moves them.

    Args:
        encoders: Modality to its encoder.
        model: Mapping of encoded modalities to logits.
        loss: Logits and targets to a scalar.
        task: What is predicted, and how a prediction table is filled.
        scores: Name to score.
        optimizer: Parameter groups to optimiser.
        scheduler: Optimiser and number of steps to schedule.
        seed: Seed of every epoch's random numbers.
        fold: Number of the fold.
        run_id: The run, for the prediction tables.
        speakers: Columns `utterance_id` and `speaker`, for the prediction tables; None for none.
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
        self.collector = Collector()
        self.part, self.predictions = "test", Path()
        self.frames = {"valid": 0, "padded": 0}

    def forward(self, batch: Batch) -> Float[Tensor, "batch output"]:
        """Computes the outputs for a batch: logits, values, or both.

        Args:
            batch: The batch.

        Returns:
            Outputs `[batch, output]`.
        """
        encoded = {
            name: encoder(batch.modalities[name])
            if name in batch.modalities
            else self._absent(len(batch), self.widths[name])
            for name, encoder in self.encoders.items()
        }
        logits: Tensor = self.model(encoded)
        return logits.float()  # also under bfloat16, for the loss and the prediction tables

    def _absent(self, num_utterances: int, width: int) -> Sequence:
        """What an encoder would put out for a batch that lacks its modality."""
        values = torch.zeros(num_utterances, 1, width, device=self.device)
        return Sequence(values, values[..., 0] > 0)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Moves a batch, which Lightning cannot do by itself for our record."""
        return batch.to(device, non_blocking=True)

    def on_train_epoch_start(self) -> None:
        """Begins to count padding anew."""
        self.frames = {"valid": 0, "padded": 0}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seeds each epoch by its number, so that a resumed run draws what it would have drawn."""
        if batch_idx == 0:
            torch.manual_seed(self.seed * 1_000_003 + self.current_epoch * 1009 + self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Computes the loss of one batch.

        Args:
            batch: The batch.
            batch_idx: Number of the batch in the epoch.

        Returns:
            The loss.

        Raises:
            FloatingPointError: The loss is no number; nothing was updated with it.
        """
        for sequence in batch.modalities.values():
            self.frames["padded"] += sequence.valid_mask.numel()
            self.frames["valid"] += int(sequence.valid_mask.sum())
        loss: Tensor = self.loss(self(batch), batch.targets)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} in epoch {self.current_epoch}, batch {batch_idx}, with "
                f"the utterances {', '.join(batch.utterance_ids[:8])}; try a smaller "
                "optimizer.lr or trainer.gradient_clip_val=1"
            )
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log("train/loss", loss, on_step=True, on_epoch=False, sync_dist=True)
        self.log("train/lr", rate, on_step=True, on_epoch=False)
        return loss

    def on_train_epoch_end(self) -> None:
        """Logs the share of frames that were padding."""
        share = 1 - self.frames["valid"] / max(1, self.frames["padded"])
        self.log("train/padding_share", share, sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        """Forgets the last epoch's outputs, the sanity check's included."""
        self.collector.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keeps the logits of one batch.

        Args:
            batch: The batch.
            batch_idx: Number of the batch.
        """
        self.collector.add(batch, self(batch))

    def on_validation_epoch_end(self) -> None:
        """Scores the validation part from the predictions of all ranks."""
        outputs = self.collector.gather()
        if outputs is not None:
            self._log_scores(outputs, "val")

    def on_test_epoch_start(self) -> None:
        """Forgets earlier outputs."""
        self.collector.reset()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Keeps the logits of one batch.

        Args:
            batch: The batch.
            batch_idx: Number of the batch.
        """
        self.collector.add(batch, self(batch))

    def on_test_epoch_end(self) -> None:
        """Writes the prediction table of the part from the process of rank zero."""
        outputs = self.collector.gather()
        if outputs is None:
            return
        if self.trainer.is_global_zero:
            self.predictions.mkdir(parents=True, exist_ok=True)
            table = self._table(outputs, self.part)
            if self.speakers is not None:
                table = table.with_speakers(self.speakers)
            table.write(self.predictions / f"{self.part}.parquet")

    def configure_optimizers(self) -> Any:
        """Builds the optimiser and its schedule, which moves in steps."""
        optimizer = self.optimizer(parameter_groups(self))
        schedule = self.scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the order of the classes beside the weights."""
        checkpoint["polymodal_classes"] = self.declared

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses weights that were trained for other classes or another order of them."""
        self.check_classes(checkpoint)

    def load_weights(self, checkpoint: dict[str, Any]) -> None:
        """Takes over the weights of a checkpoint.

        Args:
            checkpoint: As `read_checkpoint` gives it.

        Raises:
            CheckpointError: Its classes or its parameters are others.
        """
        self.check_classes(checkpoint)
        try:
            self.load_state_dict(checkpoint["state_dict"])
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit the model: {str(error).splitlines()[-1].strip()}",
                remedy="use the config that the checkpoint was trained with",
            ) from None

    def check_classes(self, checkpoint: dict[str, Any]) -> None:
        """Compares the classes of a checkpoint with those of this module.

        Args:
            checkpoint: As `read_checkpoint` gives it.

        Raises:
            CheckpointError: They differ, be it only in their order.
        """
        theirs = list(checkpoint.get("polymodal_classes", ()))
        if theirs != self.declared:
            raise CheckpointError(
                f"the checkpoint was trained for the classes {theirs}",
                expected=f"{self.declared}, in this order",
                remedy="set task.classes to the checkpoint's classes",
            )

    @property
    def declared(self) -> list[str]:
        """What each output stands for, in their order."""
        return [*self.task.classes, *self.task.values]

    def _table(self, outputs: Outputs, part: str) -> PredictionTable:
        return self.task.table(
            outputs.utterance_ids,
            outputs.logits,
            outputs.targets,
            split=part,
            fold=self.fold,
            seed=self.seed,
            run_id=self.run_id,
        )

    def _log_scores(self, outputs: Outputs, part: str) -> None:
        known = self.task.known(outputs.targets)  # a library's loss does not know ours for unknown
        with torch.no_grad():
            logits = torch.from_numpy(outputs.logits[known]).to(self.device)
            targets = torch.from_numpy(outputs.targets[known]).to(self.device)
            loss = self.loss(logits, targets)
        scores = score_table(self._table(outputs, part), self.scores)
        self.log_dict({f"{part}/loss": loss, **scores}, batch_size=1, rank_zero_only=False)
