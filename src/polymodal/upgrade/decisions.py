"""Decisions about arguments that a table of values cannot express, by their name in a rule."""

import os.path
from collections.abc import Callable, Mapping

from polymodal.upgrade.edits import ArgEdit, Call, Expression, Value, ask, contains, lookup
from polymodal.upgrade.rules import Rule

Arguments = Mapping[str, Value]
Decision = Callable[[Rule, str, Value, Arguments], ArgEdit | None]
COUNTERS = ("tpu_cores", "num_tpu_cores", "gpus", "num_processes")
NO_DEVICES = (None, 0, "0", "", False)
OLD_ACCELERATORS = (
    *("ddp", "ddp_spawn", "ddp_cpu", "ddp2", "dp", "ddp_sharded", "ddp_sharded_spawn"),
    *("ddp_fully_sharded", "horovod", "bagua", "colossalai", None),
)
STRATEGY_PREFIXES = ("ddp", "deepspeed", "fsdp", "dp", "horovod", "bagua", "colossalai")


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


def devices(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit:
    """Write a number of devices as `accelerator` and `devices`, once for all counters."""
    counts = _counts(arguments)
    if name != counts:
        return ArgEdit(rule, name)
    given = arguments.get("devices")
    if given is not None:
        same = contains(value, [given, *NO_DEVICES]) or _is_nothing(value)
        return ArgEdit(rule, name) if same else ask(rule, name, "devices is given, too: remove one")
    now = _new_accelerator(arguments)
    if isinstance(value, Expression) or (isinstance(value, str) and "${" in value):
        return _unknown(rule, name, value, now)
    if _is_nothing(value):
        if now not in (None, "cpu", "auto"):
            return ask(rule, name, f"accelerator: {now} is given, but no device")
        return ArgEdit(rule, name, (*_accelerator("cpu", now), ("devices", 1)))
    number = _number(value)
    if number is None:
        note = (
            f"{value!r} meant device {value} before Lightning 1.5 and {value} devices since: "
            f"write accelerator: {rule.accelerator}, and devices: [{value}] or devices: {value}"
        )
        return ask(rule, name, note)
    if rule.accelerator == "cpu" and now == "auto":
        return ArgEdit(rule, name, (("devices", number),))
    return ArgEdit(rule, name, (*_accelerator(rule.accelerator, now), ("devices", number)))


def accelerator(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit | None:
    """Write an accelerator such as `ddp` as a strategy, unless the plugins name one."""
    new = lookup(rule, value)
    if new is None:
        return None
    if _strategy_in(arguments.get("plugins")) is not None:
        new = tuple(pair for pair in new if pair[0] != "strategy")
    return ArgEdit(rule, name, new, note=rule.note)


def accelerator_null(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit:
    """Remove a null accelerator if devices are counted, otherwise write `auto`."""
    if _counts(arguments) is not None:
        return ArgEdit(rule, name)
    return ArgEdit(rule, name, (("accelerator", "auto"),))


def plugins(rule: Rule, name: str, value: Value, arguments: Arguments) -> ArgEdit | None:
    """Write a strategy among the plugins as the strategy; keep other plugins."""
    strategy = _strategy_in(value)
    if strategy is None:
        return None
    if isinstance(value, list) and len(value) > 1:
        return ask(rule, name, "take the strategy out of the list, and write it as strategy")
    if isinstance(strategy, str):
        renamed = {"ddp_sharded": "fsdp", "ddp_sharded_spawn": "fsdp", "ddp_fully_sharded": "fsdp"}
        strategy = renamed.get(strategy, strategy)
    return ArgEdit(rule, name, (("strategy", strategy),), note=rule.note)


def _counts(arguments: Arguments) -> str | None:
    """Return the counter that decides: the first that asks for devices, else `gpus`."""
    if arguments.get("accelerator") == "ddp_cpu" and arguments.get("num_processes") is not None:
        return "num_processes"
    given = [name for name in COUNTERS if name in arguments]
    asking = [name for name in given if not _is_nothing(arguments[name])]
    if asking:
        return asking[0]
    return "gpus" if "gpus" in given else None


def _is_nothing(value: Value) -> bool:
    return contains(value, NO_DEVICES) or value == []


def _new_accelerator(arguments: Arguments) -> Value:
    given = arguments.get("accelerator")
    if given == "ddp_cpu":
        return "cpu"
    return None if contains(given, OLD_ACCELERATORS) else given


def _accelerator(kind: str, now: Value) -> tuple[tuple[str, Value], ...]:
    return (("accelerator", kind),) if now is None else ()


def _number(value: Value) -> Value:
    """Return how many devices, or which; None for "2", whose meaning changed."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in ("-1", "auto"):
        return -1 if text == "-1" else text
    indices = [index.strip() for index in text.split(",")]
    if len(indices) > 1 and all(index.isdigit() for index in indices if index):
        return [int(index) for index in indices if index]
    return None


def _unknown(rule: Rule, name: str, value: Value, now: Value) -> ArgEdit:
    if now in ("gpu", "cuda", "tpu", "auto", "mps"):
        return ArgEdit(rule, name, (("devices", value),))
    if rule.accelerator == "cpu":
        return ArgEdit(rule, name, (*_accelerator("cpu", now), ("devices", value)))
    text = value.text if isinstance(value, Expression) else value
    note = (
        f"write accelerator: {rule.accelerator} and devices: {text} where it is 1 or more, and "
        "accelerator: cpu where it is 0 or null: its value is not known here"
    )
    return ask(rule, name, note)


def _strategy_in(value: Value) -> Value:
    if isinstance(value, list):
        strategies = (_strategy_in(item) for item in value)
        return next((strategy for strategy in strategies if strategy is not None), None)
    if isinstance(value, str):
        return value if value.startswith(STRATEGY_PREFIXES) else None
    if isinstance(value, Expression) and value.target:
        last = value.target.rpartition(".")[2]
        class_parts = ("DDP", "DeepSpeed", "FSDP", "DataParallel", "Sharded", "Horovod")
        is_strategy = last.endswith(("Plugin", "Strategy")) and any(
            class_part in last for class_part in class_parts
        )
        return value if is_strategy and "Precision" not in last else None
    return None


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
