"""The one Lightning module for every model."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_
from torch.optim import Optimizer

from polymodal.encoders.base import Encoder
from polymodal.errors import CheckpointError, ConfigError
from polymodal.evaluation.classification import Score
from polymodal.evaluation.score import score_table
from polymodal.schemas.batch import Batch, PaddedSequence
from polymodal.schemas.predictions import PredictionTable
from polymodal.training.modality_balancing import FUSED, ModalityBalancing, NoBalance
from polymodal.training.nan_guard import NonFiniteGuard, parameters_of, total_norm
from polymodal.training.optimizers import build_optimizer, parameter_groups
from polymodal.training.prediction_writer import Outputs, PredictionCollector
from polymodal.training.tasks import Task
from polymodal.training.unimodal import WeightedMean, measure, own_parameters, unimodal_outputs


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
        balance: What the modalities' own losses do to the training; None for nothing.
        seed: Seed of every epoch's random numbers.
        fold: Number of the fold.
        run_id: The run, for the prediction tables.
        speakers: Columns `utterance_id` and `speaker`, for the prediction tables; None for none.

    Attributes:
        withheld: Modalities that are treated as absent; their encoders are not computed.
        num_trained: Number of utterances that this process has trained on, repeated ones included.
        latest: What was last logged within an epoch, for those who show it.
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
        balance: ModalityBalancing | None = None,
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
        self.part, self.predictions = "test", Path()
        self.withheld: frozenset[str] = frozenset()
        self.balance = balance or NoBalance()
        self.heads = self.balance.heads(self.widths, task.num_outputs)
        self.own: dict[str, list[nn.Parameter]] = {}
        self.trained, self.confidences = WeightedMean(), WeightedMean()
        self.validated: dict[str, float] = {}
        self.frames = {"valid": 0, "padded": 0}
        self.num_trained = 0
        self.latest: dict[str, float] = {}
        self.guard = NonFiniteGuard(self.named_parameters)

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute."""
        # Lightning notes its hook 50 times a step, and modules are slow to set anything.
        if name == "_current_fx_name":
            vars(self)[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, batch: Batch) -> Float[Tensor, "batch output"]:
        """Computes the outputs for a batch: logits, values, or both.

        Args:
            batch: The batch.

        Returns:
            Outputs `[batch, output]`.
        """
        return self.fuse(self.encode(batch))

    def encode(self, batch: Batch) -> dict[str, PaddedSequence]:
        """Encodes the modalities of a batch; those it lacks, or that are withheld, are absent.

        Args:
            batch: The batch.

        Returns:
            Modality to the output of its encoder.
        """
        return {
            name: encoder(batch.modalities[name])
            if name in batch.modalities and name not in self.withheld
            else self._absent(len(batch), self.widths[name])
            for name, encoder in self.encoders.items()
        }

    def fuse(
        self, encoded: Mapping[str, PaddedSequence], withheld: Collection[str] = ()
    ) -> Float[Tensor, "batch output"]:
        """Computes the outputs for what `encode` has returned.

        Args:
            encoded: Modality to the output of its encoder.
            withheld: Modalities to treat as absent.

        Returns:
            Outputs `[batch, output]`.
        """
        shown = {
            name: self._absent(len(one.valid_mask), self.widths[name]) if name in withheld else one
            for name, one in encoded.items()
        }
        logits: Tensor = self.model(shown)
        return logits.float()  # also under bfloat16, for the loss and the prediction tables

    def _absent(self, num_utterances: int, width: int) -> PaddedSequence:
        """What an encoder would put out for a batch that lacks its modality."""
        values = torch.zeros(num_utterances, 1, width, device=self.device)
        return PaddedSequence(values, values[..., 0] > 0)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Moves a batch, which Lightning cannot do by itself for our record."""
        if self.trainer.training:  # counted here: a look at a mask on a GPU would wait for it
            self.num_trained += len(batch)
            for sequence in batch.modalities.values():
                self.frames["padded"] += sequence.valid_mask.numel()
                self.frames["valid"] += int(np.count_nonzero(sequence.valid_mask.numpy()))
        return batch if device.type == "cpu" else batch.to(device, non_blocking=True)

    def on_fit_start(self) -> None:
        """Finds what belongs to one modality alone.

        Raises:
            ConfigError: The balance needs validation losses, and there are none.
        """
        if self.balance.validates and not self.trainer.enable_validation:
            raise ConfigError(
                f"balance: {type(self.balance).__name__} weighs losses by validation, of which "
                "there is none",
                hint="set split.val above 0, or use balance=auxiliary",
            )
        self.own = own_parameters(self.encoders, self.model)

    def on_train_epoch_start(self) -> None:
        """Begins to count padding and losses anew."""
        self.frames = {"valid": 0, "padded": 0}
        self.trained, self.confidences, self.validated = WeightedMean(), WeightedMean(), {}

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
        """
        encoded = self.encode(batch)
        fused: Tensor = self.loss(self.fuse(encoded), batch.targets)
        loss = self._balanced(fused, encoded, batch)
        where = f"epoch {self.current_epoch}, batch {batch_idx}"
        self.guard.record(loss, batch.utterance_ids, where)
        self._log_step(fused, batch_idx)
        return loss

    def _log_step(self, loss: Tensor, batch_idx: int) -> None:
        """Writes every so many updates and at the end of an epoch, when callbacks can read it, too.

        In between, Lightning's own `log` would take many times as long as what it writes.
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
        """The highest and, where it is another one, the lowest learning rate."""
        rates = [group["lr"] for group in self.trainer.optimizers[0].param_groups]
        lowest = {"train/lr_lowest": rates[-1]} if rates[-1] != rates[0] else {}
        return {"train/lr": rates[0], **lowest}  # the groups are sorted by their rate

    def _balanced(
        self, fused: Tensor, encoded: Mapping[str, PaddedSequence], batch: Batch
    ) -> Tensor:
        """What is minimised, as the balance puts it together."""
        measured = measure(
            self.heads, encoded, batch.targets, self.loss, detached=self.balance.modulates
        )
        for name, one in measured.items():
            self.trained.update(name, one.loss, one.num)
            self.confidences.update(name, one.confidence, one.num)
        if measured:
            self.trained.update(FUSED, fused, len(batch))
        return self.balance.loss(fused, measured)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Lets the balance change the gradients, which are equal on all ranks by now."""
        if self.balance.modulates:
            seed = self.seed * 1_000_003 + self.global_step
            self.balance.scale_gradients(self.own, self.confidences.compute(self._over_ranks), seed)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the gradient, after a look at it and at the loss; its norm is logged as it was.

        Raises:
            FloatingPointError: One of them is no number; nothing was updated with it.
        """
        norm = total_norm(self.trainer, optimizer)
        self.guard.check(norm)
        if norm is not None and (self.trainer.is_last_batch or self._is_due()):
            self._write({"train/grad_norm": norm.item()})
        if norm is None or not gradient_clip_val or gradient_clip_algorithm not in (None, "norm"):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            clip_grads_with_norm_(parameters_of(optimizer), gradient_clip_val, norm)

    def _over_ranks(self, sums: Tensor) -> Tensor:
        added: Tensor = self.trainer.strategy.reduce(sums, reduce_op="sum")
        return added

    def on_train_epoch_end(self) -> None:
        """Logs the share of frames that were padding, and how the modalities do alone."""
        share = 1 - self.frames["valid"] / max(1, self.frames["padded"])
        self.log("train/padding_share", share, sync_dist=True)
        trained = self.trained.compute(self._over_ranks)
        self.balance.on_epoch_end(trained, self.validated)
        alone = {f"loss_{name}": loss for name, loss in trained.items() if name != FUSED}
        shown = {**alone, **self.balance.log_dict()}
        self.log_dict({f"train/{name}": one for name, one in shown.items()}, sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        """Forgets the last epoch's outputs, the sanity check's included."""
        self.collector.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keeps the logits of one batch, those of the unimodal heads beside the fused ones.

        Args:
            batch: The batch.
            batch_idx: Number of the batch.
        """
        encoded = self.encode(batch)
        outputs = [self.fuse(encoded), *unimodal_outputs(self.heads, encoded)]
        self.collector.add(batch, torch.cat(outputs, dim=1))

    def on_validation_epoch_end(self) -> None:
        """Scores the validation part from the predictions of all ranks."""
        outputs = self.collector.gather()
        if outputs is None:
            return
        each = np.split(outputs.logits, 1 + len(self.heads), axis=1)
        self._log_scores(replace(outputs, logits=each[0]), "val")
        if self.heads:
            said = dict(zip([FUSED, *self.heads], each, strict=True))
            self._validate_each(said, outputs.targets)

    def _validate_each(self, said: Mapping[str, np.ndarray], targets: np.ndarray) -> None:
        """Keeps the loss of the fused model and of each head, over the rows that it has seen."""
        for name, logits in said.items():
            rows = self.task.has_target(targets) & ~np.isnan(logits).any(axis=1)
            if rows.any():
                self.validated[name] = float(self._loss_of(logits[rows], targets[rows]))
        alone = {name: self.validated[name] for name in self.heads if name in self.validated}
        self.log_dict({f"val/loss_{name}": loss for name, loss in alone.items()}, sync_dist=True)

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
            table = self.table(outputs, self.part)
            table.write(self.predictions / f"{self.part}.parquet")

    def configure_optimizers(self) -> Any:
        """Builds the optimiser and its schedule, which moves in steps."""
        fused = self.device.type == "cuda" and self.trainer.precision != "16-mixed"
        optimizer = build_optimizer(self.optimizer, parameter_groups(self), fused=fused)
        schedule = self.scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the order of the classes and the state of the balance beside the weights."""
        checkpoint["polymodal_classes"] = self.declared
        if state := self.balance.state_dict():
            checkpoint["polymodal_balance"] = state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses weights that were trained for other classes or another order of them."""
        self.check_classes(checkpoint)
        if state := checkpoint.get("polymodal_balance"):
            self.balance.load_state_dict(state)

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
                hint="use the config that the checkpoint was trained with",
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
                hint="set task.classes to the checkpoint's classes",
            )

    @property
    def declared(self) -> list[str]:
        """What each output stands for, in their order."""
        return [*self.task.classes, *self.task.values]

    def table(self, outputs: Outputs, part: str) -> PredictionTable:
        """Fills a prediction table.

        Args:
            outputs: What was said, and what is true.
            part: Name of the part of the data.

        Returns:
            The table, with the speakers where they are known.
        """
        table = self.task.table(
            outputs.utterance_ids,
            outputs.logits,
            outputs.targets,
            split=part,
            fold=self.fold,
            seed=self.seed,
            run_id=self.run_id,
        )
        return table if self.speakers is None else table.with_speakers(self.speakers)

    def _log_scores(self, outputs: Outputs, part: str) -> None:
        known = self.task.has_target(
            outputs.targets
        )  # a library's loss does not know ours for unknown
        loss = self._loss_of(outputs.logits[known], outputs.targets[known])
        scores = score_table(self.table(outputs, part), self.scores)
        self.log_dict({f"{part}/loss": loss, **scores}, batch_size=1, rank_zero_only=False)

    @torch.no_grad()
    def _loss_of(self, logits: np.ndarray, targets: np.ndarray) -> Tensor:
        loss: Tensor = self.loss(
            torch.from_numpy(logits).to(self.device), torch.from_numpy(targets).to(self.device)
        )
        return loss
