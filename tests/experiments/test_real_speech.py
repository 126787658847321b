"""The main job on the real EmoDB files."""

import json
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "at_least"),
    [
        ("egemaps", 0.66),
        ("egemaps_transductive", 0.78),
        ("compare", 0.76),
        ("compare_transductive", 0.84),
    ],
)
def test_functionals_reach_a_new_speaker(polymodal, test_data, experiment, at_least):
    """One seed of three, so two hundredths below what their mean must reach."""
    pytest.importorskip("opensmile")
    root = f"corpus.root={test_data / 'emodb'}"
    code, _, error = polymodal("run", f"experiment=emodb/{experiment}", root, "tracker=none")
    assert code == 0, error
    (path,) = Path("runs").glob("*/run.json")
    record = json.loads(path.read_text())
    assert at_least <= record["scores"]["test/uar"] < 0.95
    assert record["data"]["rows"] == 535
    assert record["data"]["transductive"] == (["speech"] if "transductive" in experiment else [])
    assert len(list(path.parent.glob("folds/*/run.json"))) == 10
