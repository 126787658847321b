"""The trained models respect what the sample's construction allows, and fusion uses all of it."""

import json
import math
from pathlib import Path

import pytest

from polymodal.corpora.sample import CEILINGS

MEMBERS = {"speech": "speech", "text": "text", "physiology": "physiology", "fusion": "all"}


@pytest.fixture
def accuracies(polymodal):
    """Runs the demo as a newcomer does; test accuracy by experiment."""
    code, out, error = polymodal("demo", "tracker=none")
    assert code == 0, error
    assert "deep fusion" in out
    assert "soft voting" in out
    records = [json.loads(path.read_text()) for path in Path("runs").glob("*/run.json")]
    assert len(records) == 5
    assert all(str(Path("runs") / one["run_id"]) in out for one in records)
    return {
        one["experiment"].removeprefix("sample/"): one["scores"]["test/accuracy"] for one in records
    }


def test_each_model_stays_below_its_ceiling_and_fusion_above_every_single_one(accuracies):
    num_tested = 176  # a quarter of 660, by speaker
    for member, modalities in MEMBERS.items():
        ceiling = CEILINGS[modalities]
        error = math.sqrt(ceiling * (1 - ceiling) / num_tested)
        assert accuracies[member] < ceiling + 3 * error, member
        assert accuracies[member] > (0.22 if member == "physiology" else 0.33), member
    best_alone = max(accuracies[name] for name in ("speech", "text", "physiology"))
    assert accuracies["fusion"] > best_alone + 0.15
    assert accuracies["vote"] > best_alone
