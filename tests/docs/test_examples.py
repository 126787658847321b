"""The documentation's examples work, and its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from polymodal.cli.main import COMMANDS
from polymodal.config.compose import compose
from polymodal.preflight.rules.signatures import check_signatures

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language):
    return [
        text for page in PAGES for kind, text in BLOCK.findall(page.read_text()) if kind == language
    ]


def commands():
    lines = [line for text in blocks("sh") for line in text.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return sorted({tuple(one) for one in words if one and one[0] == "polymodal"})


def test_there_are_examples():
    assert len(PAGES) >= 6
    assert len(commands()) >= 12
    assert blocks("yaml")


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_is_one_that_composes(workplace, command):
    _, name, *words = command
    assert name in COMMANDS
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    if name == "run":
        # A sweep's values are composed one at a time.
        first = [re.sub(r"=([^\[,]+),.*", r"=\1", word) for word in overrides]
        check_signatures(compose([w for w in first if not w.startswith("resume")]).resolved())
    elif name == "corpus" and words[0] != "check":
        compose([f"corpus={words[0]}", *overrides], config_name="corpus")
    elif name == "vote":
        compose(overrides, config_name="vote").resolved()


def test_yaml_examples_parse():
    for text in blocks("yaml"):
        assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
