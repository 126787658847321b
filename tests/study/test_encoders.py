"""A study whose fusion takes the encoders that other members have trained."""

import json
import re
from pathlib import Path

import pytest

from polymodal.config.compose import ComposedConfig, compose
from polymodal.data.folds import read_folds
from polymodal.experiment.experiment import Experiment
from polymodal.study.config import StudyConfig
from polymodal.study.job_order import PlannedJobs
from polymodal.study.jobs import StudyJob
from polymodal.study.members import compose_members

STUDY = """
members:
  fusion:
    run: encoder=[characters,signals] model=fusion/cross_attention model.width=8
    encoders: {text: text, physiology: body}
  apart:
    run: encoder=[characters,signals] model=fusion/cross_attention model.width=8
    encoders: {text: text}
    fusion_rows: {held_out: 0.4}
  text: encoder=[characters] model=unimodal encoder.text.width=8
  body: encoder=[signals] model=unimodal encoder.physiology.width=8
votes:
  soft: {of: [text, body], ensemble: soft}
seeds: [0, 1]
shared: [corpus.num_speakers=8, corpus.num_utterances=8, trainer.max_epochs=1, split.val=0.3,
  trainer.accelerator=cpu]
"""


def last_study() -> dict:
    return json.loads((Path("runs") / Path("runs/last").read_text() / "study.json").read_text())


def record(run: str) -> dict:
    return json.loads((Path("runs") / run / "run.json").read_text())


def jobs_of(study: dict, member: str, **expected: object) -> dict[int, dict]:
    return {
        job["seed"]: job
        for job in study["cells"]
        if job["member"] == member
        and "left" not in job
        and all(job[name] == value for name, value in expected.items())
    }


def rows(run: str, split: str) -> set[str]:
    """Speakers of a split, of the only fold."""
    (fold,), _ = read_folds(Path("runs") / run)
    return {
        name
        for name, split_of_speaker in fold.assignment["speaker"].items()
        if split_of_speaker == split
    }


def planned(text: str) -> dict[tuple[str, int, float], StudyJob]:
    """Return the jobs of a study without running anything."""
    Path("configs/study").mkdir(parents=True, exist_ok=True)
    Path("configs/study/small.yaml").write_text(text)
    composed = compose(["study=small", "tracker=none"], config_name="study")
    plan = StudyConfig.read(composed.resolved()["study"])
    members = compose_members(plan, composed)
    configs = {name: config.resolved() for name, config in members.items()}
    first = Experiment.prepare(configs["text"], planned=configs)
    jobs = PlannedJobs(
        plan, members, configs, first, ComposedConfig.resolved, Path("runs"), "code"
    ).all()
    return {(job.member, job.seed, job.left_out): job for job in jobs}


@pytest.mark.slow
def test_each_seed_takes_its_own_and_a_changed_encoder_changes_what_rests_on_it(workplace):
    first = planned(STUDY)
    assert {*first} == {
        (member, seed, left_out)
        for seed in (0, 1)
        for member, left_out in [
            ("text", 0),
            ("text", 0.4),
            ("body", 0),
            ("fusion", 0),
            ("apart", 0),
        ]
    }
    order = [*first]
    for (member, seed, _), job in first.items():
        sources = [*job.encoders.values()]
        assert {source.seed for source in sources} <= {seed}
        assert {source.left_out for source in sources} <= {0.4 if member == "apart" else 0.0}
        for source in sources:
            position = order.index((source.member, seed, source.left_out))
            assert position < order.index((member, seed, 0.0))
    assert len({job.key for job in first.values()}) == len(first)

    second = planned(STUDY.replace("physiology.width=8", "physiology.width=8 optimizer.lr=0.01"))
    changed = {name[0] for name, job in first.items() if second[name].key != job.key}
    assert changed == {"body", "fusion"}


def test_fusion_is_trained_on_the_encoders_of_the_study(study):
    code, _, error = study(STUDY.replace("[0, 1]", "[3]"))
    assert code == 0, error
    first = last_study()
    assert {*first["members"]} == {"fusion", "apart", "text", "body", "soft"}
    (fusion,) = jobs_of(first, "fusion").values()
    (apart,) = jobs_of(first, "apart").values()
    (text,) = jobs_of(first, "text", left_out=0.0).values()
    (fitted,) = jobs_of(first, "text", left_out=0.4).values()
    origins = record(fusion["run"])["encoders"]
    assert origins["text"]["run"] == text["run"]
    assert record(apart["run"])["encoders"]["text"]["run"] == fitted["run"]
    assert first["members"]["text"]["runs"] == [text["run"]]

    # The encoders of the second fusion are fitted to other speakers than the fusion itself.
    assert rows(apart["run"], "train")
    assert not rows(apart["run"], "train") & rows(fitted["run"], "train")
    both = rows(apart["run"], "train") | rows(fitted["run"], "train")
    assert both == rows(text["run"], "train")
    assert rows(apart["run"], "test") == rows(fitted["run"], "test") == rows(text["run"], "test")

    about = first["members"]["apart"]
    assert about["fusion_rows"] == {"held_out": 0.4}
    assert {*about["embeddings"]["text"]["probe"]} == {"train", "val", "test"}
    assert first["members"]["soft"]["gap"]["against"] == about["gap"]["against"] == "test"
    page = (Path("runs") / first["study"] / "report.html").read_text()
    assert "Why does deep fusion win or lose?" in page


@pytest.mark.slow
def test_what_rests_on_a_failed_encoder_is_not_started(study):
    broken = STUDY.replace("[0, 1]", "[0]").replace(
        "text.width=8", "text.width=8 optimizer.lr=1e30"
    )
    code, _, error = study(broken)
    assert code == 1
    assert "fusion, seed 0: not started" in error
    records = [json.loads(path.read_text()) for path in Path("runs").glob("2*/run.json")]
    assert "fusion" not in {job["notes"].get("member") for job in records}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("{text: text, physiology: body}", "{text: txt}", "did you mean 'text'"),
        ("{held_out: 0.4}", "{held_out: 1.4}", "fusion_rows"),
        ("{held_out: 0.4}", "later", "in_fold"),
        ("{text: text}", "{text: body}", "has no modality 'text'"),
        ("{text: text}", "text", "modality: member"),
        ("text: text, physiology: body}", "text: apart}", "both|from_run"),
        (
            "body: encoder=[signals] model=unimodal encoder.physiology.width=8",
            "body: {run: ['encoder=[signals]', model=unimodal], encoders: {physiology: fusion}}",
            "from each other: .*fusion",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused_before_anything_runs(study, before, after, expected):
    assert before in STUDY
    code, _, error = study(STUDY.replace(before, after, 1))
    assert code == 2
    assert re.search(expected, error), error
    assert "Traceback" not in error
    assert not [*Path("runs").glob("2*")]
