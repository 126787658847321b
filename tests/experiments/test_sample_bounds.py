"""The trained models respect what the sample's construction allows, and fusion uses all of it."""

import json
import math
from pathlib import Path

import pytest

from polymodal.corpora.sample import CEILINGS

MEMBERS = {"speech": "speech", "text": "text", "physiology": "physiology", "fusion": "all"}


@pytest.fixture
def accuracies(polymodal):
    """Runs the demo as a newcomer does; test accuracy by member and vote."""
    code, out, error = polymodal("study", "study=sample/fusion_vs_voting", "tracker=none")
    assert code == 0, error
    assert "fusion is better than text" in out
    folder = Path("runs") / Path("runs/last").read_text()
    study = json.loads((folder / "study.json").read_text())
    assert len(study["runs"]) == len(MEMBERS)
    scores = {name: one["scores"] for name, one in study["members"].items()}
    return {name: one["test/accuracy"]["mean"] for name, one in scores.items()}


def highest(modalities):
    """What chance may add to the ceiling of a member."""
    ceiling, num_tested = CEILINGS[modalities], 176  # a quarter of 660, by speaker
    return ceiling + 3 * math.sqrt(ceiling * (1 - ceiling) / num_tested)


def test_words_stay_below_their_ceiling(polymodal):
    code, _, error = polymodal(
        "run", "experiment=sample/text", "trainer.max_epochs=8", "tracker=none"
    )
    assert code == 0, error
    record = json.loads((Path("runs") / Path("runs/last").read_text() / "run.json").read_text())
    assert 0.33 < record["scores"]["test/accuracy"] < highest("text")


@pytest.mark.slow
def test_each_model_stays_below_its_ceiling_and_fusion_above_every_single_one(accuracies):
    for member, modalities in MEMBERS.items():
        assert accuracies[member] < highest(modalities), member
        assert accuracies[member] > (0.22 if member == "physiology" else 0.33), member
    best_alone = max(accuracies[name] for name in ("speech", "text", "physiology"))
    assert accuracies["fusion"] > best_alone + 0.15
    assert accuracies["calibrated"] > best_alone
