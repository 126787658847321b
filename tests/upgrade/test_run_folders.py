"""A stored run of every released version, and of what came before: shown, tested, repeated."""

import importlib.util
import inspect
import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml

from polymodal.security.targets import resolve_target
from polymodal.upgrade.own_names import MOVED_MODULES, RENAMED_OPTIONS
from polymodal.upgrade.rules import rules
from polymodal.upgrade.run_folders import MIGRATIONS, rewrite_run

ASSETS = Path(__file__).parents[1] / "assets" / "runs"
RUNS = sorted(run for version in ASSETS.iterdir() for run in version.iterdir())


@pytest.fixture(params=RUNS, ids=lambda path: f"{path.parent.name}/{path.name}")
def stored(request, workplace) -> Path:
    folder = workplace / "runs" / request.param.name
    shutil.copytree(request.param, folder)
    return folder


def scores_of(run: Path) -> dict[str, float]:
    return json.loads((run / "run.json").read_text())["scores"]


def last(stored: Path) -> Path:
    return max(path for path in stored.parent.iterdir() if path.is_dir() and path != stored)


def test_a_stored_run_is_carried_forward_shown_and_tested(stored, polymodal, workplace):
    code, _, error = polymodal("test", stored.name)
    assert code == 2, "a run that needs no upgrade belongs into another test"
    assert "task.monitor" in error
    assert f"hint: polymodal upgrade {stored.relative_to(workplace)} --write" in error
    assert polymodal("run", "--again", stored.name)[2].endswith(error[-40:])
    code, out, _ = polymodal("upgrade", str(stored), "--write")
    assert code == 0
    assert "3 changes in 1 file, 0 undecided" in out
    code, out, _ = polymodal("show", stored.name, "--json")
    assert (code, json.loads(out)["run_id"]) == (0, stored.name)
    assert polymodal("test", stored.name)[0] == 0
    tested = last(stored)
    assert scores_of(tested)["test/uar"] == pytest.approx(scores_of(stored)["test/uar"], abs=0.05)
    before, after = (
        pl.read_parquet(path / "predictions/test.parquet") for path in (stored, tested)
    )
    assert before["utterance_id"].to_list() == after["utterance_id"].to_list()
    assert polymodal("upgrade", str(stored))[1] == "0 changes, 0 undecided\n"


@pytest.mark.slow
def test_a_stored_run_is_reported_and_repeated(stored, polymodal):
    assert polymodal("upgrade", str(stored), "--write")[0] == 0
    assert polymodal("report", stored.name)[0] == 0
    assert (stored / "report.html").is_file()
    code, _, error = polymodal("run", "--again", stored.name)
    assert code == 0, error
    repeated = scores_of(last(stored))["test/uar"]
    assert repeated == pytest.approx(scores_of(stored)["test/uar"], abs=0.05)


@pytest.mark.parametrize("run", RUNS, ids=lambda path: path.name)
def test_a_stored_run_is_small(run):
    assert sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) < 200_000


def test_the_leading_score_is_that_of_the_callbacks():
    old = "task:\n  _target_: a  # of old\ncallbacks:\n  stop: {monitor: val/macro_f1}\nseed: 0\n"
    result = rewrite_run(old, Path("config.yaml"))
    assert result.text == old.replace("# of old\n", "# of old\n  monitor: macro_f1\n")
    (change,) = result.changes
    assert (change.line, change.after) == (1, "task.monitor: macro_f1")
    assert rewrite_run(result.text, Path("config.yaml")).changes == ()
    bare = rewrite_run("task: {_target_: a}\n", Path("config.yaml")).text
    assert yaml.safe_load(bare)["task"]["monitor"] == "uar"


def test_targets_name_the_modules_of_today():
    old = (
        "model: {_target_: polymodal.models.early.EarlyFusion}\nloss:\n  _target_: polymodal.a.B\n"
    )
    result = rewrite_run(old, Path("config.yaml"))
    assert result.text == old.replace("models.early.", "models.concat.")
    assert rewrite_run(result.text, Path("config.yaml")).changes == ()


def test_options_have_the_names_of_today():
    target = "_target_: polymodal.encoders.logmel.LogMelEncoder\n"
    old = f"a:\n  {target}  max_time_share: 0.2\n  waveform_augment: {{share: 0.5}}\n"
    made = rewrite_run(old, Path("config.yaml"))
    new = "  max_time_fraction: 0.2\n  waveform_augment: {probability: 0.5}\n"
    assert made.text == f"a:\n  {target}{new}"


@pytest.mark.parametrize("target", RENAMED_OPTIONS)
def test_renamed_options_exist(target):
    parameters = inspect.signature(resolve_target(target, "")).parameters
    names = {old: new for old, new in RENAMED_OPTIONS[target].items() if "." not in old}
    assert {*names.values()} <= {*parameters}
    assert not {*names} & {*parameters}


@pytest.mark.parametrize("module", MOVED_MODULES.values())
def test_moved_modules_exist(module):
    assert importlib.util.find_spec(f"polymodal.{module}")


def test_other_files_of_a_run_stay():
    assert rewrite_run('{"run_id": "a"}', Path("run.json")).changes == ()
    assert rewrite_run("", Path("config.yaml")).text == ""


def test_migrations_stand_in_the_order_of_their_releases():
    assert [migration.version for migration in MIGRATIONS] == sorted(
        migration.version for migration in MIGRATIONS
    )
    assert "own-config" in {rule.id for rule in rules("form")}
