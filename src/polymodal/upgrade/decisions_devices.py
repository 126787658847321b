"""Decisions about a Trainer's devices: one number for all kinds, and the strategy apart."""

from collections.abc import Mapping

from polymodal.upgrade.edits import Edit, Expression, Value, among, ask, looked_up
from polymodal.upgrade.rules import Rule

Arguments = Mapping[str, Value]
COUNTERS = ("tpu_cores", "num_tpu_cores", "gpus", "num_processes")
NOTHING = (None, 0, "0", "", False)
OLD_ACCELERATORS = (
    *("ddp", "ddp_spawn", "ddp_cpu", "ddp2", "dp", "ddp_sharded", "ddp_sharded_spawn"),
    *("ddp_fully_sharded", "horovod", "bagua", "colossalai", None),
)
STRATEGY_WORDS = ("ddp", "deepspeed", "fsdp", "dp", "horovod", "bagua", "colossalai")


def devices(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit:
    """The number of devices of a kind becomes accelerator and devices, once for all counters."""
    counts = _counts(arguments)
    if name != counts:
        return Edit(rule, name)
    given = arguments.get("devices")
    if given is not None:
        same = among(value, [given, *NOTHING]) or _is_nothing(value)
        return Edit(rule, name) if same else ask(rule, name, "devices is given, too: one has to go")
    now = _new_accelerator(arguments)
    if isinstance(value, Expression) or (isinstance(value, str) and "${" in value):
        return _unknown(rule, name, value, now)
    if _is_nothing(value):
        if now not in (None, "cpu", "auto"):
            return ask(rule, name, f"no device is asked for, and accelerator: {now}, too")
        return Edit(rule, name, (*_accelerator("cpu", now), ("devices", 1)))
    number = _number(value)
    if number is None:
        note = (
            f"{value!r} meant device {value} before Lightning 1.5 and {value} devices since: "
            f"write accelerator: {rule.accelerator}, and devices: [{value}] or devices: {value}"
        )
        return ask(rule, name, note)
    if rule.accelerator == "cpu" and now == "auto":
        return Edit(rule, name, (("devices", number),))
    return Edit(rule, name, (*_accelerator(rule.accelerator, now), ("devices", number)))


def accelerator(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit | None:
    """A way of working together is a strategy; that of the plugins is the closer one."""
    new = looked_up(rule, value)
    if new is None:
        return None
    if _strategy_in(arguments.get("plugins")) is not None:
        new = tuple(one for one in new if one[0] != "strategy")
    return Edit(rule, name, new, note=rule.note)


def accelerator_null(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit:
    """Nothing given is left out where the devices say it, and auto otherwise."""
    if _counts(arguments) is not None:
        return Edit(rule, name)
    return Edit(rule, name, (("accelerator", "auto"),))


def plugins(rule: Rule, name: str, value: Value, arguments: Arguments) -> Edit | None:
    """A strategy among the plugins becomes the strategy; other plugins stay."""
    found = _strategy_in(value)
    if found is None:
        return None
    if isinstance(value, list) and len(value) > 1:
        return ask(rule, name, "take the strategy out of the list, and write it as strategy")
    if isinstance(found, str):
        known = {"ddp_sharded": "fsdp", "ddp_sharded_spawn": "fsdp", "ddp_fully_sharded": "fsdp"}
        found = known.get(found, found)
    return Edit(rule, name, (("strategy", found),), note=rule.note)


def _counts(arguments: Arguments) -> str | None:
    """Which counter decides: the first that asks for devices, else the first of all."""
    if arguments.get("accelerator") == "ddp_cpu" and arguments.get("num_processes") is not None:
        return "num_processes"
    given = [name for name in COUNTERS if name in arguments]
    asking = [name for name in given if not _is_nothing(arguments[name])]
    if asking:
        return asking[0]
    return "gpus" if "gpus" in given else None


def _is_nothing(value: Value) -> bool:
    return among(value, NOTHING) or value == []


def _new_accelerator(arguments: Arguments) -> Value:
    """The accelerator where it is one of today's; None where it has to be set."""
    given = arguments.get("accelerator")
    if given == "ddp_cpu":
        return "cpu"
    return None if among(given, OLD_ACCELERATORS) else given


def _accelerator(kind: str, now: Value) -> tuple[tuple[str, Value], ...]:
    return (("accelerator", kind),) if now is None else ()


def _number(value: Value) -> Value:
    """How many devices, or which; None where the text of one number was meant in two ways."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in ("-1", "auto"):
        return -1 if text == "-1" else text
    places = [one.strip() for one in text.split(",")]
    if len(places) > 1 and all(one.isdigit() for one in places if one):
        return [int(one) for one in places if one]
    return None


def _unknown(rule: Rule, name: str, value: Value, now: Value) -> Edit:
    if now in ("gpu", "cuda", "tpu", "auto", "mps"):
        return Edit(rule, name, (("devices", value),))
    if rule.accelerator == "cpu":
        return Edit(rule, name, (*_accelerator("cpu", now), ("devices", value)))
    text = value.text if isinstance(value, Expression) else value
    note = (
        f"write accelerator: {rule.accelerator} and devices: {text} where it is 1 or more, and "
        "accelerator: cpu where it is 0 or null: its value is not known here"
    )
    return ask(rule, name, note)


def _strategy_in(value: Value) -> Value:
    """The strategy that a value of plugins names, if it names one."""
    if isinstance(value, list):
        return next((found for one in value if (found := _strategy_in(one)) is not None), None)
    if isinstance(value, str):
        return value if value.startswith(STRATEGY_WORDS) else None
    if isinstance(value, Expression) and value.target:
        last = value.target.rpartition(".")[2]
        words = ("DDP", "DeepSpeed", "FSDP", "DataParallel", "Sharded", "Horovod")
        is_strategy = last.endswith(("Plugin", "Strategy")) and any(one in last for one in words)
        return value if is_strategy and "Precision" not in last else None
    return None
