"""What is installed: one version, the console script, the extras, the YAML in the wheel."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata

import pytest

EXTRAS = ["alerts", "datasets", "dev", "embedded", "mlflow", "opensmile", "pretrained"]
EXTRAS += ["resemblyzer", "signals", "tensorboard", "wandb"]


@pytest.fixture(scope="module")
def project(repository_root) -> dict:
    """The project table of pyproject.toml."""
    tables = tomllib.loads((repository_root / "pyproject.toml").read_text(encoding="utf-8"))
    return tables["project"]


def test_the_version_has_one_source(repository_root, project):
    source = (repository_root / "src" / "polymodal" / "__init__.py").read_text(encoding="utf-8")
    assert "version" not in project
    assert re.findall(r'^__version__ = "(\d+\.\d+\.\d+)"$', source, re.MULTILINE)


def test_the_extras_are_one_per_concern(project):
    extras = project["optional-dependencies"]
    assert sorted(extras) == EXTRAS
    core = {re.split(r"[<>=]", name)[0] for name in project["dependencies"]}
    for extra, requirements in extras.items():
        assert not core & {re.split(r"[<>=]", name)[0] for name in requirements}, extra


def test_the_installed_command_starts_the_cli(project):
    assert project["scripts"] == {"polymodal": "polymodal.cli.main:main"}
    try:
        installed = metadata.entry_points(group="console_scripts", name="polymodal")
    except metadata.PackageNotFoundError:
        installed = ()
    if not installed:
        pytest.skip("polymodal is on the path but not installed (make venv installs it)")
    assert [point.value for point in installed] == ["polymodal.cli.main:main"]


def test_the_wheel_holds_every_file_of_the_package(repository_root, tmp_path):
    backend = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=repository_root,
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named hatchling" in backend.stderr:
        pytest.skip("the build backend is not installed (make venv installs it)")
    assert backend.returncode == 0, backend.stderr
    package = repository_root / "src" / "polymodal"
    sources = {
        str(path.relative_to(repository_root / "src"))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert sources <= held
    assert any(name.endswith(".yaml") for name in sources)
    assert any(name.endswith("licenses/LICENSE") for name in held)
