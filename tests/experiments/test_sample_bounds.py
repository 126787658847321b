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


def test_each_model_stays_below_its_ceiling_and_fusion_above_every_single_one(accuracies):
    num_tested = 176  # a quarter of 660, by speaker
    for member, modalities in MEMBERS.items():
        ceiling = CEILINGS[modalities]
        error = math.sqrt(ceiling * (1 - ceiling) / num_tested)
        assert accuracies[member] < ceiling + 3 * error, member
        assert accuracies[member] > (0.22 if member == "physiology" else 0.33), member
    best_alone = max(accuracies[name] for name in ("speech", "text", "physiology"))
    assert accuracies["fusion"] > best_alone + 0.15
    assert accuracies["calibrated"] > best_alone
