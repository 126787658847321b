"""Members of a study: those of a study that is extended, and options for one of them."""

import pytest

from polymodal.config.compose import compose
from polymodal.errors import ConfigError
from polymodal.study.check import check_study
from polymodal.study.config import StudyConfig
from polymodal.study.members import compose_members

EXTENDED = """defaults:
  - {base}
{self}
members:
  audio_large: experiment=kemdy20/speech optimizer.lr=1.0e-6
votes:
  large: {{of: [audio_large, text]}}
pairs: [[audio_large, speech]]
"""


def members_of(*overrides):
    study = compose([*overrides, "paths.data=data"], config_name="study")
    plan = StudyConfig.read(study.resolved()["study"])
    return plan, compose_members(plan, study)


def write(workplace, name, text):
    file = workplace / f"configs/study/{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("name", ["mine", "team/mine"])
@pytest.mark.parametrize("self", ["", "  - _self_"])
@pytest.mark.parametrize(
    "base",
    [
        "kemdy20/fusion_vs_voting",
        "/study/kemdy20/fusion_vs_voting",
        "/study/kemdy20/fusion_vs_voting@_here_",
    ],
)
def test_a_study_of_a_project_extends_a_shipped_one(workplace, base, self, name):
    write(workplace, name, EXTENDED.format(base=base, self=self))
    plan = StudyConfig.read(compose([f"study={name}"], config_name="study").resolved()["study"])
    members = {member.name: member.run for member in plan.members}
    assert members == {
        "speech": ("experiment=kemdy20/speech",),
        "text": ("experiment=kemdy20/text",),
        "physiology": ("experiment=kemdy20/physiology",),
        "fusion": ("experiment=kemdy20/fusion",),
        "audio_large": ("experiment=kemdy20/speech", "optimizer.lr=1.0e-6"),
    }
    assert [member.name for member in plan.votes] == ["soft", "calibrated", "stacked", "large"]
    assert plan.pairs == (("audio_large", "speech"),)  # a list replaces
    assert plan.score == "macro_f1"


def test_a_list_in_the_defaults_works_as_well(workplace):
    write(workplace, "mine", "defaults: [kemdy19/fusion_vs_voting]\nscore: uar\n")
    plan = StudyConfig.read(compose(["study=mine"], config_name="study").resolved()["study"])
    assert (plan.score, len(plan.members)) == ("uar", 4)


def test_a_study_of_the_project_in_a_folder_needs_the_line_that_says_where_it_lands(workplace):
    base = "members:\n  speech: experiment=sample/speech\n"
    write(workplace, "mine", "defaults: [team/base]\nscore: uar\n")
    write(workplace, "team/base", base)
    with pytest.raises(ConfigError, match=r"@package _global_.study"):
        members_of("study=mine")
    write(workplace, "team/base", f"# @package _global_.study\n{base}")
    assert [*members_of("study=mine")[1]] == ["speech"]


def test_options_for_one_member_reach_it_alone_and_come_last(workplace):
    _, members = members_of(
        "study=emotiontts_ko/negative_control",  # its members come from an extended study
        "study.shared=[optimizer.lr=0.5,seed=7]",
        "study.with.speech=[optimizer.lr=0.25]",
        "study.with.text=optimizer.lr=0.125 optimizer.weight_decay=0.5",  # an applied one
    )
    rates = {name: member.resolved()["optimizer"]["lr"] for name, member in members.items()}
    assert rates == {"speech": 0.25, "text": 0.125, "fusion": 0.5}
    assert {member.resolved()["seed"] for member in members.values()} == {7}
    assert members["text"].resolved()["optimizer"]["weight_decay"] == 0.5
    assert "optimizer.lr=0.25" in members["speech"].overrides


def test_options_for_one_member_may_stand_in_the_file(workplace):
    text = "defaults: [sample/fusion_vs_voting]\nwith: {speech: seed=3, text: [seed=4]}\n"
    write(workplace, "mine", text)
    _, members = members_of("study=mine", "study.with.speech=[seed=5]")
    seeds = {name: member.resolved()["seed"] for name, member in members.items()}
    assert seeds == {"speech": 5, "text": 4, "physiology": 0, "fusion": 0}


def test_a_wrong_option_for_one_member_names_its_place(workplace):
    with pytest.raises(ConfigError, match=r"study\.with\.speech: there is no option 'optimizer\.l"):
        members_of("study=sample/fusion_vs_voting", "study.with.speech=[optimizer.lrr=1]")


@pytest.mark.parametrize(
    ("word", "key", "found"),
    [
        ("study.with.speech=[optimizer.lrr=1]", "study.with.speech", "optimizer.lrr"),
        ("study.with.speach=[optimizer.lr=1]", "study.with.speach", "not a member"),
        ("study.with.speech=[optimizer.lr=fast]", "optimizer.lr", "fast"),
    ],
)
def test_the_check_names_the_place_of_a_fault(workplace, shape_checks_off, word, key, found):
    small = "study.shared=[corpus.num_speakers=6,corpus.num_utterances=8]"
    report = check_study(["study=sample/fusion_vs_voting", small, word])
    (fault,) = report.errors
    assert fault.key == key
    assert found in fault.message
    assert word in str(fault.origin)


def test_members_on_another_corpus_are_named_after_it(workplace):
    _, before = members_of("study=sample/fusion_vs_voting")
    assert before["text"].name == "sample/text"
    own = "[corpus=table,corpus.root=data,corpus.classes=[joy,anger]]"
    _, members = members_of("study=sample/fusion_vs_voting", f"study.protocol={own}")
    assert members["text"].name == "table/text"
    assert members["text"].choices["corpus"] == "table"
