"""Who may import whom: the table of docs/architecture.md, walked."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import polymodal

PACKAGE = Path(polymodal.__file__).parent
EVERYTHING = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
MAY: dict[str, set[str]] = {
    "contracts": set(),
    "safety": set(),
    "layers": set(),
    "corpora": {"safety", "pages"},
    "data": {"safety"},
    "encoders": {"layers", "safety"},
    "features": {"encoders", "safety"},
    "models": {"layers"},
    "voting": set(),
    "evaluation": set(),
    "training": {"data", "encoders", "features", "models", "evaluation", "safety"},
    "record": {"safety"},
    "pages": {"evaluation", "record", "safety"},
    "ui": {"safety", "record", "pages"},
    "study": {"record", "voting", "evaluation", "pages"},
    "assemble": EVERYTHING - {"cli", "preflight"},
    "preflight": EVERYTHING - {"cli"},
    "cli": EVERYTHING,
    "configs": set(),
}
HEAVY: dict[str, set[str]] = {
    "hydra": {"assemble", "cli"},
    "omegaconf": {"assemble", "cli"},
    "pytorch_lightning": {"training", "assemble"},
    "lightning_fabric": {"training"},
    "opensmile": {"encoders"},
    "transformers": {"encoders"},
    "tokenizers": {"encoders"},
    "peft": {"encoders"},
    "trackio": {"record"},
    "wandb": {"record"},
    "tensorboard": {"record"},
    "mlflow": {"record"},
}
NO_TORCH = ("record", "corpora", "voting", "safety", "cli", "preflight", "ui")
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


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def test_every_room_is_in_the_table():
    rooms = {room_of(path) for path in FILES if path.parent != PACKAGE}
    assert rooms == set(MAY)
    table = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert all(f"`{room}/`" in table for room in rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may(path):
    room = room_of(path)
    for name in imports(path):
        first, _, rest = name.partition(".")
        if first == "polymodal" and rest and path.parent != PACKAGE:
            other = rest.partition(".")[0]
            assert other in MAY[room] | {room, "contracts", "errors"}, f"{path} imports {name}"
            assert other != "encoders" or room != "features" or name.endswith("extractor")
        allowed = HEAVY.get(first)
        assert allowed is None or room in allowed, f"{path} imports {name}"
        assert first != "torch" or room not in NO_TORCH, f"{path} imports torch"


def test_nobody_imports_the_command_line():
    for path in FILES:
        if room_of(path) not in ("cli", "__main__.py"):
            assert not [name for name in imports(path) if name.startswith("polymodal.cli")], path


def test_only_one_file_instantiates():
    users = [path for path in FILES if "hydra.utils" in imports(path)]
    assert [str(path.relative_to(PACKAGE)) for path in users] == ["assemble/build.py"]


@pytest.mark.parametrize(
    "module",
    [
        "polymodal.record.index",
        "polymodal.contracts.predictions",
        "polymodal.contracts.manifest",
        "polymodal.voting.soft",
        "polymodal.evaluation.evaluate",
        "polymodal.cli.runs",
        "polymodal.ui.server",
    ],
)
def test_it_starts_without_torch(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
