"""Each mistake of a newcomer is answered in plain words: what, where, and what to write instead."""

import shlex

import pytest
from tests.cli.newcomers import FOREIGN, MISTAKES, attempt

from polymodal.cli.main import main
from polymodal.config.compose import apply_overrides, compose
from polymodal.config.override_grammar import as_one_text


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained(workplace, shape_checks_off, name):
    mistake = MISTAKES[name]
    code, out, error = attempt(mistake, main)
    message = out + error
    assert code == 2, message
    assert "hint: " in message, message
    assert not FOREIGN.search(message), message
    for piece in mistake.says:
        assert piece in message, message


@pytest.mark.parametrize(
    "value",
    ["/data/a=b", "/data/my corpus (v2)", "/데이터/말뭉치", "/data/o'brien", "C:\\data\\", "~/a#b"],
)
def test_any_path_is_taken_as_it_is(workplace, value):
    assert compose(["corpus=table", f"corpus.root={value}"]).config.corpus.root == value


def test_names_in_any_script_can_be_listed(workplace):
    composed = compose(["corpus=table", "corpus.classes=[기쁨, 분노]"])
    assert composed.config.corpus.classes == ["기쁨", "분노"]


@pytest.mark.parametrize("value", ["/data/a,b", '/data/it\'s, "quoted"', "[a", "{기쁨: joy}"])
def test_the_word_to_type_for_one_text_works_when_it_is_pasted(workplace, value):
    (word,) = shlex.split(as_one_text("corpus.root", value))
    assert compose(["corpus=table", word]).config.corpus.root == value


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        (["model.activatoin=gelu"], ["+model.activation=gelu"]),
        (["+trainer.max_epochs=1"], ["trainer.max_epochs=1"]),
        (["optimizer.lr=0,1"], ["optimizer.lr=0.1"]),
        (
            ["split=random", "+split.groups=[speaker]"],
            ["split=random", "+split.groups=[speaker]", "~split.groups"],
        ),
    ],
)
def test_what_a_hint_says_to_write_works(polymodal, wrong, remedy):
    code, _, error = polymodal("run", "experiment=sample/text", *wrong)
    assert code == 2
    assert remedy[-1].partition("=")[2] in error
    code, _, error = polymodal("run", "experiment=sample/text", "--cfg", "job", *remedy)
    assert code == 0, error


def test_an_option_of_another_choice_is_taken_out_as_the_hint_says(polymodal, workplace):
    mistake = MISTAKES["option of another group"]
    code, _, error = attempt(mistake, main)
    assert code == 2
    (remedy,) = [line for line in error.splitlines() if "add ~" in line]
    word = remedy.rpartition("add ")[2]
    code, _, error = polymodal(*mistake.arguments, word, "--cfg", "job")
    assert code == 0, error
    composed = compose([*mistake.arguments[1:], word])
    assert "val" not in composed.config.split
    stored = compose(list(mistake.arguments[1:]))
    assert "val" not in apply_overrides(stored, [word]).config.split
