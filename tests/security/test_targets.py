"""A configuration may name our classes and some libraries' classes, and nothing that acts."""

import os

import pytest

from polymodal.errors import ConfigError
from polymodal.security.targets import resolve_target


@pytest.mark.parametrize(
    "name",
    [
        "os.makedirs",
        "builtins.open",
        "builtins.eval",
        "torch.load",
        "torch.hub.load",
        "numpy.load",
        "subprocess.run",
        "pathlib.Path.unlink",
        "polymodal.data.signals.np.load",
        "polymodal.tracking.environment.subprocess.run",
        "polymodal.tracking.environment.os.makedirs",
        "polymodal.training.checkpoints.torch.load",
        "torch.nn.functional.cross_entropy",
        "pytorch_lightning.seed_everything",
        "torch.optim",
    ],
)
def test_what_is_not_on_the_list_is_refused(name):
    with pytest.raises(ConfigError, match=r"model\._target_"):
        resolve_target(name, "model")


@pytest.mark.parametrize(
    "name",
    [
        "torch.optim.AdamW",
        "torch.nn.CrossEntropyLoss",
        "torchmetrics.Accuracy",
        "pytorch_lightning.Trainer",
        "polymodal.data.splits.holdout",
    ],
)
def test_what_is_on_the_list_is_found(name):
    assert resolve_target(name, "key").__name__ == name.rpartition(".")[2]


def test_near_names_are_shown():
    with pytest.raises(ConfigError, match="did you mean 'AdamW'"):
        resolve_target("torch.optim.AdmW", "optimizer")
    with pytest.raises(ConfigError, match="no module"):
        resolve_target("polymodal.modles.Thing", "model")


@pytest.mark.parametrize(
    "override",
    [
        "model._target_=os.makedirs",
        "+model.extra={_target_: os.makedirs, name: marker}",
        "+tracker.mine={_target_: os.makedirs, name: marker}",
        "+callbacks.mine={_target_: os.makedirs, name: marker}",
    ],
)
def test_an_override_cannot_call_anything_else(polymodal, override):
    name = [] if "name" in override else [f"+{override.split('.')[0]}.name=marker"]
    code, _, error = polymodal("run", override, *name)
    assert code == 2
    assert "os.makedirs is not allowed" in error
    assert not os.path.exists("marker")
    assert not os.path.exists("runs")


def test_a_projects_own_package_must_be_named(tmp_path, monkeypatch):
    (tmp_path / "ours_only.py").write_text("class Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="not allowed"):
        resolve_target("ours_only.Thing", "model")
    assert resolve_target("ours_only.Thing", "model", ["ours_only"]).__name__ == "Thing"
