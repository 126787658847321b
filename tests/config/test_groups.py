"""Swapping one group leaves every other section of the composed configuration as it was."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

import polymodal.configs
from polymodal.config.compose import apply_overrides, compose
from polymodal.errors import ConfigError

CONFIGS = Path(polymodal.configs.__file__).parent
# These change other sections on purpose, or belong to another command.
OVERLAYS = ("experiment", "debug", "hydra", "ensemble", "study")
OPTIONS = sorted(
    (path.relative_to(CONFIGS).parts[0], path.relative_to(CONFIGS).with_suffix("").as_posix())
    for path in CONFIGS.rglob("*.yaml")
    if path.parent != CONFIGS and path.relative_to(CONFIGS).parts[0] not in OVERLAYS
)


def sections(composed):
    return OmegaConf.to_container(composed.config, resolve=False)


def _holds(whole, part) -> bool:
    """Whether all of a nested mapping is in another one; an option may inherit the rest."""
    if isinstance(part, dict):
        return all(name in whole and _holds(whole[name], one) for name, one in part.items())
    return whole == part


def test_every_group_has_its_options():
    assert {group for group, _ in OPTIONS} == set(
        [
            "alert",
            "balance",
            "callbacks",
            "corpus",
            "data",
            "encoder",
            "loss",
            "model",
            "optimizer",
            "paths",
            "scheduler",
            "scores",
            "split",
            "task",
            "text",
            "tracker",
            "trainer",
        ]
    )
    assert len(OPTIONS) == len(list(CONFIGS.rglob("*.yaml"))) - sum(
        len(list((CONFIGS / overlay).rglob("*.yaml"))) for overlay in OVERLAYS
    ) - len(list(CONFIGS.glob("*.yaml")))


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_swapping_a_group_touches_no_other_section(workplace, group, name):
    option = name.removeprefix(f"{group}/")
    base, swapped = sections(compose([])), sections(compose([f"{group}={option}"]))
    wanted = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"))
    moved = {"task", "loss", "scores"} if group == "task" else {group}  # a task brings its own
    assert {k: v for k, v in swapped.items() if k not in moved} == {
        k: v for k, v in base.items() if k not in moved
    }
    wanted.pop("defaults", None)
    assert _holds(swapped[group], wanted) or group in ("corpus", "trainer", "scores")
    for key, value in wanted.items():
        assert swapped[group][key] == value or isinstance(value, dict)


def test_several_encoders_are_joined_by_their_names(workplace):
    encoders = sections(compose(["encoder=[egemaps,use]"]))["encoder"]
    assert list(encoders) == ["speech", "text"]
    assert list(sections(compose(["encoder=bytes"]))["encoder"]) == ["text"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.max_epoch=3", "no option 'trainer.max_epoch'.*did you mean 'trainer.max_epochs'"),
        ("modle=unimodal", "no option 'modle'.*did you mean 'model'"),
        ("model=unimodl", "group 'model' has no option 'unimodl'.*did you mean 'unimodal'"),
        ("experiment=emodb/egemap", "has no option 'emodb/egemap'.*did you mean 'emodb/egemaps'"),
        ("model=", "."),
        ("trainer.max_epochs", "."),
        ("a=b=[", "."),
    ],
)
def test_a_wrong_override_is_explained(workplace, override, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        compose([override])


def test_an_option_that_the_chosen_model_lacks_is_not_suggested(workplace):
    with pytest.raises(ConfigError, match=r"no option 'model\.width'") as caught:
        compose(["model=unimodal", "encoder=egemaps", "model.width=8"])
    assert "did you mean 'model.width'" not in str(caught.value)


def test_a_project_adds_its_own_options(workplace):
    folder = workplace / "configs" / "model"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("_target_: mine.Model\nwidth: 3\n")
    assert sections(compose(["model=mine"]))["model"] == {"_target_": "mine.Model", "width": 3}


def test_a_stored_configuration_is_changed_by_value_and_by_group(workplace):
    stored = compose(["experiment=sample/text"])
    changed = apply_overrides(
        stored, ["trainer.devices=2", "corpus=emodb", "split.groups=[speaker,sentence]"]
    )
    before, after = sections(stored), sections(changed)
    assert after["trainer"]["devices"] == 2
    assert after["split"]["groups"] == ["speaker", "sentence"]
    assert after["corpus"] == sections(compose(["corpus=emodb"]))["corpus"]
    assert after["encoder"] == before["encoder"]
    with pytest.raises(ConfigError, match=r"did you mean 'trainer.devices'"):
        apply_overrides(stored, ["trainer.device=2"])


def test_missing_values_are_named(workplace):
    with pytest.raises(ConfigError, match=r"corpus.classes has no value"):
        compose(["corpus=table"]).resolved()
