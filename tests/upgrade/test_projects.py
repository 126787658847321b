"""Small projects in the styles of 2020 to 2022: upgraded, bound, and upgraded no further."""

import shutil
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from pytorch_lightning import Trainer

from polymodal.preflight.rules.signatures import check_against_signature
from polymodal.upgrade.proof import prove
from polymodal.upgrade.report import undecided
from polymodal.upgrade.rules import rules
from polymodal.upgrade.tree import Tree, upgrade_tree
from polymodal.upgrade.write import write_tree

PROJECTS = Path(__file__).with_name("projects")
NAMES = sorted(path.name for path in PROJECTS.iterdir())
LOGS = ("hydra/hydra_logging=default", "hydra/job_logging=default")  # colours are a plugin's
# What a person has to decide in each project; all else has to bind.
LEFT = {
    "ancestor_2022": ["trainer-checkpoint-callback"],
    "arguments_2022": [],
    "cli_2022": ["trainer-stochastic-weight-avg"],
    "hydra_1_0": ["hydra-missing-header", "hydra-header-global-target"],
    "template_2021": ["trainer-accumulate-schedule"],
}


@pytest.fixture
def project(tmp_path, request) -> Path:
    target = tmp_path / request.param
    shutil.copytree(PROJECTS / request.param, target)
    return target


def upgraded(folder: Path) -> Tree:
    tree = upgrade_tree([folder])
    assert tree.errors == ()
    write_tree(tree, [folder])
    return tree


@pytest.mark.parametrize("project", NAMES, indirect=True)
def test_what_is_written_binds_but_for_what_is_left_to_a_person(project):
    tree = upgraded(project)
    assert [change.rule for _, change in undecided(tree)] == LEFT[project.name]
    proof = prove(tree, check_against_signature)
    left = {change.before.partition(":")[0] for _, change in undecided(tree)}
    assert {finding.key.rpartition(".")[2] for finding in proof.findings} <= left
    assert proof.count - proof.num_bound == len({finding.key for finding in proof.findings})


@pytest.mark.parametrize("project", NAMES, indirect=True)
def test_a_second_time_changes_nothing(project):
    before = upgraded(project)
    again = upgrade_tree([project])
    assert before.changed
    assert again.changed == []
    assert all(change.is_undecided for _, change in again.changes)


@pytest.mark.parametrize("project", NAMES, indirect=True)
def test_lines_of_the_report_are_lines_of_the_old_file(project):
    for path, change in upgrade_tree([project]).changes:
        line = path.read_text(encoding="utf-8").splitlines()[change.line - 1]
        word = change.before.partition(":")[0].split()[-1].strip("'\"")
        is_missing = change.before.startswith("no ") or "without" in change.before
        assert is_missing or word in line, f"{path}:{change.line}: {change.before}"


@pytest.mark.parametrize("project", ["ancestor_2022"], indirect=True)
def test_a_score_renamed_in_python_is_followed_into_monitors_and_filenames(project):
    upgraded(project)
    callbacks = (project / "configs/callbacks/default.yaml").read_text(encoding="utf-8")
    assert "val_F1Score" not in callbacks
    options = yaml.safe_load(callbacks)
    assert options["early_stopping"]["monitor"] == "val_MulticlassF1Score"
    name = "epoch={epoch}-val_MulticlassF1Score={val_MulticlassF1Score:.4f}"
    assert options["model_checkpoint"]["filename"] == name
    assert options["model_checkpoint"]["monitor"] == "${monitor}"
    model = (project / "architectures/multimodal.py").read_text(encoding="utf-8")
    assert 'task="multiclass"' in model
    assert "def on_validation_epoch_end(self)" in model


@pytest.mark.parametrize("project", ["template_2021"], indirect=True)
def test_the_upgraded_project_composes_and_its_trainer_is_built(project):
    upgraded(project)
    with initialize_config_dir(str(project / "configs"), version_base="1.1"):
        config = compose("train.yaml", overrides=["trainer=debug", *LOGS])
    trainer = instantiate(config.trainer)
    assert isinstance(trainer, Trainer)
    assert (trainer.num_devices, trainer.limit_val_batches) == (1, 0.1)


def test_every_form_that_code_looks_for_in_yaml_is_met_in_a_project():
    met = {change.rule for name in NAMES for _, change in upgrade_tree([PROJECTS / name]).changes}
    ours = [rule for rule in rules("form") if not rule.action.startswith("python")]
    assert {rule.id for rule in ours if rule.library == "hydra"} <= met
    assert "score-names" in met


def test_our_own_configurations_and_code_are_of_today():
    import polymodal

    package = Path(polymodal.__file__).parent
    code = [package / "training", package / "models", package / "cli" / "sweep.py"]
    tree = upgrade_tree([package / "configs", *code])
    assert [(str(path), change.rule, change.line) for path, change in tree.changes] == []
    assert tree.errors == ()
