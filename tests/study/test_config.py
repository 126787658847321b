"""The plan of a study: what is read, and what no study can be made of."""

import pytest

from polymodal.errors import ConfigError
from polymodal.study.config import StudyConfig

MEMBERS = {
    "speech": "experiment=sample/speech optimizer.lr=0.1",
    "text": {"run": ["experiment=goemotions/text"], "applied": True, "root": "/data/text"},
}


def test_members_are_words_of_the_command_line_or_a_mapping():
    plan = StudyConfig.read({"members": MEMBERS, "votes": {"soft": {"of": ["speech", "text"]}}})
    speech, text = plan.members
    assert speech.run == ("experiment=sample/speech", "optimizer.lr=0.1")
    assert not speech.applied
    assert (text.run, text.applied, text.root) == (
        ("experiment=goemotions/text",),
        True,
        "/data/text",
    )
    assert plan.votes[0].ensemble == ("ensemble=soft",)
    assert plan.names == ("speech", "text", "soft")
    assert (plan.seeds, plan.fractions, plan.pairs, plan.alpha) == ((0,), (), None, 0.05)


def test_options_of_one_member_are_a_list_or_one_string():
    given = {"speech": "optimizer.lr=0.1 seed=1", "text": ["seed=2"]}
    plan = StudyConfig.read({"members": MEMBERS, "with": given})
    assert plan.options == {"speech": ("optimizer.lr=0.1", "seed=1"), "text": ("seed=2",)}
    assert StudyConfig.read({"members": MEMBERS}).options == {}


def test_a_vote_without_names_is_over_all_members():
    plan = StudyConfig.read({"members": MEMBERS, "votes": {"all": {"ensemble": "stacked"}}})
    assert plan.votes[0].of == ("speech", "text")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "no member that is trained"),
        ({"members": {"text": MEMBERS["text"]}}, "no member that is trained"),
        ({"members": MEMBERS, "with": {"speach": "a=1"}}, "study.with.speach.*\n.*\n.*'speech'"),
        ({"members": MEMBERS, "with": {"speech": "lr"}}, "study.with.speech has 'lr'"),
        ({"members": MEMBERS, "with": ["a=1"]}, "study.with="),
        ({"members": MEMBERS, "team": {"base": {"members": {}}}}, "@package _global_.study"),
        ({"members": MEMBERS, "member": {}}, "did you mean 'members'"),
        ({"members": {"a": "speech"}}, "study.members.a has 'speech'"),
        ({"members": {"a": {"runs": "x=1"}}}, "did you mean 'run'"),
        ({"members": MEMBERS, "votes": {"v": {"of": ["speech"]}}}, "vote over speech"),
        ({"members": MEMBERS, "votes": {"v": {"of": ["speech", "speech"]}}}, "each once"),
        ({"members": MEMBERS, "votes": {"v": {"of": ["speech", "txt"]}}}, "did you mean 'text'"),
        ({"members": MEMBERS, "votes": {"v": "soft"}}, "two or more members"),
        ({"members": MEMBERS, "votes": {"text": {}}}, "name of a member and of a vote"),
        ({"members": MEMBERS, "seeds": []}, "at least one number"),
        ({"members": MEMBERS, "seeds": [1, 1]}, "each once"),
        ({"members": MEMBERS, "seeds": ["a"]}, "study.seeds has 'a'"),
        ({"members": MEMBERS, "fractions": [1.5]}, "between 0 and 1"),
        ({"members": MEMBERS, "pairs": [["speech"]]}, "two names"),
        ({"members": MEMBERS, "pairs": [["speech", "txt"]]}, "did you mean 'text'"),
        ({"members": MEMBERS, "alpha": 2}, "study.alpha=2"),
        ({"members": MEMBERS, "parallel": 0}, "a number from 1"),
    ],
)
def test_invalid_studies_are_rejected(section, message):
    with pytest.raises(ConfigError, match=message):
        StudyConfig.read(section)


def test_parallel_processes_follow_devices_and_cores():
    assert StudyConfig.read({"members": MEMBERS}, num_devices=3).parallel == 3
    assert 1 <= StudyConfig.read({"members": MEMBERS}).parallel <= 4
    assert StudyConfig.read({"members": MEMBERS, "parallel": 7}, num_devices=3).parallel == 7
