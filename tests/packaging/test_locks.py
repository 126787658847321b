"""The locks: complete, hashed, of one mind, and free of the machine that made them."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

LOCKED_EXTRAS = ["opensmile", "embedded", "signals", "pretrained", "dev"]
CPU_OR_CUDA = ["cpu", "cuda"]
PIN = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^ ;]+)(?P<marker> ; [^\\]+?)? --hash=.+"
)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def read_lock(root: Path, name: str) -> list[str]:
    """Entries of a lock, one a package, continued lines joined."""
    text = (root / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def read_pins(root: Path, name: str) -> dict[str, Version]:
    """Package and version of every entry of a lock."""
    matches = [PIN.fullmatch(entry) for entry in read_lock(root, name)]
    return {match["name"]: Version(match["version"]) for match in matches if match is not None}


def read_project(root: Path) -> dict[str, object]:
    """The project table of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [*CPU_OR_CUDA, "build", "uv"])
def test_every_line_of_a_lock_is_one_pinned_version_with_hashes(repository_root, name):
    entries = read_lock(repository_root, name)
    assert entries
    for entry in entries:
        assert PIN.fullmatch(entry), entry[:80]
        hashes = [word for word in entry.split() if word.startswith("--")]
        assert all(HASH.fullmatch(word) for word in hashes), entry[:80]


@pytest.mark.parametrize(("name", "version"), [("cpu", "2.13.0+cpu"), ("cuda", "2.13.0")])
def test_a_lock_holds_its_build_of_torch(repository_root, name, version):
    assert str(read_pins(repository_root, name)["torch"]) == version


def test_only_the_cuda_lock_has_cuda_packages(repository_root):
    cpu, cuda = (set(read_pins(repository_root, name)) for name in CPU_OR_CUDA)
    more = cuda - cpu
    assert cpu <= cuda
    assert any(name.startswith("nvidia-cudnn") for name in more)
    assert all(re.match(r"nvidia-|cuda-|triton$", name) for name in more), sorted(more)


def test_the_locks_agree_on_every_version(repository_root):
    cuda = read_pins(repository_root, "cuda")
    for name in ["cpu", "build"]:
        pins = read_pins(repository_root, name)
        differing = {package for package in pins if pins[package].public != cuda[package].public}
        assert not differing, name


@pytest.mark.parametrize("name", CPU_OR_CUDA)
def test_a_lock_satisfies_every_dependency_it_is_made_for(repository_root, name):
    pins = read_pins(repository_root, name)
    tables = read_project(repository_root)
    project = tables["project"]
    wanted = [*project["dependencies"], *tables["build-system"]["requires"]]
    for extra in LOCKED_EXTRAS:
        wanted += project["optional-dependencies"][extra]
    for requirement in map(Requirement, wanted):
        locked = pins.get(canonicalize_name(requirement.name))
        assert locked is not None, requirement
        assert requirement.specifier.contains(locked), (requirement, locked)


def test_what_needs_a_compiler_is_in_no_lock(repository_root):
    for name in CPU_OR_CUDA:
        assert not {"resemblyzer", "webrtcvad"} & set(read_pins(repository_root, name))


def test_every_python_the_project_allows_is_one_the_installer_allows(repository_root):
    project = read_project(repository_root)["project"]
    assert project["requires-python"] == ">=3.11,<3.14"
    named = [line.rsplit(" ", 1)[1] for line in project["classifiers"] if ":: 3." in line]
    assert named == ["3.11", "3.12", "3.13"]
    installer = (repository_root / "tools" / "make_environment.py").read_text(encoding="utf-8")
    assert "OLDEST, NEWEST = (3, 11), (3, 13)" in installer


def test_no_packaging_file_names_an_index_or_a_folder_of_a_machine(repository_root):
    files = [*repository_root.glob("requirements/*"), *repository_root.glob("tools/*.*")]
    files += [repository_root / name for name in ["pyproject.toml", "Makefile", ".ci/run"]]
    foreign = re.compile(
        r"https?://|file://|--(?:extra-)?index-url|--find-links|/(?:home|root|opt|work)/"
    )
    for file in files:
        found = foreign.search(file.read_text(encoding="utf-8"))
        assert found is None, (file.name, found)
