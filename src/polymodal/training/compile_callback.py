"""Compile the module, and keep the compiled one only if it is measured to be faster."""

import time
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from polymodal.errors import ConfigError
from polymodal.schemas.batch import Batch


class CompileIfFaster(Callback):
    """Measure some steps, compile model and encoders, measure again, and keep the faster way.

    Speed is padded frames per second, as steps differ in size. The gain is logged as
    `train/compile_gain`, and whether compilation is kept as `train/compiled`; what cannot be
    compiled is trained uncompiled. Compiled kernels round differently: a run that is to be repeated
    bit for bit should not use this.

    Args:
        warm_up_steps: Steps before each measurement; compilation happens in them.
        measured_steps: Steps of each measurement.
        min_gain: Ratio of the speeds from which compilation is kept.
        dynamic: Whether one kernel serves all lengths; otherwise each length is compiled.
        clock: Returns seconds.

    Raises:
        ConfigError: A number of steps, or `min_gain`, is less than 1.
    """

    def __init__(
        self,
        warm_up_steps: int = 10,
        measured_steps: int = 20,
        min_gain: float = 1.05,
        dynamic: bool | None = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if min(warm_up_steps, measured_steps) < 1 or min_gain < 1:
            raise ConfigError(
                f"warm_up_steps={warm_up_steps}, measured_steps={measured_steps}, "
                f"min_gain={min_gain}",
                expected="1 or more of each",
            )
        self.warm_up_steps, self.measured_steps = warm_up_steps, measured_steps
        self.min_gain, self.dynamic, self.clock = min_gain, dynamic, clock
        self.speeds: list[float] = []
        self._num_steps, self._num_frames, self._start_s = 0, 0, 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Start the clock when the warm-up is over."""
        if len(self.speeds) < 2 and self._num_steps == self.warm_up_steps:
            self._num_frames, self._start_s = 0, self._now(pl_module)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count a step; compile after the first measurement, and decide after the second."""
        if len(self.speeds) == 2:
            return
        self._num_steps += 1
        self._num_frames += sum(x.valid_mask.numel() for x in batch.modalities.values())
        if self._num_steps < self.warm_up_steps + self.measured_steps:
            return
        self.speeds.append(self._num_frames / (self._now(pl_module) - self._start_s))
        self._num_steps = 0
        if len(self.speeds) == 1:
            torch._dynamo.config.suppress_errors = True  # run uncompiled what cannot be compiled
            for module in _trained_modules(pl_module):
                module.forward = torch.compile(module.forward, dynamic=self.dynamic)
        else:
            self._decide(trainer, pl_module)

    def _decide(self, trainer: Trainer, pl_module: LightningModule) -> None:
        eager, compiled = self.speeds
        gain = float(trainer.strategy.broadcast(compiled / eager))
        pl_module.log("train/compile_gain", gain, batch_size=1)
        is_kept = gain >= self.min_gain
        pl_module.log("train/compiled", float(is_kept), batch_size=1)
        if not is_kept:
            for module in _trained_modules(pl_module):
                del module.forward  # the method of the class is used again

    def _now(self, pl_module: LightningModule) -> float:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        return self.clock()


def _trained_modules(pl_module: Any) -> list[nn.Module]:
    """The model, and the encoders that compute something."""
    modules = [pl_module.model, *pl_module.encoders.values()]
    return [module for module in modules if any(True for _ in module.parameters())]
