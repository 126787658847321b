"""Choices and overrides that cannot be composed.

Those that can stand side by side are planted together and found in one pass. Where a fault comes
from a real thread, the thread is named; faults.md and ancestor.md are design notes of this project.
"""

import pytest
from tests.preflight.conftest import (
    HEAD,
    MINE,
    Planted,
    Project,
    assert_found,
    mine,
    planted_faults,
)

PLANTED = {
    "default": Planted(
        mine(HEAD + "defaults:\n  - override /model: unimodl\n"),
        [
            ("composition", "defaults", MINE, "unimodl"),
        ],
    ),
    "group": Planted(
        mine(HEAD + "defaults:\n  - override /modle: unimodal\n"),
        [
            ("composition", "defaults", MINE, "modle"),
        ],
    ),
    "overrides": Planted(
        Project(
            overrides=[
                "model=unimodl",
                "trainer.max_epoch=3",
                "+model.widht=3",
                "seed=one",
                "optimizer.lr=fast",
            ]
        ),
        [
            # Lightning-AI/pytorch-lightning#17533: what the command line says
            ("unusable override", "model", None, "model=unimodl"),
            ("unusable override", "trainer.max_epoch", None, "trainer.max_epoch=3"),
            ("unknown option", "model.widht", None, "+model.widht=3"),
            ("wrong type", "seed", None, "seed=one"),
            ("wrong type", "optimizer.lr", None, "optimizer.lr=fast"),
        ],
    ),
}


@pytest.mark.parametrize(("name", "fault"), planted_faults(PLANTED))
def test_a_fault_is_found_with_its_line(checked, shape_checks_off, name, fault):
    assert_found(checked(name, PLANTED[name].project)[1], fault)
