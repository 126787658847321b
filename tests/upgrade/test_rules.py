"""The rules are true: the installed libraries take what they write, and not what they replace."""

import importlib
import inspect
import pkgutil
from typing import Any

import pytest

from polymodal.upgrade.arguments import Call, Expression, rewrite_arguments
from polymodal.upgrade.names import current
from polymodal.upgrade.removed import removed_from
from polymodal.upgrade.rules import GROUPS, Rule, rules

HOMES = {
    "pytorch_lightning": (
        *("pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.loggers"),
        *("pytorch_lightning.profilers", "pytorch_lightning.strategies"),
    ),
    "torchmetrics": ("torchmetrics",),
    "transformers": ("transformers",),
}
# Classes that are gone themselves: other rules give them their new names.
GONE = {"GPUStatsMonitor", "XLAStatsMonitor", "DDPPlugin", "DDPSpawnPlugin", "DeepSpeedPlugin"}
ARGUMENTS = rules("argument")


def apply(arguments, edits):
    """Return the arguments with edits applied."""
    by_name = {edit.argument: edit for edit in edits if not edit.is_undecided}
    result = {}
    for name, value in arguments.items():
        result.update(by_name[name].sets if name in by_name else [(name, value)])
    for name, edit in by_name.items():
        if name not in arguments:
            result.update(edit.sets)
    for edit in by_name.values():
        if edit.callback is not None:
            result["callbacks"] = [*(result.get("callbacks") or ()), edit.callback]
    return result


def classes_of(rule: Rule) -> list[Any]:
    names = [
        n for group in rule.classes for n in sorted(GROUPS.get(group, {group})) if n[0].isupper()
    ]
    homes = [importlib.import_module(home) for home in HOMES[rule.library]]
    classes = {n: next((getattr(h, n) for h in homes if hasattr(h, n)), None) for n in names}
    assert {n for n, cls in classes.items() if cls is None} <= GONE, rule.id
    return [cls for cls in classes.values() if cls is not None]


def parameters(target: Any) -> dict[str, inspect.Parameter]:
    callable_ = target.__new__ if "task" in inspect.signature(target.__new__).parameters else target
    return dict(inspect.signature(callable_).parameters)


def names_written(rule: Rule) -> set[str]:
    in_tables = {n for _, new in rule.values if isinstance(new, dict) for n in new}
    return {n for n in {*rule.new, *in_tables} if n != "callbacks"}


@pytest.mark.parametrize("rule", ARGUMENTS, ids=lambda rule: rule.id)
def test_what_a_rule_writes_is_taken_by_the_installed_class(rule):
    shared = rule.library == "torchmetrics" and rule.classes == ("classification",)
    for target in classes_of(rule):
        taken = parameters(target)
        if shared and rule.id != "torchmetrics-task":
            continue  # not every score has every option; the next test looks for one that has
        wild = any(p.kind is p.VAR_KEYWORD for p in taken.values())
        assert wild or names_written(rule) <= set(taken), f"{rule.id}: {target}"
    if shared:
        accepted = {name for target in classes_of(rule) for name in parameters(target)}
        assert names_written(rule) <= accepted


@pytest.mark.parametrize("rule", ARGUMENTS, ids=lambda rule: rule.id)
def test_what_a_rule_calls_removed_is_not_taken_any_more(rule):
    gone = [name for name in rule.old if name not in rule.new]
    if not rule.removed or rule.id.startswith(("trainer-accelerator", "trainer-plugins")):
        return  # some values are gone, not the argument
    if rule.action in ("ask",) and rule.ask_about is not None:
        return
    for target in classes_of(rule):
        assert not set(gone) & set(parameters(target)), f"{rule.id}: {target}"


@pytest.mark.parametrize("rule", [r for r in ARGUMENTS if r.callback], ids=lambda rule: rule.id)
def test_the_callback_of_a_rule_is_there(rule):
    module, _, name = rule.callback.rpartition(".")
    assert isinstance(getattr(importlib.import_module(module), name), type)


@pytest.mark.parametrize("rule", rules("name"), ids=lambda rule: rule.old[0])
def test_a_new_name_is_there_and_the_old_one_is_not(rule):
    for new in rule.new:
        assert is_there(new.removesuffix(".*")), new
    if rule.removed and rule.id not in ("name-progress-bar", "name-native-amp"):
        for old in rule.old:
            assert not is_there(old.removesuffix(".*")), old


