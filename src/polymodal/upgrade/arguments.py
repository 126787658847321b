"""Decide how the arguments of a class change, on plain values, for YAML and Python alike."""

from collections.abc import Mapping
from dataclasses import replace

from polymodal.upgrade.decisions import DECISIONS, MISSING
from polymodal.upgrade.edits import ArgEdit, Call, Expression, Value, ask, contains, lookup
from polymodal.upgrade.rules import Rule, rules

__all__ = ["ArgEdit", "Call", "Expression", "Value", "inferred_task", "rewrite_arguments"]

TASKS = {"binary": "Binary", "multiclass": "Multiclass", "multilabel": "Multilabel"}


def rewrite_arguments(target: str, arguments: Mapping[str, Value]) -> list[ArgEdit]:
    """Return an edit for each argument that changes, then for each missing argument.

    Example:
        >>> old = {"gpus": 2, "accelerator": "ddp"}
        >>> edits = rewrite_arguments("pytorch_lightning.Trainer", old)
        >>> [(edit.argument, dict(edit.sets)) for edit in edits]
        [('gpus', {'accelerator': 'gpu', 'devices': 2}), ('accelerator', {'strategy': 'ddp'})]
    """
    matching = [rule for rule in rules("argument") if rule.is_about(target)]
    edits: list[ArgEdit] = []
    for name, value in arguments.items():
        for rule in matching:
            if name in rule.old and (edit := _edit(rule, name, value, arguments)) is not None:
                edits.append(edit)
                break
    for rule in matching:
        if rule.action in MISSING and (edit := MISSING[rule.action](rule, arguments)) is not None:
            edits.append(edit)
    return _without_conflicts(edits, arguments)


def inferred_task(target: str, arguments: Mapping[str, Value]) -> str | None:
    """Return the task that the other arguments of a metric imply, if it has none yet."""
    edits = rewrite_arguments(target, arguments) if "task" not in arguments else []
    tasks = [dict(edit.sets).get("task") for edit in edits if not edit.is_undecided]
    return next((task for task in tasks if task in TASKS), None)


def _edit(rule: Rule, name: str, value: Value, arguments: Mapping[str, Value]) -> ArgEdit | None:
    if rule.ask_about is not None and contains(value, rule.ask_about):
        return ask(rule, name)
    if rule.only is not None and not contains(value, rule.only):
        return None
    if contains(value, rule.neutral):
        return ArgEdit(rule, name)
    if rule.action in DECISIONS:
        return DECISIONS[rule.action](rule, name, value, arguments)
    if (new := lookup(rule, value)) is not None:
        return ArgEdit(rule, name, new, note="" if rule.action == "ask" else rule.note)
    if rule.action == "rename":
        return ArgEdit(rule, name, ((rule.new[0], value),), note=rule.note)
    if rule.action == "drop":
        return ArgEdit(rule, name, note="" if contains(value, rule.quiet) else rule.note)
    if name in rule.new or rule.ask_about is not None or rule.action in MISSING:
        return None  # only some values of this argument have changed
    return ask(rule, name)


def _without_conflicts(edits: list[ArgEdit], arguments: Mapping[str, Value]) -> list[ArgEdit]:
    replaced = {edit.argument for edit in edits if not edit.is_undecided}
    taken = {name: value for name, value in arguments.items() if name not in replaced}
    settled: dict[int, ArgEdit] = {}
    for index, edit in sorted(enumerate(edits), key=lambda pair: _gives_way(pair[1], arguments)):
        others = tuple((name, new) for name, new in edit.sets if name not in taken)
        same = {name for name, new in edit.sets if name in taken and contains(new, [taken[name]])}
        clash = [name for name, _ in edit.sets if name in taken and name not in same]
        if clash and not _gives_way(edit, arguments):
            note = f"{clash[0]} is given, too: decide which of the two is meant"
            settled[index] = ask(edit.rule, edit.argument, note)
            continue
        taken.update(others)
        settled[index] = replace(edit, sets=others)
    return [settled[index] for index in range(len(edits))]


def _gives_way(edit: ArgEdit, arguments: Mapping[str, Value]) -> bool:
    return arguments.get(edit.argument, "") is None and edit.argument in dict(edit.sets)
