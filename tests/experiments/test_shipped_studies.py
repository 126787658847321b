"""Every shipped study: its members and votes compose, fit their signatures, and can be compared."""

from pathlib import Path

import pytest

import polymodal.configs
from polymodal.config.compose import compose
from polymodal.preflight.rules.signatures import check_signatures
from polymodal.study.config import StudyConfig
from polymodal.study.members import compose_members, reference, with_folds

STUDIES = Path(polymodal.configs.__file__).parent / "study"
NAMES = sorted(p.relative_to(STUDIES).with_suffix("").as_posix() for p in STUDIES.rglob("*.yaml"))


def test_the_studies_that_are_promised_are_there():
    assert set(NAMES) >= {
        "sample/fusion_vs_voting",
        "emotiontts_ko/fusion_vs_voting",
        "emotiontts_ko/negative_control",
        "emodb/functionals",
        "kemdy19/fusion_vs_voting",
        "kemdy20/fusion_vs_voting",
        "stress_predict/signals",
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_study_is_sound(workplace, name):
    study = compose([f"study={name}", "paths.data=somewhere"], config_name="study")
    config = study.resolved()
    check_signatures(config)
    plan = StudyConfig.read(config["study"])
    members = compose_members(plan, study)
    for member in plan.members:
        composed = members[member.name]
        check_signatures(composed.resolved())
        if not member.applied:
            check_signatures(with_folds(composed, "folds.json").resolved())
    for vote in plan.votes:
        check_signatures(compose(list(vote.ensemble), config_name="vote").resolved())
    assert reference(plan) in members
    text = (STUDIES / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# @package _global_.study\n# Aim: ")
    assert f"polymodal study study={name}" in text
