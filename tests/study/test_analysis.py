"""What follows from the tables of a study, on tables whose truth is known."""

import numpy as np
import polars as pl
import pytest

from polymodal.errors import PredictionError
from polymodal.evaluation.breakdown import select_score
from polymodal.evaluation.classification import Accuracy, UnweightedAverageRecall
from polymodal.evaluation.regression import ConcordanceCorrelation
from polymodal.schemas.predictions import PredictionTable
from polymodal.study.analysis import MemberResult, assign_to_folds, summarise
from polymodal.study.config import StudyConfig

SCORES = {"uar": UnweightedAverageRecall(), "accuracy": Accuracy()}
MEMBERS = {"good": "experiment=a/b", "poor": "experiment=a/c"}
NUM_SPEAKERS, EACH = 12, 10


def table(hit_rate, part="test", seed=0, split=None):
    rng = np.random.default_rng(seed + int(100 * hit_rate))
    ids = [f"{part}-{number:03d}" for number in range(NUM_SPEAKERS * EACH)]
    targets = np.arange(len(ids)) % 4
    said = np.where(rng.random(len(ids)) < hit_rate, targets, (targets + 1) % 4)
    logits = 3 * np.eye(4, dtype=np.float32)[said]
    made = PredictionTable.from_logits(ids, logits, targets, "abcd", split=split or part, seed=seed)
    speakers = [f"s{number // EACH:02d}" for number in range(len(ids))]
    return made.with_speakers(pl.DataFrame({"utterance_id": ids, "speaker": speakers}))


def told(hit_rate, seed=0, share=1.0, **more):
    parts = {"train": min(1.0, hit_rate + 0.2), "val": hit_rate, "test": hit_rate}
    tables = {part: table(rate, part, seed) for part, rate in parts.items()}
    return MemberResult(f"run-{seed}", seed, share, {**tables, **more})


def study(**more):
    plan = StudyConfig.read({"members": MEMBERS, "seeds": [0, 1], **more})
    good, poor = ([told(rate, seed) for seed in (0, 1)] for rate in (0.9, 0.4))
    return plan, {"good": good, "poor": poor}


def test_members_are_scored_with_intervals_and_told_apart():
    plan, said = study()
    found = summarise(plan, said, SCORES, "uar")
    good = found["members"]["good"]
    assert good["scores"]["test/uar"]["low"] < 0.9 < good["scores"]["test/uar"]["high"] + 0.05
    assert good["scores"]["test/uar"]["n"] == NUM_SPEAKERS * EACH
    assert good["gap"]["against"] == "val"
    assert good["gap"]["gap"] == pytest.approx(good["gap"]["train"] - good["gap"]["other"])
    assert sum(map(sum, good["confusion"])) == 2 * NUM_SPEAKERS * EACH, "both seeds"
    assert len(good["per_speaker"]) == NUM_SPEAKERS
    assert sum(num for _, _, num in good["reliability"]) == 2 * NUM_SPEAKERS * EACH
    assert all(one["label"] != one["predicted"] for one in good["errors"])
    assert len(good["errors"]) <= 20
    (one,) = found["comparisons"]
    assert one["verdict"].startswith("good is better than poor by")
    assert one["unit"] == "speaker"


def test_another_score_can_be_compared_but_no_unknown_one():
    plan, said = study(score="accuracy")
    assert summarise(plan, said, SCORES, "uar")["comparisons"][0]["score"] == "accuracy"
    plan, said = study(score="acuracy")
    with pytest.raises(PredictionError, match="accuracy"):
        summarise(plan, said, SCORES, "uar")


def test_shares_make_a_curve_and_subsets_rows_of_their_own():
    plan, said = study(shares=[0.5])
    subsets = table(0.3, split="test@speech")
    for name in said:
        said[name] = [told(0.5, seed, 0.5) for seed in (0, 1)] + said[name]
    said["good"][-1].tables["test@subsets"] = subsets
    found = summarise(plan, said, SCORES, "uar")["members"]
    assert [one["share"] for one in found["poor"]["curve"]] == [0.5, 1.0]
    assert found["good"]["curve"][0]["mean"] < found["good"]["curve"][1]["mean"]
    assert found["good"]["subsets"]["speech"]["test/uar"]["mean"] < 0.5
    assert "subsets" not in found["poor"]


def test_predictions_from_elsewhere_are_parted_by_id_never_by_position(tmp_path):
    like = told(0.5)
    whole = table(0.7)
    shuffled = whole.with_frame(whole.frame.sample(fraction=1, shuffle=True, seed=3))
    (tmp_path / "predictions").mkdir()
    shuffled.write(tmp_path / "predictions" / "predict.parquet")
    parted = assign_to_folds(
        MemberResult("own", 7, 1.0, {}),
        tmp_path,
        MemberResult("", 7, 1.0, {"test": like.tables["test"]}),
    )
    assert (
        parted.tables["test"]
        .frame["utterance_id"]
        .equals(like.tables["test"].frame["utterance_id"])
    )
    assert parted.tables["test"].frame["predicted"].equals(whole.frame["predicted"])
    with pytest.raises(PredictionError, match="120 utterances of the study, such as 'val-000'"):
        assign_to_folds(MemberResult("own", 7, 1.0, {}), tmp_path, like)


def test_a_score_of_one_value_reads_that_value_alone():
    values = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    targets = values * np.array([1, -1], dtype=np.float32)
    ids = [f"u{number}" for number in range(20)]
    made = PredictionTable.from_values(ids, values, targets, ["valence", "arousal"], split="test")
    scores = {"ccc": ConcordanceCorrelation()}
    for name, expected in (("ccc_valence", 1), ("ccc_arousal", -1)):
        cut, score = select_score(made, scores, name)
        assert score(cut.predicted_values()[:, 0], cut.target_values()[:, 0]) == pytest.approx(
            expected, abs=0.1
        )
    with pytest.raises(PredictionError, match="ccc_valence"):
        select_score(made, scores, "ccc_valenc")
