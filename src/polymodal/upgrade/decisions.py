"""Decisions about arguments that a table of values cannot express, by their name in a rule."""

import os.path
from collections.abc import Callable, Mapping

from polymodal.upgrade.decisions_devices import accelerator, accelerator_null, devices
from polymodal.upgrade.decisions_devices import plugins as plugins
from polymodal.upgrade.edits import ArgEdit, Call, Expression, Value, ask, contains, lookup
from polymodal.upgrade.rules import Rule

Arguments = Mapping[str, Value]
Decision = Callable[[Rule, str, Value, Arguments], ArgEdit | None]
CALLBACKS = "pytorch_lightning.callbacks."


def callback_or_switch(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit:
    """Move a callback to `callbacks`; rename an argument that is a boolean."""
    if isinstance(value, Expression) and value.target:
        return ArgEdit(rule, name, callback=value)
    if isinstance(value, bool) or value is None:
        if rule.new == ("callbacks",):
            return ask(rule, name)
        return ArgEdit(rule, name, ((rule.new[0], value),))
    both = f"a callback belongs to callbacks; true or false is {rule.new[0]} now"
    return ask(rule, name, rule.note or both)


def callback(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit:
    """Replace an argument by a callback without options."""
    return ArgEdit(rule, name, callback=Call(rule.callback), note=_add(rule.callback))


def progress_bar(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit:
    """Replace the refresh rate, and the position, by a progress bar callback."""
    if (new := lookup(rule, value)) is not None:
        return ArgEdit(rule, name, new)
    options = {"refresh_rate": value}
    position = arguments.get("process_position")
    if not contains(position, [None, 0]):
        options["process_position"] = position
    bar = Call(rule.callback, options)
    return ArgEdit(rule, name, callback=bar, note=_add(rule.callback, value))


def process_position(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit:
    """Replace the position, unless `progress_bar` did so or the bar is off."""
    if not contains(arguments.get("progress_bar_refresh_rate"), [None, 1]):
        return ArgEdit(rule, name)
    callback = Call(rule.callback, {"process_position": value})
    return ArgEdit(rule, name, callback=callback, note=_add(rule.callback))


def model_summary(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit:
    """Replace the weights summary by a switch or by the callback."""
    if (new := lookup(rule, value)) is not None:
        return ArgEdit(rule, name, new)
    if value == "full":
        return ArgEdit(rule, name, callback=Call(rule.callback, {"max_depth": -1}), note=rule.note)
    return ask(rule, name)


def accumulation(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit | None:
    """Keep a number; replace a schedule by a callback."""
    if (new := lookup(rule, value)) is not None:
        return ArgEdit(rule, name, new)
    if not isinstance(value, Mapping):
        return None
    callback = Call(rule.callback, {"scheduling": value})
    return ArgEdit(rule, name, callback=callback, note=_add(rule.callback))


def filepath(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit:
    """Split a path into `dirpath` and `filename`."""
    if not isinstance(value, str) or "${" in value:
        return ask(rule, name, "write its folder as dirpath and its name as filename")
    folder, file = os.path.split(value)
    sets = (("dirpath", folder or None), ("filename", file or None))
    return ArgEdit(rule, name, tuple((key, text) for key, text in sets if text is not None))


def prefix(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit:
    """Put the prefix of a checkpoint into its filename."""
    if isinstance(value, str) and "${" not in value and "filename" not in arguments:
        return ArgEdit(rule, name, (("filename", f"{value}-{{epoch}}-{{step}}"),))
    return ask(rule, name, "put it before filename, with a hyphen between")


def mode(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit:
    """Infer the direction of a score from its name."""
    monitor = arguments.get("monitor")
    name_lower = monitor.lower() if isinstance(monitor, str) else ""
    if "loss" in name_lower and "acc" not in name_lower:
        return ArgEdit(rule, name, (("mode", "min"),))
    if "acc" in name_lower and "loss" not in name_lower:
        return ArgEdit(rule, name, (("mode", "max"),))
    return ask(rule, name, "write min or max, whichever is better of the monitored score")


def task(rule: Rule, arguments: Arguments) -> ArgEdit | None:
    """Infer the task of a metric from its other arguments."""
    if "task" in arguments:
        return None
    classes, several = arguments.get("num_classes"), arguments.get("multiclass")
    several = arguments.get("is_multiclass") if several is None else several
    if "num_labels" in arguments:
        return ArgEdit(rule, "task", (("task", "multilabel"),))
    if arguments.get("multilabel") is True:
        return ask(rule, "task", "write task: multilabel, and num_labels in place of num_classes")
    if several is False or contains(classes, [1]):
        return ArgEdit(rule, "task", (("task", "binary"),))
    if classes is None:
        return ask(rule, "task")
    note = "targets of several labels need task: multilabel and num_labels instead"
    return ArgEdit(rule, "task", (("task", "multiclass"),), note=note)


def warmup_ratio(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit:
    """Write a fraction of all steps as `warmup_steps` below 1; a number of steps had precedence."""
    steps = arguments.get("warmup_steps")
    if contains(steps, [0]):
        return ask(rule, name, "write it as warmup_steps, and leave the 0 there out")
    if isinstance(steps, int):
        return ArgEdit(rule, name, note="warmup_steps was given, too, and came first")
    return ArgEdit(rule, name, ((rule.new[0], value),))


def required(rule: Rule, arguments: Arguments) -> ArgEdit | None:
    """Ask for an argument that has lost its default."""
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
# Decisions about missing arguments.
MISSING: Mapping[str, Callable[..., ArgEdit | None]] = {"required": required, "task": task}
