"""Compilation is kept where it is faster, and undone where it is not."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from polymodal.errors import ConfigError
from polymodal.schemas.batch import Batch, PaddedSequence
from polymodal.training.compile_callback import CompileIfFaster

RUN = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "split.val=0.3",
    "callbacks=compiled",
    "callbacks.compile.warm_up_steps=2",
    "callbacks.compile.measured_steps=3",
    "callbacks.early_stopping=null",
    "data.max_utterances=4",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "tracker=none",
]


class Small(pl.LightningModule):
    """A model that counts its calls, with an encoder that has nothing to compile."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Linear(2, 1)
        self.encoders = torch.nn.ModuleDict({"speech": torch.nn.Identity()})

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch

    def training_step(self, batch, batch_idx):
        return self.model(batch.modalities["speech"].values).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("compiled_s", [5.0, 20.0])
def test_it_is_kept_only_where_it_is_faster(monkeypatch, compiled_s):
    calls = []

    def compile_(forward, *, dynamic):
        assert dynamic is True

        def compiled(*values):
            calls.append(values)
            return forward(*values)

        return compiled

    monkeypatch.setattr(torch, "compile", compile_)
    clock = iter([0.0, 10.0, 10.0, 10.0 + compiled_s])  # start and end of both measurements
    callback = CompileIfFaster(warm_up_steps=2, measured_steps=3, clock=clock.__next__)
    sequence = PaddedSequence(torch.ones(1, 4, 2), torch.ones(1, 4, dtype=torch.bool))
    batches = [Batch({"speech": sequence}, ("a",), torch.zeros(1))] * 15
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    module = Small()
    names = set(module.state_dict())
    trainer.fit(module, DataLoader(batches, batch_size=None))
    gain = 10.0 / compiled_s
    assert trainer.callback_metrics["train/compile_gain"] == pytest.approx(gain)
    assert trainer.callback_metrics["train/compiled"] == (gain > 1)
    assert len(calls) == (10 if gain > 1 else 5)  # of the 15 steps, 5 are before the compilation
    assert set(module.state_dict()) == names


def test_nothing_to_measure_is_rejected():
    with pytest.raises(ConfigError, match="measured_steps=0"):
        CompileIfFaster(measured_steps=0)


@pytest.mark.slow
def test_the_compiler_is_called(process, workplace):
    done = process("run", *RUN)  # a process of its own: the compiler cannot see through our checks
    assert done.returncode == 0, done.stderr
    assert "train/compile_gain" in next(workplace.glob("runs/*/metrics.jsonl")).read_text()
