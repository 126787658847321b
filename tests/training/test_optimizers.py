"""The fused optimiser: taken where it may be, and clipped before all the same."""

from functools import partial

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from polymodal.training.optimizers import build_optimizer, parameter_groups


@pytest.mark.parametrize(
    ("factory", "fused", "wanted"),
    [
        (partial(torch.optim.AdamW, lr=0.1), True, True),
        (partial(torch.optim.AdamW, lr=0.1), False, None),
        (partial(torch.optim.AdamW, lr=0.1, fused=False), True, False),
        (partial(torch.optim.AdamW, lr=0.1, foreach=True), True, None),
        (partial(torch.optim.LBFGS, lr=0.1), True, None),
    ],
)
def test_it_is_taken_where_nothing_else_is_asked_for(factory, fused, wanted):
    parameters = [{"params": list(torch.nn.Linear(2, 3).parameters())}]
    assert build_optimizer(factory, parameters, fused=fused).defaults.get("fused") is wanted


class Steep(LightningModule):
    """A loss whose gradient is far longer than 1."""

    def __init__(self):
        super().__init__()
        self.layer, self.lengths = torch.nn.Linear(2, 1, bias=False), []

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).sum() * 1000

    def on_before_zero_grad(self, optimizer):
        if self.layer.weight.grad is not None:
            self.lengths.append(float(self.layer.weight.grad.norm()))

    def configure_optimizers(self):
        return build_optimizer(torch.optim.AdamW, parameter_groups(self), fused=True)


def test_gradients_are_clipped_before_it_under_bfloat16():
    """Lightning refuses this for any fused optimiser, though nothing is scaled under bfloat16."""
    module = Steep()
    trainer = Trainer(
        accelerator="cpu",
        precision="bf16-mixed",
        max_steps=3,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2))
    assert module.lengths
    assert max(module.lengths) == pytest.approx(1.0, abs=0.01)
