"""The doctor: releases, disk, clock and configurations, and libraries that cannot be asked."""

import json
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from polymodal.doctor import machine, probe
from polymodal.doctor.packages import extras, packages, tables, withdrawn

REQUIRES = [
    "numpy<3,>=2",
    "torch<3,>=2.10",
    'wandb<1,>=0.31; extra == "wandb"',
    'mlflow-skinny>=3.17; extra == "mlflow"',
    'pytest; extra == "dev"',
    'winreg; sys_platform == "win31"',
]
TESTED = {
    "oldest": {"ok": True, "versions": {"numpy": "2.0.0", "torch": "2.11.0", "wandb": "0.31.0"}},
    "newest": {"ok": True, "versions": {"numpy": "2.4.6", "torch": "2.13.0+cpu"}},
    "broken": {"ok": False, "versions": {"numpy": "2.9.0"}},
}


def said(lines) -> list[tuple[str, str]]:
    return [(line.state, line.message) for line in lines]


@pytest.mark.parametrize(
    ("installed", "state", "message"),
    [
        ({"numpy": "2.4.1"}, "ok", "numpy 2.4.1 (tested: 2.0.0 to 2.4.6)"),
        ({"numpy": "2.9.0"}, "warning", "numpy 2.9.0 (tested: 2.0.0 to 2.4.6)"),
        ({"numpy": "1.26.4"}, "fault", "numpy 1.26.4 (allowed: <3,>=2)"),
        ({}, "fault", "numpy is missing"),
        ({"numpy": "2.0", "torch": "2.13.0+cu130"}, "ok", "torch 2.13.0+cu130"),
        ({"numpy": "2.0", "torch": "2.10.0"}, "warning", "torch 2.10.0 (tested: 2.11.0 to 2.13.0)"),
        ({"numpy": "2.0", "mlflow-skinny": "3.17"}, "warning", "mlflow-skinny 3.17: no release"),
    ],
)
def test_a_release_is_compared_with_what_is_allowed_and_tested(installed, state, message):
    lines = said(packages(installed, REQUIRES, TESTED))
    assert [line for line in lines if line[0] == state and line[1].startswith(message)], lines


def test_what_an_extra_wants_is_asked_for_by_nobody_else():
    lines = said(packages({"numpy": "2.0.0", "torch": "2.13.0"}, REQUIRES, TESTED))
    assert len(lines) == 2
    there, missing = extras({"wandb": "0.31.0"}, REQUIRES)
    assert there.message == "installed: wandb"
    assert missing.message == "not installed: mlflow (pip install 'polymodal[mlflow]')"


def test_every_release_that_is_known_to_be_bad_is_found():
    dangerous, _ = tables()
    for entry in dangerous:
        for text in entry["releases"]:
            releases = SpecifierSet(text)
            named = [*(specifier.version for specifier in releases), "0.1"]
            version = next(filter(releases.contains, named))
            (line,) = withdrawn({entry["package"]: version}, [entry])
            assert (line.state, entry["source"] in line.hint) == ("fault", True)
    assert not list(withdrawn({"lightning": "2.6.6", "torch": "2.13.0+cpu"}, dangerous))


def test_the_worst_is_said_of_a_package_that_has_several_faults():
    (line,) = withdrawn({"lightning": "2.6.3"}, tables()[0])
    assert "steals credentials" in line.message


