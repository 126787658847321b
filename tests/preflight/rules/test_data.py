"""What rows, folds and files say against an experiment.

Those that can stand side by side are planted together and found in one pass. Where a fault comes
from a real thread, the thread is named; faults.md and ancestor.md are design notes of this project.
"""

import pytest
from tests.preflight.conftest import (
    HEAD,
    MINE,
    PACKAGE,
    ROWS,
    TABLE,
    Planted,
    Project,
    assert_found,
    planted_faults,
)

PLANTED = {
    "labels": Planted(
        Project(
            {
                "configs/experiment/mine.yaml": HEAD
                + "task:\n  classes: [joy, angry]\ndata:\n  batch_s: 0.5\n"
            },
            [*TABLE, "corpus.classes=null"],
            whole=True,
            rows=ROWS,
        ),
        [
            ("unknown label", "task.classes", MINE, "classes: [joy, angry]"),
            ("budget", "data.batch_s", MINE, "batch_s: 0.5"),
        ],
    ),
    "classes": Planted(
        Project(
            {"configs/experiment/mine.yaml": HEAD + "seed: 1\n"},
            [*TABLE, "corpus.classes=[joy,anger,fear]"],
            whole=True,
            rows=ROWS,
        ),
        [
            # faults.md 33: a class that nobody has
            ("empty class", "task.classes", None, "corpus.classes=[joy,anger,fear]"),
        ],
    ),
    "fold": Planted(
        Project(
            {"configs/experiment/mine.yaml": HEAD + "seed: 1\n"},
            [*TABLE, "split=leave_one_out"],
            whole=True,
            rows=[
                (name, speaker, "anger" if speaker == "s4" else "joy") for name, speaker, _ in ROWS
            ],
        ),
        [
            ("empty class", "split", None, "split=leave_one_out"),
        ],
    ),
    "speakers": Planted(
        Project(
            {"configs/experiment/mine.yaml": HEAD + "split:\n  speaker_dependent: false\n"},
            [*TABLE, "split=random"],
            whole=True,
            rows=ROWS,
        ),
        [
            # faults.md 31; speechbrain/speechbrain#1415
            # katerynaCh/multimodal-emotion-recognition#10
            ("data", "split.speaker_dependent", MINE, "speaker_dependent: false"),
        ],
    ),
    "confound": Planted(
        Project(
            {"configs/experiment/mine.yaml": HEAD + "seed: 1\n"},
            [*TABLE, "split=random"],
            whole=True,
            # Each of eight speakers has one emotion.
            rows=[(f"u{row}", f"s{row % 8}", ("joy", "anger")[row % 2]) for row in range(64)],
        ),
        [
            ("confound", "split", None, "split=random"),
        ],
    ),
    "column": Planted(
        Project(
            {"configs/experiment/mine.yaml": HEAD + "split:\n  groups: [sentence]\n"},
            TABLE,
            whole=True,
            rows=ROWS,
        ),
        [
            ("data", "split.groups", MINE, "groups: [sentence]"),
        ],
    ),
    "files": Planted(
        Project(
            {
                "configs/experiment/mine.yaml": HEAD + "corpus:\n  max_refused: 0\n",
                "data/a.wav": b"",
                "data/b.wav": b"no audio at all" * 9,
            },
            TABLE,
            whole=True,
            rows=ROWS,
        ),
        [
            # faults.md 19
            ("data", "corpus.max_refused", MINE, "max_refused: 0"),
        ],
    ),
    "root": Planted(
        Project(
            {"configs/experiment/mine.yaml": HEAD + "seed: 1\n"},
            [*TABLE, "corpus.root=nowhere"],
            whole=True,
        ),
        [
            ("data", "corpus.root", None, "corpus.root=nowhere"),
        ],
    ),
    "reading": Planted(
        Project(
            {"configs/experiment/mine.yaml": HEAD + "corpus:\n  columns: {text: words}\n"},
            TABLE,
            whole=True,
            rows=ROWS,
        ),
        [
            ("data", "corpus.columns.text", MINE, "columns: {text: words}"),
        ],
    ),
    "rates": Planted(
        Project(
            {
                "configs/experiment/mine.yaml": HEAD
                + "defaults:\n  - override /scheduler: mine\n"
                + "encoder:\n  speech:\n    sampling_rate_hz: 48000\n",
                "configs/scheduler/mine.yaml": "_target_: mine.heads.slow\nwarmup_steps: 4000\n",
                **PACKAGE,
            },
            [*TABLE, "split.val=0.25", "split.test=0.25"],
            whole=True,
            rows=ROWS,
        ),
        [
            # faults.md 23
            ("sampling rate", "encoder.speech.sampling_rate_hz", MINE, "48000"),
            (
                "long schedule",
                "scheduler.warmup_steps",
                "configs/scheduler/mine.yaml",
                "warmup_steps",
            ),
        ],
    ),
}


@pytest.mark.parametrize(("name", "fault"), planted_faults(PLANTED))
def test_a_fault_is_found_with_its_line(checked, shape_checks_off, name, fault):
    assert_found(checked(name, PLANTED[name].project)[1], fault)
