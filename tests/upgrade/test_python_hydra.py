"""Entry points of Hydra keep the behaviour that they have with the installed release."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.upgrade.python_rewriting import block, notes, upgraded

from polymodal.upgrade.changes import ProjectFacts
from polymodal.upgrade.python_files import gather_python

MAIN = """
    import os

    import hydra
    from omegaconf import DictConfig


    @hydra.main(config_path="conf", config_name="config")
    def main(cfg: DictConfig) -> None:
        print("at", os.getcwd(), cfg.lr)


    if __name__ == "__main__":
        main()
"""


def facts_of(text: str) -> ProjectFacts:
    """Returns what a file tells the others."""
    facts = ProjectFacts()
    gather_python(block(text), facts)
    return facts


def test_an_entry_says_what_hydra_does_unasked():
    done = upgraded(block(MAIN))
    assert done.text == block(MAIN).replace(
        "main(config_path", 'main(version_base="1.1", config_path'
    )
    assert "own folder" in done.changes[0].note


@pytest.mark.parametrize(
    ("line", "chdir"),
    [
        ('hydra.main(config_path="conf")', True),
        ('hydra.main(version_base="1.1", config_path="conf")', True),
        ("hydra.main(version_base=None)", False),
        ('hydra.main(version_base="1.3")', False),
    ],
)
def test_whether_runs_have_folders_of_their_own_is_a_fact(line, chdir):
    assert facts_of(f"import hydra\n\n\n@{line}\ndef main(cfg): ...\n").chdir is chdir


def test_the_program_works_in_the_same_folder_as_before(tmp_path: Path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("lr: 0.1\n")
    messages = []
    for name, text in (("old", block(MAIN)), ("new", upgraded(block(MAIN)).text)):
        (tmp_path / f"{name}.py").write_text(text)
        done = subprocess.run(
            [sys.executable, f"{name}.py", "hydra.run.dir=out"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            check=True,
        )
        messages.append(done.stdout)
    assert messages[0] == messages[1]
    assert f"at {tmp_path / 'out'} 0.1" in messages[1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            'hydra.main(config_path=None, config_name="a")',
            'hydra.main(version_base="1.1", config_path=".", config_name="a")',
        ),
        (
            'hydra.main(config_path="a", strict=False)',
            'hydra.main(version_base="1.1", config_path="a")',
        ),
        ('hydra.main("conf", "a")', 'hydra.main("conf", "a", version_base="1.1")'),
        ("hydra.main()", 'hydra.main(version_base="1.1")'),
        (
            'hydra.initialize(config_path="a")',
            'hydra.initialize(version_base="1.1", config_path="a")',
        ),
        ('hydra.compose("a", strict=True)', 'hydra.compose("a")'),
        (
            'hydra.main(version_base=None, config_path="a")',
            'hydra.main(version_base=None, config_path="a")',
        ),
    ],
)
def test_arguments_of_entries(before, after):
    assert upgraded(f"import hydra\n\nx = {before}\n").text == f"import hydra\n\nx = {after}\n"


def test_no_folder_is_left_where_configurations_are_registered():
    text = block(
        """
        import hydra
        from hydra.core.config_store import ConfigStore

        ConfigStore.instance().store("a", {})
        x = hydra.main(config_path=None, config_name="a")
        """
    )
    done = upgraded(text)
    assert "config_path=None" in done.text
    assert "hydra-config-path" in notes(done)