@pytest.fixture(scope="module")
def requirements(repository_root) -> dict[str, Requirement]:
    """What pyproject.toml asks for, extras included."""
    text = (repository_root / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return {
        requirement.name.lower().replace(".", "-"): requirement
        for requirement in map(Requirement, lines)
    }


def test_no_oldest_release_that_is_allowed_is_known_to_be_bad(requirements):
    oldest = {
        name: next(
            (item.version for item in requirement.specifier if item.operator in (">=", "==")), ""
        )
        for name, requirement in requirements.items()
    }
    assert oldest["pytorch-lightning"] == "2.6.6"
    assert not list(
        withdrawn({name: version for name, version in oldest.items() if version}, tables()[0])
    )


def test_the_table_holds_what_was_run(requirements):
    _, tested = tables()
    assert {"oldest", "newest"} <= set(tested)
    for name, versions in tested.items():
        assert versions["ok"] is not bool(versions["failed"]), name
        assert versions["passed"] > 1_000
        for package, version in versions["versions"].items():
            assert requirements[package].specifier.contains(Version(version)), (name, package)
    assert Version(tested["oldest"]["versions"]["torch"]) < Version(
        tested["newest"]["versions"]["torch"]
    )


def test_disks_are_named_once_and_missing_folders_by_their_parents(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.tempfile, "gettempdir", lambda: str(tmp_path))
    paths = {"runs": str(tmp_path / "not" / "there"), "store": str(tmp_path)}
    (line,) = machine.disk(paths)
    assert f"free at {tmp_path} (runs, store, temporary files)" in line.message
    monkeypatch.setattr(machine, "MIN_FREE_GB", 1e9)
    (line,) = machine.disk(paths)
    assert line.state == "warning"
    assert "polymodal features" in line.hint


def test_a_folder_that_cannot_be_written_to_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    faults = [line for line in machine.disk({"runs": str(tmp_path)}) if line.state == "fault"]
    assert f"{tmp_path} (runs) cannot be written to" in [line.message for line in faults]


def test_a_clock_that_differs_from_the_disks_is_said(tmp_path, monkeypatch):
    assert machine.clock(tmp_path).state == "ok"
    now = machine.time.time()
    monkeypatch.setattr(machine.time, "time", lambda: now + 3600)
    line = machine.clock(tmp_path)
    assert line.state == "warning"
    assert "that of the disk is -3600 s off" in line.message or "-3599 s" in line.message


def test_a_project_without_a_commit_is_said(tmp_path):
    (line,) = machine.repository(tmp_path)
    assert (line.state, "git init" in line.hint) == ("warning", True)


def test_experiments_that_no_longer_bind_are_named(polymodal, workplace: Path, monkeypatch):
    import polymodal as package

    experiments = Path(package.__file__).parent / "configs" / "experiment" / "sample"
    folder = workplace / "configs" / "experiment" / "old"
    folder.mkdir(parents=True)
    text = (experiments / "speech.yaml").read_text(encoding="utf-8")
    (folder / "gpus.yaml").write_text(f"{text}\ntrainer: {{gpus: 1}}\n", encoding="utf-8")
    monkeypatch.setenv("POLYMODAL_RUNS", str(workplace / "elsewhere"))
    code, out, _ = polymodal("doctor", "--json")
    answer = json.loads(out)
    faults = [line for line in answer["lines"] if line["state"] == "fault"]
    assert (code, answer["ok"], len(faults)) == (2, False, 1), faults
    assert faults[0]["found"].startswith("old/gpus: ")
    assert "gpus" in faults[0]["found"]
    topics = {line["topic"] for line in answer["lines"]}
    expected = {"python", "packages", "extras", "devices", "disk", "clock", "code", "configs"}
    assert topics == expected


def test_a_library_that_crashes_is_a_line_and_not_the_end(polymodal, workplace, monkeypatch):
    broken = workplace / "broken" / "torch"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("import os; os.abort()\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    code, out, err = polymodal("doctor")
    assert code == 2
    assert "torch cannot be imported: it was ended by signal 6" in out
    assert "clock" in out
    assert "Traceback" not in out + err


def test_a_python_that_is_not_there_is_said(polymodal):
    code, out, _ = polymodal("doctor", "--python", "/nowhere/python")
    assert code == 2
    assert "/nowhere/python does not answer: No such file or directory" in out


def test_an_answer_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "TIME_LIMIT_S", 0.2)
    monkeypatch.setitem(probe.QUESTIONS, "devices", "import time; time.sleep(30)")
    answer, fault = probe.ask(sys.executable, "devices", tmp_path)
    assert (answer, fault) == (None, "no answer within 0.2 s")
