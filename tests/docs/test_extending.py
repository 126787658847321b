"""The examples of docs/extending.md, written as they stand there, are a project that runs."""

import json
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
FILE = re.compile(r"^```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(workplace):
    for name, text in FILE.findall(PAGE.read_text(encoding="utf-8")):
        path = workplace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (workplace / "mine" / "__init__.py").touch()
    return workplace


def test_each_kind_of_part_has_an_example(project):
    kinds = {path.parent.name for path in Path("configs").rglob("*.yaml")}
    parts = {"corpus", "encoder", "model", "loss", "scores", "callbacks", "tracker", "optimizer"}
    assert kinds == {*parts, "experiment"}


def test_together_they_train_and_are_recorded(project, process):
    done = process("run", "experiment=mine")
    assert done.returncode == 0, done.stderr
    (record,) = (json.loads(path.read_text()) for path in Path("runs").glob("*/run.json"))
    assert record["scores"]["test/uar"] == 1.0  # vowels tell the two texts apart
    assert record["scores"]["test/error_rate"] == 0.0
    assert record["higher_is_better"]["error_rate"] is False
    epochs = next(Path("runs").glob("*/checkpoints/epochs.txt")).read_text()
    assert 1 <= int(epochs) <= 30
    assert Path("tracked.txt").read_text().endswith("finished\n")


def test_the_contract_of_each_part_is_five_lines():
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:-1]
    assert len(sections) == 8
    for section in sections:
        assert len(re.findall(r"^- ", section, re.MULTILINE)) == 5, section[:40]
