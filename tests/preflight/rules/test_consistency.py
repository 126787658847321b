"""Options that contradict one another, or have no effect.

Those that can stand side by side are planted together and found in one pass. Where a fault comes
from a real thread, the thread is named; faults.md and ancestor.md are design notes of this project.
"""

import pytest
from tests.preflight.conftest import HEAD, MINE, TEXT, Planted, assert_found, mine, planted_faults

PLANTED = {
    "monitors": Planted(
        mine(
            TEXT
            + """
callbacks:
  early_stopping:
    monitor: val/uarr
    patience: 40
  checkpoint:
    monitor: val_MulticlassF1Score
  other:
    _target_: pytorch_lightning.callbacks.EarlyStopping
    monitor: val/loss
    mode: max
trainer:
  check_val_every_n_epoch: 50
  limit_val_batches: 0
  min_epochs: 90
alert:
  above: {val/uaar: 0.5}
"""
        ),
        [
            # Lightning-AI/pytorch-lightning#524, #18259; NASA-IMPACT/Prithvi-EO-2.0#20
            ("unknown monitor", "callbacks.early_stopping.monitor", MINE, "val/uarr"),
            # ancestor.md: val_F1Score became val_MulticlassF1Score
            ("unknown monitor", "callbacks.checkpoint.monitor", MINE, "val_Multiclass"),
            # mila-iqia/cookiecutter-pyml#119
            ("wrong mode", "callbacks.other.mode", MINE, "mode: max"),
            ("no effect", "callbacks.early_stopping.patience", MINE, "patience: 40"),
            ("never validated", "trainer.check_val_every_n_epoch", MINE, "check_val"),
            ("never validated", "trainer.limit_val_batches", MINE, "limit_val_batches"),
            ("no effect", "trainer.min_epochs", MINE, "min_epochs"),
            ("unknown score", "alert.above.val/uaar", MINE, "val/uaar"),
        ],
    ),
    "lora": Planted(
        mine(
            HEAD
            + """
defaults:
  - override /encoder: [hubert, klue_roberta]
encoder:
  speech:
    freeze: all
    lora: {r: 8}
  text:
    freeze: all
    layer_decay: 0.9
task:
  monitor: f1
trainer:
  accelerator: cpu
  strategy: fsdp
  precision: 17-mixed
"""
        ),
        [
            # amanteur/SCNet-PyTorch#2
            ("unknown monitor", "callbacks.checkpoint.monitor", MINE, "monitor: f1"),
            ("frozen and lora", "encoder.speech.freeze", MINE, "freeze: all"),
            ("no effect", "encoder.text.layer_decay", MINE, "layer_decay"),
            ("strategy", "trainer.strategy", MINE, "strategy: fsdp"),
            ("wrong type", "trainer.precision", MINE, "17-mixed"),
        ],
    ),
    "training": Planted(
        mine(
            TEXT
            + """
trainer:
  fast_dev_run: true
  limit_train_batches: 0
  enable_checkpointing: false
  strategy: ddp
split:
  val: 0
callbacks:
  checkpoint:
    filename: epoch{epoch}
data:
  timeout_s: 60
  channels: first
selection:
  score: uar
test_subsets: true
evaluate_on: val
"""
        ),
        [
            ("no effect", "trainer.strategy", MINE, "strategy: ddp"),
            ("no checkpoint", "trainer.fast_dev_run", MINE, "fast_dev_run"),
            ("no training", "trainer.limit_train_batches", MINE, "limit_train"),
            ("no checkpoint", "trainer.enable_checkpointing", MINE, "enable_check"),
            ("no effect", "data.timeout_s", MINE, "timeout_s"),
            ("no effect", "data.channels", MINE, "channels"),
            ("no effect", "selection.score", MINE, "score: uar"),
            ("no effect", "test_subsets", MINE, "test_subsets"),
            ("no effect", "evaluate_on", MINE, "evaluate_on: val"),
        ],
    ),
    "no checkpoint": Planted(
        mine(TEXT + "callbacks:\n  checkpoint: null\n  last: null\n"),
        [
            ("no checkpoint", "callbacks", MINE, "callbacks:"),
        ],
    ),
    "stages": Planted(
        mine(TEXT + "stages: [test]\n"),
        [
            ("nothing trained", "stages", MINE, "stages:"),
        ],
    ),
    "sweep": Planted(
        mine(
            TEXT + "selection:\n  grid:\n    optimizer.lrr: [0.1]\n    data.batch_s: [8]\n",
        ),
        [
            # ashleve/lightning-hydra-template#535: the sweep is found wrong when it runs
            ("sweep space", "selection.grid.optimizer.lrr", MINE, "optimizer.lrr"),
            ("sweep space", "selection.grid.data.batch_s", MINE, "data.batch_s"),
        ],
    ),
    "sweep values": Planted(
        mine(TEXT + "selection:\n  grid: {model.dropout: [0.1, much]}\n", "split=nested"),
        [
            ("sweep space", "selection.grid.model.dropout", MINE, "model.dropout"),
        ],
    ),
    "sweep lists": Planted(
        mine(TEXT + "selection:\n  grid:\n    optimizer.lr: 0.1\n", "split=nested"),
        [
            ("sweep space", "selection.grid", MINE, "grid:"),
        ],
    ),
}


@pytest.mark.parametrize(("name", "fault"), planted_faults(PLANTED))
def test_a_fault_is_found_with_its_line(checked, shape_checks_off, name, fault):
    assert_found(checked(name, PLANTED[name].project)[1], fault)
