"""Compilation of what is trained, kept only where it has been measured to help."""

import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from polymodal.errors import ConfigError
from polymodal.schemas.batch import Batch


class CompileIfFaster(Callback):
    """Measures some steps, compiles model and encoders, measures again, and keeps the faster way.

    Speed is padded frames a second, as steps differ in size. The gain is logged as
    `train/compile_gain`, and as `train/compiled` whether it was kept (1) or left off (0); where
    nothing can be compiled, training goes on as it was. Compiled kernels round otherwise: a run
    that is to be repeated bit for bit should not use this.

    Args:
        warm_up_steps: Steps that are let pass before each measurement; the compiler works in them.
        measured_steps: Steps of each measurement.
        least_gain: How many times as fast the compiled way has to be.
        dynamic: Whether one kernel is to serve all lengths; otherwise each length is compiled.

    Raises:
        ConfigError: A number of steps is less than 1, or `least_gain` less than 1.
    """

    def __init__(
        self,
        warm_up_steps: int = 10,
        measured_steps: int = 20,
        least_gain: float = 1.05,
        dynamic: bool | None = True,
    ) -> None:
        if min(warm_up_steps, measured_steps) < 1 or least_gain < 1:
            raise ConfigError(
                f"warm_up_steps={warm_up_steps}, measured_steps={measured_steps}, "
                f"least_gain={least_gain}",
                expected="1 or more of each",
            )
        self.warm_up_steps, self.measured_steps = warm_up_steps, measured_steps
        self.least_gain, self.dynamic = least_gain, dynamic
        self.speeds: list[float] = []
        self._passed, self._frames, self._began = 0, 0, 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Starts the clock when the warm-up is over."""
        if len(self.speeds) < 2 and self._passed == self.warm_up_steps:
            self._frames, self._began = 0, _now(pl_module)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Counts a step; at the end of a measurement compiles, or decides."""
        if len(self.speeds) == 2:
            return
        self._passed += 1
        self._frames += sum(one.valid_mask.numel() for one in batch.modalities.values())
        if self._passed < self.warm_up_steps + self.measured_steps:
            return
        self.speeds.append(self._frames / (_now(pl_module) - self._began))
        self._passed = 0
        if len(self.speeds) == 1:
            self._compile(pl_module)
        else:
            self._decide(trainer, pl_module)

    def _compile(self, pl_module: LightningModule) -> None:
        torch._dynamo.config.suppress_errors = True
        for part in _parts(pl_module):
            part.compile(dynamic=self.dynamic)

    def _decide(self, trainer: Trainer, pl_module: LightningModule) -> None:
        eager, compiled = self.speeds
        gain = float(trainer.strategy.broadcast(compiled / eager))
        pl_module.log("train/compile_gain", gain, batch_size=1)
        kept = gain >= self.least_gain
        pl_module.log("train/compiled", float(kept), batch_size=1)
        if not kept:
            for part in _parts(pl_module):
                part._compiled_call_impl = None


def _parts(pl_module: Any) -> list[nn.Module]:
    """The model, and the encoders that compute something."""
    parts = [pl_module.model, *pl_module.encoders.values()]
    return [one for one in parts if any(True for _ in one.parameters())]


def _now(pl_module: LightningModule) -> float:
    if pl_module.device.type == "cuda":
        torch.cuda.synchronize(pl_module.device)
    return time.perf_counter()