def is_there(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_strategies_that_are_written_are_registered():
    from pytorch_lightning.strategies import StrategyRegistry

    accepted = {*StrategyRegistry.available_strategies(), "auto"}
    for rule in ARGUMENTS:
        for _, new in rule.values:
            written = new.get("strategy") if isinstance(new, dict) else None
            if rule.new == ("strategy",) and isinstance(new, str):
                written = new
            assert written is None or written in accepted, rule.id


def test_precisions_that_are_written_are_known():
    from typing import get_args

    from lightning_fabric.connector import _PRECISION_INPUT_STR

    written = [new for r in ARGUMENTS if r.id == "trainer-precision" for _, new in r.values]
    assert set(written) <= set(get_args(_PRECISION_INPUT_STR))


def test_ids_are_words_and_every_rule_says_since_when_and_why():
    for rule in rules():
        assert rule.id == rule.id.lower()
        assert " " not in rule.id
        assert rule.reason
        assert rule.source
        assert "://" not in rule.source


TRAINER = "pytorch_lightning.Trainer"
SPAWN = {"accelerator": "cpu", "strategy": "ddp_spawn"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"gpus": 4}, {"accelerator": "gpu", "devices": 4}),
        ({"gpus": -1}, {"accelerator": "gpu", "devices": -1}),
        ({"gpus": "-1"}, {"accelerator": "gpu", "devices": -1}),
        ({"gpus": [0, 3]}, {"accelerator": "gpu", "devices": [0, 3]}),
        ({"gpus": "0, 3,"}, {"accelerator": "gpu", "devices": [0, 3]}),
        ({"gpus": 0}, {"accelerator": "cpu", "devices": 1}),
        ({"gpus": None}, {"accelerator": "cpu", "devices": 1}),
        ({"gpus": None, "tpu_cores": 8}, {"accelerator": "tpu", "devices": 8}),
        ({"gpus": 0, "num_processes": 2}, {"accelerator": "cpu", "devices": 2}),
        ({"gpus": 1, "num_processes": 1}, {"accelerator": "gpu", "devices": 1}),
        ({"tpu_cores": None}, {}),
        ({"gpus": 2, "accelerator": "gpu"}, {"devices": 2, "accelerator": "gpu"}),
        ({"gpus": 2, "accelerator": None}, {"accelerator": "gpu", "devices": 2}),
        ({"gpus": 2, "devices": None}, {"accelerator": "gpu", "devices": 2}),
        ({"gpus": None, "accelerator": "gpu", "devices": 2}, {"accelerator": "gpu", "devices": 2}),
        (
            {"gpus": 2, "accelerator": "ddp", "plugins": "ddp_sharded"},
            {"accelerator": "gpu", "devices": 2, "strategy": "fsdp"},
        ),
        ({"accelerator": "ddp_cpu", "num_processes": 3}, {**SPAWN, "devices": 3}),
        (
            {"gpus": Expression("n"), "accelerator": "gpu"},
            {"devices": Expression("n"), "accelerator": "gpu"},
        ),
    ],
)
def test_devices_of_all_kinds_become_one_number(old, new):
    edits = rewrite_arguments(TRAINER, old)
    assert not [edit for edit in edits if edit.is_undecided]
    assert apply(old, edits) == new


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ({"gpus": "1"}, "before Lightning 1.5"),
        ({"gpus": Expression("args.gpus")}, "devices: args.gpus where it is 1 or more"),
        ({"gpus": 2, "devices": 3}, "devices is given, too"),
        ({"gpus": 0, "accelerator": "gpu"}, "is given, but no device"),
        ({"accelerator": "horovod"}, "no longer has it"),
        ({"accelerator": "ddp", "strategy": "fsdp"}, "strategy is given, too"),
    ],
)
def test_what_cannot_be_decided_is_left_alone_and_says_why(old, message):
    edits = rewrite_arguments(TRAINER, old)
    assert apply(old, edits) == old
    assert any(message in edit.note for edit in edits if edit.is_undecided)


def test_a_bar_takes_its_rate_and_its_place_along():
    old = {"process_position": 2, "progress_bar_refresh_rate": 20}
    bar = "pytorch_lightning.callbacks.TQDMProgressBar"
    result = apply(old, rewrite_arguments(TRAINER, old))
    assert result == {"callbacks": [Call(bar, {"refresh_rate": 20, "process_position": 2})]}


@pytest.mark.parametrize(
    ("old", "task"),
    [
        ({"num_classes": 4}, "multiclass"),
        ({"num_classes": 2}, "multiclass"),
        ({"num_classes": 1}, "binary"),
        ({"num_classes": 2, "multiclass": False}, "binary"),
        ({"num_labels": 6}, "multilabel"),
        ({"num_classes": Expression("n")}, "multiclass"),
        ({}, None),
        ({"num_classes": 6, "multilabel": True}, None),
        ({"task": "binary"}, "binary"),
    ],
)
def test_the_task_follows_from_the_number_of_classes(old, task):
    edits = rewrite_arguments("torchmetrics.F1Score", old)
    assert apply(old, edits).get("task") == task


def test_names_follow_the_installed_package():
    both = {"lightning", "pytorch_lightning"}
    trainer = "lightning.pytorch.Trainer"
    assert current(trainer, {"pytorch_lightning"}.__contains__).name == "pytorch_lightning.Trainer"
    assert current("pytorch_lightning.Trainer", {"lightning"}.__contains__).name == trainer
    assert current(trainer, both.__contains__) is None
    assert current("pytorch_lightning.Trainer", both.__contains__) is None
    moved = current("lightning.pytorch.profiler.SimpleProfiler", both.__contains__)
    assert moved.name == "lightning.pytorch.profilers.SimpleProfiler"
    assert current("pytorch_lightning.metrics.classification.F1").name == "torchmetrics.F1Score"
    assert current("pytorch_lightning.loggers.NeptuneLogger").name is None
    assert current("torch.optim.Adam") is None


def test_check_reads_the_same_rules():
    assert removed_from("lightning.pytorch.Trainer", "gpus").since == "removed in Lightning 2.0"
    assert (
        "eval_strategy"
        in removed_from("transformers.TrainingArguments", "evaluation_strategy").replacement
    )
    assert (
        removed_from("torchmetrics.F1Score", "mdmc_average").since == "removed in torchmetrics 0.11"
    )
    assert removed_from("my.Trainer", "gpus") is None
    assert removed_from(TRAINER, "strategy") is None
