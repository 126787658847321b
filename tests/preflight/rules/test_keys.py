"""Keys of the configuration that nothing reads, or that nothing gives.

Those that can stand side by side are planted together and found in one pass. Where a fault comes
from a real thread, the thread is named; faults.md and ancestor.md are design notes of this project.
"""

import pytest
from tests.preflight.conftest import (
    HEAD,
    MINE,
    PACKAGE,
    TEXT,
    Planted,
    Project,
    assert_found,
    mine,
    planted_faults,
)

WORDS = "words:\n  _target_: polymodal.encoders.text.TextEncoder\n"
PLANTED = {
    "keys": Planted(
        mine(
            TEXT
            + """
optimiser:
  weight_decay: 0.1
sed: 3
data:
  batchs: 8
scores:
  mcc:
    _traget_: torchmetrics.MatthewsCorrCoef
selection:
  scores: uar
alert:
  belwo: {val/loss: 1}
paths:
  runs: ${paths.rnus}
"""
        ),
        [
            # hydra-ecosystem/hydra#3203: keys that nothing takes are found late, or never.
            ("unread key", "optimiser", MINE, "optimiser:"),
            ("unread key", "sed", MINE, "sed: 3"),
            # NVIDIA-NeMo/Speech#9824, autogluon/autogluon#2978: options that nothing reads.
            ("unread key", "data.batchs", MINE, "batchs: 8"),
            ("no target", "scores.mcc._traget_", MINE, "_traget_"),
            ("unread key", "selection.scores", MINE, "scores: uar"),
            ("unread key", "alert.belwo", MINE, "belwo"),
            ("broken interpolation", "paths.runs", MINE, "paths.rnus"),
        ],
    ),
    "missing": Planted(
        mine(
            TEXT
            + """
model:
  _target_: mine.heads.Narrow
scheduler:
  _target_: mine.heads.slow
trainer:
  default_root_dir: ${oc.env:POLYMODAL_NOT_SET}
""",
            "corpus=table",
            files=PACKAGE,
        ),
        [
            # hydra-ecosystem/hydra#2783: a missing argument
            ("missing option", "scheduler.warmup_steps", MINE, "heads.slow"),
            ("unknown option", "model.pooling", "polymodal/configs/model/unimodal.yaml", "pooling"),
            ("missing value", "corpus.classes", "polymodal/configs/corpus/table.yaml", "classes"),
            ("broken interpolation", "trainer.default_root_dir", MINE, "NOT_SET"),
        ],
    ),
    "package": Planted(
        Project(
            {"configs/experiment/mine.yaml": "trainer:\n  max_epochs: 3\n"}, ["experiment=mine"]
        ),
        [
            # hydra-ecosystem/hydra#3031, #2628
            ("wrong package", "experiment", MINE, "trainer:"),
        ],
    ),
    "elsewhere": Planted(
        Project(
            {
                "configs/model/mine.yaml": "# @package head\n# a head\n"
                "_target_: mine.heads.Narrow\n",
                **PACKAGE,
            },
            ["model=mine", "encoder=characters"],
        ),
        [
            ("wrong package", "head", "configs/model/mine.yaml", "@package"),
        ],
    ),
    "late header": Planted(
        mine("# Aim: to see what happens\n" + HEAD + "trainer:\n  max_epochs: 3\n"),
        [
            # hydra-ecosystem/hydra#586: the header is the first comment of a file
            ("wrong package", "experiment", MINE, "@package"),
        ],
    ),
    "two lists": Planted(
        mine(TEXT, "encoder=[logmel,compare]"),
        [
            # ancestor.md: Hydra's packages mixing up options of configs that begin with _target_
            (
                "key of two files",
                "encoder.speech",
                "polymodal/configs/encoder/compare.yaml",
                "_target_",
            ),
        ],
    ),
    "two files": Planted(
        Project(
            {
                "configs/encoder/first.yaml": WORDS,
                "configs/encoder/second.yaml": "# other\n" + WORDS,
                "configs/model/unimodal.yaml": "dropout: 0.9\n",
            },
            ["encoder=[first,second]", "model=unimodal"],
        ),
        [
            ("key of two files", "encoder.words", "configs/encoder/second.yaml", "_target_"),
            ("hidden file", "model", "configs/model/unimodal.yaml", None),
        ],
    ),
    "self": Planted(
        Project(
            {
                "configs/experiment/base.yaml": HEAD + "trainer:\n  max_epochs: 20\n",
                "configs/experiment/mine.yaml": HEAD
                + "defaults:\n  - _self_\n  - base\ntrainer:\n  max_epochs: 3\n",
            },
            ["experiment=mine"],
        ),
        [
            # hydra-ecosystem/hydra#1755, ashleve/lightning-hydra-template#245
            ("no effect", "trainer.max_epochs", MINE, "max_epochs: 3"),
        ],
    ),
}


@pytest.mark.parametrize(("name", "fault"), planted_faults(PLANTED))
def test_a_fault_is_found_with_its_line(checked, shape_checks_off, name, fault):
    assert_found(checked(name, PLANTED[name].project)[1], fault)
