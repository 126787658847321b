"""Who may import whom: the table of docs/architecture.md, walked."""

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import polymodal

PACKAGE = Path(polymodal.__file__).parent
LAYERS: Mapping[str, str] = {  # a package to those it may import, `schemas` and `errors` aside
    "schemas": "",
    "security": "",
    "layers": "",
    "data": "security",
    "encoders": "layers security",
    "features": "encoders security",
    "models": "layers",
    "ensemble": "",
    "evaluation": "",
    "training": "encoders evaluation models security",
    "tracking": "security",
    "corpora": "security",
    "config": "encoders security tracking training",
    "upgrade": "config security",
    "experiment": "config corpora data encoders evaluation features security tracking training",
    "preflight": "config corpora data encoders evaluation experiment security training upgrade",
    "runs": "config corpora data encoders ensemble evaluation experiment features preflight"
    " security tracking training",
    "report": "config corpora data evaluation runs security tracking",
    "study": "config data evaluation experiment preflight report runs security tracking training",
    "export": "config experiment report runs security tracking training",
    "doctor": "tracking",
    "ui": "report security tracking",
    "configs": "",
}
MAY = {package: {*allowed.split()} for package, allowed in LAYERS.items()}
HEAVY: dict[str, set[str]] = {
    "hydra": {"config", "cli"},
    "omegaconf": {"config", "runs", "study", "export", "cli"},
    "pytorch_lightning": {"training", "experiment", "runs"},
    "lightning_fabric": {"training"},
    "opensmile": {"encoders"},
    "transformers": {"encoders"},
    "tokenizers": {"encoders"},
    "peft": {"encoders"},
    "trackio": {"tracking"},
    "wandb": {"tracking"},
    "tensorboard": {"tracking"},
    "mlflow": {"tracking"},
}
NO_TORCH = ("tracking", "corpora", "ensemble", "security", "cli", "preflight", "ui", "report")
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.append(node.module or "")
    return names


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def test_every_package_is_in_the_table():
    packages = {package_of(path) for path in FILES if path.parent != PACKAGE}
    assert packages == {*MAY, "cli"}
    table = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert all(f"`{package}/`" in table for package in packages)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_package_imports_only_what_it_may(path):
    package = package_of(path)
    for name in imports(path):
        first, _, rest = name.partition(".")
        if first == "polymodal" and rest and path.parent != PACKAGE:
            other = rest.partition(".")[0]
            shared = {package, "schemas", "errors", "diagnostics", "waiting"}
            assert package == "cli" or other in MAY[package] | shared, f"{path} imports {name}"
        allowed = HEAVY.get(first)
        assert allowed is None or package in allowed, f"{path} imports {name}"
        assert first != "torch" or package not in NO_TORCH, f"{path} imports torch"


def test_data_flows_one_way():
    below: set[str] = set()
    for package, allowed in MAY.items():
        assert allowed <= below, f"{package} imports a package that stands below it in the table"
        below.add(package)


def test_nobody_imports_the_command_line():
    for path in FILES:
        if package_of(path) not in ("cli", "__main__.py"):
            assert not [name for name in imports(path) if name.startswith("polymodal.cli")], path


def test_only_one_file_instantiates():
    users = [path for path in FILES if "hydra.utils" in imports(path)]
    assert [str(path.relative_to(PACKAGE)) for path in users] == ["config/instantiate.py"]


@pytest.mark.parametrize(
    "module",
    [
        "polymodal.tracking.index",
        "polymodal.schemas.predictions",
        "polymodal.schemas.manifest",
        "polymodal.ensemble.soft",
        "polymodal.evaluation.score",
        "polymodal.cli.runs",
        "polymodal.ui.server",
    ],
)
def test_it_starts_without_torch(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
