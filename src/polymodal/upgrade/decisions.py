"""Decisions about arguments that a table of values cannot make, by the name a rule gives them."""

import os.path
from collections.abc import Callable, Mapping

from polymodal.upgrade.decisions_devices import accelerator, accelerator_null, devices
from polymodal.upgrade.decisions_devices import plugins as plugins
from polymodal.upgrade.edits import Call, Edit, Expression, Value, among, ask, looked_up
from polymodal.upgrade.rules import Rule

Arguments = Mapping[str, Value]
Decision = Callable[[Rule, str, Value, Arguments], Edit | None]
CALLBACKS = "pytorch_lightning.callbacks."


def callback_or_switch(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit:
    """A callback goes among the callbacks; what is true or false is a switch of another name."""
    if isinstance(value, Expression) and value.target:
        return Edit(rule, name, callback=value)
    if isinstance(value, bool) or value is None:
        if rule.new == ("callbacks",):
            return ask(rule, name)
        return Edit(rule, name, ((rule.new[0], value),))
    both = f"a callback belongs to callbacks; true or false is {rule.new[0]} now"
    return ask(rule, name, rule.note or both)


def callback(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit:
    """A callback without options does it now."""
    return Edit(rule, name, callback=Call(rule.callback), note=_add(rule.callback))


def progress_bar(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit:
    """The rate of a progress bar; its position joins it."""
    if (new := looked_up(rule, value)) is not None:
        return Edit(rule, name, new)
    options = {"refresh_rate": value}
    position = arguments.get("process_position")
    if not among(position, [None, 0]):
        options["process_position"] = position
    return Edit(rule, name, callback=Call(rule.callback, options), note=_add(rule.callback, value))


def process_position(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit:
    """The position of a progress bar, unless its rate has taken it along or it is switched off."""
    if not among(arguments.get("progress_bar_refresh_rate"), [None, 1]):
        return Edit(rule, name)
    made = Call(rule.callback, {"process_position": value})
    return Edit(rule, name, callback=made, note=_add(rule.callback))


def model_summary(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit:
    """How much of the model is shown."""
    if (new := looked_up(rule, value)) is not None:
        return Edit(rule, name, new)
    if value == "full":
        return Edit(rule, name, callback=Call(rule.callback, {"max_depth": -1}), note=rule.note)
    return ask(rule, name)


def accumulation(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit | None:
    """A number stays; a schedule is a callback."""
    if (new := looked_up(rule, value)) is not None:
        return Edit(rule, name, new)
    if not isinstance(value, Mapping):
        return None
    made = Call(rule.callback, {"scheduling": value})
    return Edit(rule, name, callback=made, note=_add(rule.callback))


def filepath(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit:
    """A path is parted into folder and name."""
    if not isinstance(value, str) or "${" in value:
        return ask(rule, name, "write its folder as dirpath and its last part as filename")
    folder, file = os.path.split(value)
    parts = (("dirpath", folder or None), ("filename", file or None))
    return Edit(rule, name, tuple((key, part) for key, part in parts if part is not None))


def prefix(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit:
    """What stood before a checkpoint's name becomes part of it."""
    if isinstance(value, str) and "${" not in value and "filename" not in arguments:
        return Edit(rule, name, (("filename", f"{value}-{{epoch}}-{{step}}"),))
    return ask(rule, name, "put it before filename, with a hyphen between")


def mode(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit:
    """The direction of a score, where its name leaves no doubt."""
    monitor = arguments.get("monitor")
    words = monitor.lower() if isinstance(monitor, str) else ""
    if "loss" in words and "acc" not in words:
        return Edit(rule, name, (("mode", "min"),))
    if "acc" in words and "loss" not in words:
        return Edit(rule, name, (("mode", "max"),))
    return ask(rule, name, "write min or max, whichever is better of the monitored score")


def task(rule: Rule, arguments: Arguments) -> Edit | None:
    """The kind of targets, as far as the other arguments tell it."""
    if "task" in arguments:
        return None
    classes, several = arguments.get("num_classes"), arguments.get("multiclass")
    several = arguments.get("is_multiclass") if several is None else several
    if "num_labels" in arguments:
        return Edit(rule, "task", (("task", "multilabel"),))
    if arguments.get("multilabel") is True:
        return ask(rule, "task", "write task: multilabel, and num_labels in place of num_classes")
    if several is False or among(classes, [1]):
        return Edit(rule, "task", (("task", "binary"),))
    if classes is None:
        return ask(rule, "task")
    note = "targets of several labels need task: multilabel and num_labels instead"
    return Edit(rule, "task", (("task", "multiclass"),), note=note)


def warmup_ratio(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit:
    """A share of all steps is a number of steps below 1; given both, the number counted."""
    steps = arguments.get("warmup_steps")
    if among(steps, [0]):
        return ask(rule, name, "write it as warmup_steps, and leave the 0 there out")
    if isinstance(steps, int):
        return Edit(rule, name, note="warmup_steps was given, too, and came first")
    return Edit(rule, name, ((rule.new[0], value),))


def required(rule: Rule, arguments: Arguments) -> Edit | None:
    """An argument that has lost its default."""
    name = rule.new[0]
    return ask(rule, name) if name not in arguments or arguments[name] is None else None


def _add(target: str, value: Value = "") -> str:
    options = f", with refresh_rate: {value}" if isinstance(value, int) else ""
    return f"the callback {target} does it{options}"


DECISIONS: Mapping[str, Decision] = {
    "accelerator": accelerator,
    "accelerator_null": accelerator_null,
    "accumulation": accumulation,
    "callback": callback,
    "callback_or_switch": callback_or_switch,
    "devices": devices,
    "filepath": filepath,
    "mode": mode,
    "model_summary": model_summary,
    "plugins": plugins,
    "prefix": prefix,
    "process_position": process_position,
    "progress_bar": progress_bar,
    "warmup_ratio": warmup_ratio,
}
# Decisions about arguments that are not there.
MISSING: Mapping[str, Callable[[Rule, Arguments], Edit | None]] = {
    "required": required,
    "task": task,
}
