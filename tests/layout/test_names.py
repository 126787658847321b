"""Variables are named by what they hold; words that say nothing are not used."""

import ast
from collections import Counter
from pathlib import Path

import pytest

import polymodal

PACKAGE = Path(polymodal.__file__).parent
VAGUE = {
    *("one", "its", "mine", "some", "found", "told", "said", "made", "known", "words", "place"),
    *("places", "beside", "whole", "usual", "wanted", "kept", "share", "shares", "part", "parts"),
    *("chance", "chances", "lacking"),
}
PACKAGES = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())


def vague_names(package: str) -> Counter[str]:
    names: Counter[str] = Counter()
    for file in (PACKAGE / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names[node.id] += node.id in VAGUE
            elif isinstance(node, ast.arg):
                names[node.arg] += node.arg in VAGUE
    return +names


@pytest.mark.parametrize("package", PACKAGES)
def test_variables_are_named_by_what_they_hold(package):
    assert vague_names(package) == Counter()
