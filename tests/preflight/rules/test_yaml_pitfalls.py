"""What YAML makes of a file, and files that it cannot read.

Those that can stand side by side are planted together and found in one pass. Where a fault comes
from a real thread, the thread is named; faults.md and ancestor.md are design notes of this project.
"""

import pytest
from tests.preflight.conftest import (
    HEAD,
    MINE,
    TEXT,
    Planted,
    Project,
    assert_found,
    mine,
    planted_faults,
)

PLANTED = {
    "yaml": Planted(
        mine(
            TEXT
            + """
corpus:
  _target_: polymodal.corpora.table.read_table
  root: .
  classes: [yes, no]
  label_map:
    on: joy
    1: anger
    off: anger
  where: {speaker: 12:30}
data:
  timeout_s: 2:00
  cache_mb: 0512
text:
  case: no
split:
  seed: 017
""",
        ),
        [
            # huggingface/huggingface_hub#797
            ("changed by YAML", "text.case", MINE, "case: no"),
            ("wrong type", "text.case", MINE, "case: no"),
            ("changed by YAML", "split.seed", MINE, "seed: 017"),
            # faults.md 29: labels read as booleans; rbgirshick/yacs#48
            ("changed by YAML", "corpus.classes[0]", MINE, "classes: [yes, no]"),
            ("wrong type", "corpus.classes", MINE, "classes: [yes, no]"),
            ("changed by YAML", "corpus.label_map.on", MINE, "on: joy"),
            ("changed by YAML", "corpus.label_map.off", MINE, "off: anger"),
            ("changed by YAML", "corpus.label_map.1", MINE, "1: anger"),
            ("changed by YAML", "corpus.where.speaker", MINE, "12:30"),
            ("changed by YAML", "data.timeout_s", MINE, "timeout_s: 2:00"),
            ("changed by YAML", "data.cache_mb", MINE, "cache_mb: 0512"),
        ],
    ),
    "broken": Planted(
        Project(
            {
                "configs/experiment/mine.yaml": HEAD + "trainer:\n\tmax_epochs: 3\n",
                "configs/experiment/conflict.yaml": HEAD
                + "trainer:\n<<<<<<< HEAD\n  max_epochs: 3\n"
                + "=======\n  max_epochs: 4\n>>>>>>> other\n",
                "configs/experiment/twice.yaml": HEAD + "seed: 1\nstages: [fit]\nseed: 2\n",
                "configs/experiment/open.yaml": HEAD + "stages: [fit\nseed: 1\n",
                "configs/experiment/latin.yaml": HEAD.encode()
                + "# Gef\xfchl\nseed: 1\n".encode("latin-1"),
            },
            ["experiment=mine"],
        ),
        [
            ("tab", "", MINE, "\tmax_epochs"),
            ("merge conflict", "", "configs/experiment/conflict.yaml", "<<<<<<<"),
            ("key twice", "seed", "configs/experiment/twice.yaml", "seed: 2"),
            ("broken YAML", "", "configs/experiment/open.yaml", "seed: 1"),
            ("unreadable file", "", "configs/experiment/latin.yaml", "Gef"),
        ],
    ),
}


@pytest.mark.parametrize(("name", "fault"), planted_faults(PLANTED))
def test_a_fault_is_found_with_its_line(checked, shape_checks_off, name, fault):
    assert_found(checked(name, PLANTED[name].project)[1], fault)
