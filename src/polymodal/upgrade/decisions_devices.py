"""Decisions about a Trainer's devices and its strategy."""

from collections.abc import Mapping

from polymodal.upgrade.edits import ArgEdit, Expression, Value, ask, contains, lookup
from polymodal.upgrade.rules import Rule

Arguments = Mapping[str, Value]
COUNTERS = ("tpu_cores", "num_tpu_cores", "gpus", "num_processes")
NO_DEVICES = (None, 0, "0", "", False)
OLD_ACCELERATORS = (
    *("ddp", "ddp_spawn", "ddp_cpu", "ddp2", "dp", "ddp_sharded", "ddp_sharded_spawn"),
    *("ddp_fully_sharded", "horovod", "bagua", "colossalai", None),
)
STRATEGY_PREFIXES = ("ddp", "deepspeed", "fsdp", "dp", "horovod", "bagua", "colossalai")


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
