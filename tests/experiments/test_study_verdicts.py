"""Trained studies on the sample whose truth is known: the verdicts must say it. `make soak`."""

import json
from pathlib import Path

import pytest

PROTOCOL = "protocol: [split=k_folds, split.num_folds=5, split.val=0.25]\n"
SHORT = "shared: [trainer.max_epochs=8]\n"


@pytest.fixture
def verdicts(polymodal):
    Path("configs/study").mkdir(parents=True)

    def run(members):
        Path("configs/study/known.yaml").write_text(members + PROTOCOL + SHORT)
        code, _, error = polymodal("study", "study=known", "tracker=none", "study.parallel=2")
        assert code == 0, error
        folder = Path("runs") / Path("runs/last").read_text()
        return json.loads((folder / "study.json").read_text())["comparisons"]

    return run


@pytest.mark.slow
def test_members_that_differ_in_nothing_but_chance_are_not_told_apart(verdicts):
    twins = "".join(
        f"  twin{number}: experiment=sample/text model.dropout=0.{number}\n" for number in (1, 2, 3)
    )
    assert all(
        one["verdict"].startswith("no difference can be claimed")
        for one in verdicts("members:\n" + twins)
    )


@pytest.mark.slow
def test_a_member_that_knows_far_more_is_told_apart(verdicts):
    members = "members:\n  text: experiment=sample/text\n  fusion: experiment=sample/fusion\n"
    (one,) = verdicts(members)
    assert one["verdict"].startswith("fusion is better than text by")
    assert one["unit"] == "speaker"
