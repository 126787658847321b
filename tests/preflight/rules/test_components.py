"""Options that a component rejects when it is built.

Those that can stand side by side are planted together and found in one pass. Where a fault comes
from a real thread, the thread is named; faults.md and ancestor.md are design notes of this project.
"""

import pytest
from tests.preflight.conftest import HEAD, MINE, TEXT, Planted, assert_found, mine, planted_faults

PLANTED = {
    "heads": Planted(
        mine(HEAD + "model:\n  num_heads: 5\nencoder:\n  text:\n    width: 30\n    num_heads: 4\n"),
        [
            # facebookresearch/detr#499, thuiar/TFR-Net#6
            ("refused option", "model.num_heads", MINE, "num_heads: 5"),
            ("refused option", "encoder.text.num_heads", MINE, "num_heads: 4"),
        ],
    ),
    "devices": Planted(
        mine(TEXT + "trainer:\n  accelerator: cpu\n  strategy: dpp\n"),
        [
            ("refused option", "trainer.strategy", MINE, "strategy: dpp"),
        ],
    ),
    "old strategy": Planted(
        mine(TEXT + "trainer:\n  strategy: dp\n"),
        [
            ("refused option", "trainer.strategy", MINE, "strategy: dp"),
        ],
    ),
    "no device": Planted(
        mine(TEXT + "trainer:\n  accelerator: gpuu\n"),
        [
            ("refused option", "trainer.accelerator", MINE, "gpuu"),
        ],
    ),
    "loss": Planted(
        mine(TEXT, "loss=mse", "scores=regression"),
        [
            ("refused option", "loss", None, "loss=mse"),
            ("refused option", "scores.ccc", "polymodal/configs/scores/regression.yaml", "ccc:"),
        ],
    ),
    "refused": Planted(
        mine(
            TEXT
            + """
optimizer:
  lr: -0.1
scheduler:
  warmup: 2.0
model:
  pooling: maximum
encoder:
  text:
    unit: words
"""
        ),
        [
            ("refused option", "optimizer.lr", MINE, "lr: -0.1"),
            ("refused option", "scheduler.warmup", MINE, "warmup: 2.0"),
            ("refused option", "model.pooling", MINE, "pooling: maximum"),
            ("refused option", "encoder.text.unit", MINE, "unit: words"),
        ],
    ),
    "modalities": Planted(
        mine(HEAD + "defaults:\n  - override /model: unimodal\n"),
        [
            ("refused option", "model", "polymodal/configs/model/unimodal.yaml", "_target_"),
        ],
    ),
    "nested": Planted(
        mine(TEXT + "seed: 1\n", "split=nested", "balance=ogm"),
        [
            ("refused option", "balance", None, "balance=ogm"),
        ],
    ),
}


@pytest.mark.parametrize(("name", "fault"), planted_faults(PLANTED))
def test_a_fault_is_found_with_its_line(checked, shape_checks_off, name, fault):
    assert_found(checked(name, PLANTED[name].project)[1], fault)
