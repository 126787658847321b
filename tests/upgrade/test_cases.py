"""Every rule about an argument has a case, and what it writes binds to the installed class."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from polymodal.preflight.rules.signatures import check_against_signature
from polymodal.upgrade.changes import ProjectFacts
from polymodal.upgrade.proof import prove
from polymodal.upgrade.rules import rules
from polymodal.upgrade.tree import FileResult, Tree
from polymodal.upgrade.yaml_files import rewrite_yaml

TABLE = yaml.safe_load(Path(__file__).with_name("cases.yaml").read_text(encoding="utf-8"))
CASES = [
    (name, rule, case)
    for name, of_class in TABLE.items()
    for rule, several in of_class.items()
    for case in several
]


def target_of(name: str) -> str:
    return (
        name if name.startswith(("torchmetrics", "transformers")) else f"pytorch_lightning.{name}"
    )


def text_of(target: str, options: dict[str, Any], in_line: bool) -> str:
    section = {"section": {"_target_": target, **options, "_last_": 1}}
    text = yaml.safe_dump(section, sort_keys=False, default_flow_style=True if in_line else None)
    return text.replace("_last_", "_recursive_").replace(": 1", ": true  # stays", 0)


@pytest.mark.parametrize("in_line", [False, True], ids=["block", "in line"])
@pytest.mark.parametrize(("name", "rule", "case"), CASES, ids=lambda case_part: str(case_part)[:60])
def test_a_rule_does_what_its_case_says(name, rule, case, in_line):
    target, path = target_of(name), Path("configs/any.yaml")
    old = text_of(target, case["old"], in_line)
    result = rewrite_yaml(old, path, ProjectFacts())
    now = yaml.safe_load(result.text)["section"]
    assert rule in {change.rule for change in result.changes}
    assert rewrite_yaml(result.text, path, ProjectFacts()).text == result.text
    now.pop("_recursive_")
    if case.get("left"):
        remaining = {n: v for n, v in now.items() if n in case["old"]}
        assert remaining == case["old"]
        assert any(change.is_undecided and change.note for change in result.changes)
        return
    assert now.pop("_target_") == target_of(case.get("class", name))
    assert now == case["new"]
    done = FileResult(path, old.encode(), old, result)
    assert [
        finding.text() for finding in prove(Tree((done,), ()), check_against_signature).findings
    ] == []


def test_every_rule_about_an_argument_has_a_case():
    tested = {name for _, name, _ in CASES}
    without = [rule for rule in rules("argument") if rule.id not in tested]
    # Arguments that only code gives have their cases there.
    source = Path(__file__).with_name("test_python_calls.py").read_text(encoding="utf-8")
    assert {rule.library for rule in without} <= {"transformers"}
    assert all(any(f"{old}=" in source for old in rule.old) for rule in without)
