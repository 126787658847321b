"""Decide how the arguments of a class change, on plain values, for YAML and Python alike."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from polymodal.upgrade.decisions import DECISIONS, MISSING
from polymodal.upgrade.edits import ArgEdit, Call, Expression, Value, ask, contains, lookup
from polymodal.upgrade.rules import Rule, rules

__all__ = ["ArgEdit", "Call", "Expression", "Value", "apply", "rewrite_arguments"]


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


def apply(arguments: Mapping[str, Value], edits: Iterable[ArgEdit]) -> dict[str, Value]:
    """Return the arguments with edits applied.

    Example:
        >>> old = {"gpus": 1, "max_epochs": 3}
        >>> apply(old, rewrite_arguments("pytorch_lightning.Trainer", old))
        {'accelerator': 'gpu', 'devices': 1, 'max_epochs': 3}
    """
    by_name = {edit.argument: edit for edit in edits if not edit.is_undecided}
    result: dict[str, Value] = {}
    for name, value in arguments.items():
        result.update(by_name[name].sets if name in by_name else [(name, value)])
    for name, edit in by_name.items():
        if name not in arguments:
            result.update(edit.sets)
    for edit in by_name.values():
        if edit.callback is not None:
            result["callbacks"] = [*(result.get("callbacks") or ()), edit.callback]
    return result


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
