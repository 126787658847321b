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
NUM_SPEAKERS, ROWS_PER_SPEAKER = 12, 10


def table(hit_rate, part="test", seed=0, split=None):
    rng = np.random.default_rng(seed + int(100 * hit_rate))
    ids = [f"{part}-{number:03d}" for number in range(NUM_SPEAKERS * ROWS_PER_SPEAKER)]
    targets = np.arange(len(ids)) % 4
    predicted = np.where(rng.random(len(ids)) < hit_rate, targets, (targets + 1) % 4)
    logits = 3 * np.eye(4, dtype=np.float32)[predicted]
    predictions = PredictionTable.from_logits(
        ids, logits, targets, "abcd", split=split or part, seed=seed
    )
    speakers = [f"s{number // ROWS_PER_SPEAKER:02d}" for number in range(len(ids))]
    return predictions.with_speakers(pl.DataFrame({"utterance_id": ids, "speaker": speakers}))


def member_result(hit_rate, seed=0, fraction=1.0, **more):
    rates = {"train": min(1.0, hit_rate + 0.2), "val": hit_rate, "test": hit_rate}
    tables = {split: table(rate, split, seed) for split, rate in rates.items()}
    return MemberResult(f"run-{seed}", seed, fraction, {**tables, **more})


def study(**more):
    plan = StudyConfig.read({"members": MEMBERS, "seeds": [0, 1], **more})
    good, poor = ([member_result(rate, seed) for seed in (0, 1)] for rate in (0.9, 0.4))
    return plan, {"good": good, "poor": poor}


def test_members_are_scored_with_intervals_and_compared():
    plan, results = study()
    summary = summarise(plan, results, SCORES, "uar")
    good = summary["members"]["good"]
    assert good["scores"]["test/uar"]["low"] < 0.9 < good["scores"]["test/uar"]["high"] + 0.05
    assert good["scores"]["test/uar"]["n"] == NUM_SPEAKERS * ROWS_PER_SPEAKER
    assert good["gap"]["against"] == "val"
    assert good["gap"]["gap"] == pytest.approx(good["gap"]["train"] - good["gap"]["other"])
    assert sum(map(sum, good["confusion"])) == 2 * NUM_SPEAKERS * ROWS_PER_SPEAKER, "both seeds"
    assert len(good["per_speaker"]) == NUM_SPEAKERS
    assert sum(num for _, _, num in good["reliability"]) == 2 * NUM_SPEAKERS * ROWS_PER_SPEAKER
    assert all(entry["label"] != entry["predicted"] for entry in good["errors"])
    assert len(good["errors"]) <= 20
    (entry,) = summary["comparisons"]
    assert entry["verdict"].startswith("good is better than poor by")
    assert entry["unit"] == "speaker"


def test_another_score_can_be_compared_but_no_unknown_one():
    plan, results = study(score="accuracy")
    assert summarise(plan, results, SCORES, "uar")["comparisons"][0]["score"] == "accuracy"
    plan, results = study(score="acuracy")
    with pytest.raises(PredictionError, match="accuracy"):
        summarise(plan, results, SCORES, "uar")


def test_fractions_make_a_curve_and_subsets_their_own_rows():
    plan, results = study(fractions=[0.5])
    subsets = table(0.3, split="test@speech")
    for name in results:
        results[name] = [member_result(0.5, seed, 0.5) for seed in (0, 1)] + results[name]
    results["good"][-1].tables["test@subsets"] = subsets
    summary = summarise(plan, results, SCORES, "uar")["members"]
    assert [entry["share"] for entry in summary["poor"]["curve"]] == [0.5, 1.0]
    assert summary["good"]["curve"][0]["mean"] < summary["good"]["curve"][1]["mean"]
    assert summary["good"]["subsets"]["speech"]["test/uar"]["mean"] < 0.5
    assert "subsets" not in summary["poor"]


def test_predictions_from_elsewhere_are_split_by_id_not_position(tmp_path):
    like = member_result(0.5)
    complete = table(0.7)
    shuffled = complete.with_frame(complete.frame.sample(fraction=1, shuffle=True, seed=3))
    (tmp_path / "predictions").mkdir()
    shuffled.write(tmp_path / "predictions" / "predict.parquet")
    assigned = assign_to_folds(
        MemberResult("own", 7, 1.0, {}),
        tmp_path,
        MemberResult("", 7, 1.0, {"test": like.tables["test"]}),
    )
    assert (
        assigned.tables["test"]
        .frame["utterance_id"]
        .equals(like.tables["test"].frame["utterance_id"])
    )
    assert assigned.tables["test"].frame["predicted"].equals(complete.frame["predicted"])
    with pytest.raises(PredictionError, match="120 utterances of the study, such as 'val-000'"):
        assign_to_folds(MemberResult("own", 7, 1.0, {}), tmp_path, like)


def test_a_score_of_one_dimension_reads_only_that_dimension():
    values = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    targets = values * np.array([1, -1], dtype=np.float32)
    ids = [f"u{number}" for number in range(20)]
    predictions = PredictionTable.from_values(
        ids, values, targets, ["valence", "arousal"], split="test"
    )
    scores = {"ccc": ConcordanceCorrelation()}
    for name, expected in (("ccc_valence", 1), ("ccc_arousal", -1)):
        cut, score = select_score(predictions, scores, name)
        assert score(cut.predicted_values()[:, 0], cut.target_values()[:, 0]) == pytest.approx(
            expected, abs=0.1
        )
    with pytest.raises(PredictionError, match="ccc_valence"):
        select_score(predictions, scores, "ccc_valenc")
