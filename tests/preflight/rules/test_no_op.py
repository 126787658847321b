"""Options that change nothing.

Those that can stand side by side are planted together and found in one pass. Where a fault comes
from a real thread, the thread is named; faults.md and ancestor.md are design notes of this project.
"""

import pytest
from tests.preflight.conftest import PACKAGE, TEXT, Planted, Project, assert_found, planted_faults

PLANTED = {
    "effects": Planted(
        Project(
            {
                "configs/experiment/mine.yaml": TEXT + "encoder:\n  text:\n    dropout: 0.2\n",
                "configs/model/mine.yaml": "_target_: mine.heads.Narrow\nwidth: 4\nunused: 3\n",
                **PACKAGE,
            },
            ["experiment=mine", "model=mine", "corpus.num_speakers=6", "corpus.num_utterances=8"],
            whole=True,
            effects=True,
        ),
        [
            # NVIDIA-NeMo/Speech#9824: an option without effect
            ("no effect", "model.unused", "configs/model/mine.yaml", "unused: 3"),
        ],
    ),
}


@pytest.mark.parametrize(("name", "fault"), planted_faults(PLANTED))
def test_a_fault_is_found_with_its_line(checked, shape_checks_off, name, fault):
    report = checked(name, PLANTED[name].project)[1]
    assert_found(report, fault)
    assert "effects: 3 of your options were changed one by one; without effect: 1" in report.notes
