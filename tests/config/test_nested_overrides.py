"""Overrides within an override: what a study takes without quotation marks."""

import pytest

from polymodal.config.compose import compose
from polymodal.config.nested_overrides import quoted
from polymodal.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("[trainer.max_epochs=1]", ["trainer.max_epochs=1"]),
        ("[a.b=/data/x y,c=1]", ["a.b=/data/x y", "c=1"]),
        ("[a.b=[1,2], encoder=[hubert,bert]]", ["a.b=[1,2]", "encoder=[hubert,bert]"]),
        ("['a=b,c', \"d=1\"]", ["a=b,c", "d=1"]),
        ("a=1 b=2", "a=1 b=2"),
        ("'a=1 b=2'", "a=1 b=2"),
        ('[a="x y"]', ['a="x y"']),
        ("[]", []),
    ],
)
def test_what_is_written_plainly_is_what_the_study_gets(workplace, value, read):
    for key in ("shared", "protocol", "with.speech"):
        study = compose([f"study.{key}={value}"], config_name="study").resolved()["study"]
        found = study["with"]["speech"] if key == "with.speech" else study[key]
        assert found == read


def test_other_options_are_left_alone():
    for word in ("study.seeds=[0,1]", "encoder.speech.name=a", "~study.shared", "study.score=uar"):
        assert quoted(word) == word


def test_the_given_words_are_what_is_recorded(workplace):
    word = "study.with.speech=[optimizer.lr=0.1]"
    assert compose([word], config_name="study").overrides == (word,)


def test_a_bracket_that_is_not_closed_is_an_error(workplace):
    with pytest.raises(ConfigError):
        compose(["study.shared=[seed=1"], config_name="study")
