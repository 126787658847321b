"""The Lightning module for training with modality balancing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.optim import Optimizer

from polymodal.errors import ConfigError
from polymodal.schemas.batch import Batch, PaddedSequence
from polymodal.training.modality_balancing import FUSED, ModalityBalancing
from polymodal.training.module import TrainingModule
from polymodal.training.prediction_writer import Outputs
from polymodal.training.unimodal import (
    WeightedMean,
    measure,
    modality_parameters,
    unimodal_outputs,
)


class BalancedModule(TrainingModule):
    """A training module with a head for each modality, on whose losses a balancing acts.

    The heads leave the fused model, its start and its outputs as they are.

    Args:
        args: As `TrainingModule`.
        balance: The balancing.
        options: As `TrainingModule`.
    """

    def __init__(self, *args: Any, balance: ModalityBalancing, **options: Any) -> None:
        super().__init__(*args, **options)
        self.balance = balance
        self.heads = balance.heads(self.widths, self.task.num_outputs)
        self.modality_parameters: dict[str, list[nn.Parameter]] = {}
        self.trained, self.confidences = WeightedMean(), WeightedMean()
        self.validated: dict[str, float] = {}

    def on_fit_start(self) -> None:
        """Find the parameters of each modality.

        Raises:
            ConfigError: The balancing needs validation losses, and there are none.
        """
        super().on_fit_start()
        if self.balance.validates and not self.trainer.enable_validation:
            raise ConfigError(
                f"balance: {type(self.balance).__name__} needs validation losses, but there is no "
                "validation split",
                hint="set split.val above 0, or use balance=auxiliary",
            )
        self.modality_parameters = modality_parameters(self.encoders, self.model)

    def on_train_epoch_start(self) -> None:
        """Reset the means of the losses."""
        super().on_train_epoch_start()
        self.trained, self.confidences, self.validated = WeightedMean(), WeightedMean(), {}

    def total_loss(
        self, fused: Tensor, encoded: Mapping[str, PaddedSequence], batch: Batch
    ) -> Tensor:
        """Return the combination of fused and unimodal losses."""
        unimodal = measure(
            self.heads, encoded, batch.targets, self.loss, detached=self.balance.modulates
        )
        for name, output in unimodal.items():
            self.trained.update(name, output.loss, output.num)
            self.confidences.update(name, output.confidence, output.num)
        self.trained.update(FUSED, fused, len(batch))
        return self.balance.loss(fused, unimodal)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Let the balancing change the gradients, which are equal on all ranks by now."""
        if self.balance.modulates:
            seed = self.seed * 1_000_003 + self.global_step
            confidences = self.confidences.compute(self._sum_over_ranks)
            self.balance.scale_gradients(self.modality_parameters, confidences, seed)

    def on_train_epoch_end(self) -> None:
        """Update the balancing, and log the loss of each modality."""
        super().on_train_epoch_end()
        trained = self.trained.compute(self._sum_over_ranks)
        self.balance.on_epoch_end(trained, self.validated)
        unimodal = {f"loss_{name}": loss for name, loss in trained.items() if name != FUSED}
        logged = {**unimodal, **self.balance.log_dict()}
        self.log_dict({f"train/{name}": value for name, value in logged.items()}, sync_dist=True)

    def validation_outputs(
        self, encoded: Mapping[str, PaddedSequence]
    ) -> Float[Tensor, "batch output"]:
        """Return the fused outputs, followed by those of each head."""
        outputs = [super().validation_outputs(encoded), *unimodal_outputs(self.heads, encoded)]
        return torch.cat(outputs, dim=1)

    def score_validation(self, outputs: Outputs) -> None:
        """Log the scores of the fused model and the loss of each head on its utterances."""
        fused, *unimodal = np.split(outputs.logits, 1 + len(self.heads), axis=1)
        super().score_validation(replace(outputs, logits=fused))
        logits = dict(zip([FUSED, *self.heads], [fused, *unimodal], strict=True))
        self._validate_heads(logits, outputs.targets)

    def _validate_heads(
        self, logits: Mapping[str, np.ndarray], targets: Shaped[np.ndarray, "utterance ..."]
    ) -> None:
        for name, values in logits.items():
            rows = self.task.has_target(targets) & ~np.isnan(values).any(axis=1)
            if rows.any():
                self.validated[name] = float(self._mean_loss(values[rows], targets[rows]))
        losses = {name: self.validated[name] for name in self.heads if name in self.validated}
        self.log_dict({f"val/loss_{name}": loss for name, loss in losses.items()}, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the balancing."""
        super().on_save_checkpoint(checkpoint)
        if state := self.balance.state_dict():
            checkpoint["polymodal_balance"] = state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of the balancing."""
        super().on_load_checkpoint(checkpoint)
        if state := checkpoint.get("polymodal_balance"):
            self.balance.load_state_dict(state)
