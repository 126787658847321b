"""Models that fail on a batch of dummies.

Those that can stand side by side are planted together and found in one pass. Where a fault comes
from a real thread, the thread is named; faults.md and ancestor.md are design notes of this project.
"""

import pytest
from tests.preflight.conftest import PACKAGE, TEXT, Planted, Project, assert_found, planted_faults

PLANTED = {
    "idle": Planted(
        Project(
            {
                "configs/experiment/mine.yaml": TEXT,
                "configs/model/mine.yaml": "_target_: mine.heads.Idle\nwidth: 4\n",
                **PACKAGE,
            },
            ["experiment=mine", "model=mine", "corpus.num_speakers=6", "corpus.num_utterances=8"],
            whole=True,
        ),
        [
            # clovaai/donut#231: parameters that nothing uses
            ("no gradient", "model", None, "model=mine"),
        ],
    ),
    "infinite": Planted(
        Project(
            {"configs/model/mine.yaml": "_target_: mine.heads.Infinite\nwidth: 4\n", **PACKAGE},
            ["model=mine", "encoder=bytes", "corpus.num_speakers=6", "corpus.num_utterances=8"],
            whole=True,
        ),
        [
            # faults.md 15
            ("dry run", "model", None, "model=mine"),
        ],
    ),
    "crooked": Planted(
        Project(
            {
                "configs/model/mine.yaml": "# shapes\n_target_: mine.heads.Crooked\nwidth: 4\n",
                **PACKAGE,
            },
            ["model=mine", "encoder=bytes", "corpus.num_speakers=6", "corpus.num_utterances=8"],
            whole=True,
        ),
        [
            # hydra-ecosystem/hydra#3203
            ("dry run", "model", None, "model=mine"),
        ],
    ),
}


@pytest.mark.parametrize(("name", "fault"), planted_faults(PLANTED))
def test_a_fault_is_found_with_its_line(checked, shape_checks_off, name, fault):
    assert_found(checked(name, PLANTED[name].project)[1], fault)
