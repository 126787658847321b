"""Runs the upgrade of Python on text, as a tree of one file or of several."""

import textwrap
from pathlib import Path

from polymodal.upgrade.changes import ProjectFacts, Rewrite
from polymodal.upgrade.python_files import gather_python, rewrite_python

LIT = "import pytorch_lightning as pl\n\n\n"


def upgrade(*texts: str) -> list[Rewrite]:
    """Upgrades the files of a tree."""
    facts = ProjectFacts()
    for text in texts:
        gather_python(text, facts)
    return [rewrite_python(text, Path("/project/file.py"), facts) for text in texts]


def upgraded(text: str) -> Rewrite:
    """Upgrades one file, twice: the second time changes nothing more."""
    (first,) = upgrade(text)
    compile(first.text, "file.py", "exec")
    (second,) = upgrade(first.text)
    assert second.text == first.text
    assert all(change.is_undecided for change in second.changes)
    return first


def block(text: str) -> str:
    """Returns a text block without its indentation."""
    return textwrap.dedent(text).lstrip("\n")


def module(body: str, base: str = "pl.LightningModule", more: str = "") -> str:
    """Returns a file with one class of Lightning."""
    return LIT + more + f"class Lit({base}):\n" + textwrap.indent(block(body), "    ")


def notes(done: Rewrite) -> dict[str, str]:
    """Returns what was left alone: rule and note."""
    return {change.rule: change.note for change in done.changes if change.is_undecided}
