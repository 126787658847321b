"""What becomes of the arguments of a class: on values, for YAML and Python alike."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from polymodal.upgrade.decisions import DECISIONS, MISSING
from polymodal.upgrade.edits import (
    Call,
    Edit,
    Expression,
    Value,
    among,
    ask,
    looked_up,
)
from polymodal.upgrade.rules import Rule, rules

__all__ = ["Call", "Edit", "Expression", "Value", "apply", "rewrite_arguments"]


def rewrite_arguments(target: str, arguments: Mapping[str, Value]) -> list[Edit]:
    """Decides what becomes of the arguments of a class.

    Args:
        target: Dotted name of the class, as it is called now.
        arguments: Its arguments by name, in their order.

    Returns:
        One edit for each argument that has changed, in their order; then those for arguments
        that are missing.

    Example:
        >>> made = rewrite_arguments("pytorch_lightning.Trainer", {"gpus": 2, "accelerator": "ddp"})
        >>> [(edit.argument, dict(edit.sets)) for edit in made]
        [('gpus', {'accelerator': 'gpu', 'devices': 2}), ('accelerator', {'strategy': 'ddp'})]
    """
    known = [rule for rule in rules("argument") if rule.is_about(target)]
    edits: list[Edit] = []
    for name, value in arguments.items():
        for rule in known:
            if name in rule.old and (made := _edit(rule, name, value, arguments)) is not None:
                edits.append(made)
                break
    for rule in known:
        if rule.action in MISSING and (made := MISSING[rule.action](rule, arguments)) is not None:
            edits.append(made)
    return _without_conflicts(edits, arguments)


def apply(arguments: Mapping[str, Value], edits: Iterable[Edit]) -> dict[str, Value]:
    """Returns the arguments after their edits.

    Args:
        arguments: Before.
        edits: As `rewrite_arguments` gives them.

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


def _edit(rule: Rule, name: str, value: Value, arguments: Mapping[str, Value]) -> Edit | None:
    """What a rule makes of an argument; None where it is not about this value."""
    if rule.asked is not None and among(value, rule.asked):
        return ask(rule, name)
    if rule.only is not None and not among(value, rule.only):
        return None
    if among(value, rule.neutral):
        return Edit(rule, name)
    if rule.action in DECISIONS:
        return DECISIONS[rule.action](rule, name, value, arguments)
    if (new := looked_up(rule, value)) is not None:
        return Edit(rule, name, new, note="" if rule.action == "ask" and rule.note else rule.note)
    if rule.action == "rename":
        return Edit(rule, name, ((rule.new[0], value),), note=rule.note)
    if rule.action == "drop":
        return Edit(rule, name, note="" if among(value, rule.quiet) else rule.note)
    if name in rule.new or rule.asked is not None or rule.action in MISSING:
        return None  # the argument is as it was; only some of its values have changed
    return ask(rule, name)


def _without_conflicts(edits: list[Edit], arguments: Mapping[str, Value]) -> list[Edit]:
    """Sees to it that no argument is set twice; one that was null gives way."""
    replaced = {edit.argument for edit in edits if not edit.is_undecided}
    taken = {name: value for name, value in arguments.items() if name not in replaced}
    settled: dict[int, Edit] = {}
    for place, edit in sorted(enumerate(edits), key=lambda one: _gives_way(one[1], arguments)):
        others = tuple((name, new) for name, new in edit.sets if name not in taken)
        same = {name for name, new in edit.sets if name in taken and among(new, [taken[name]])}
        clash = [name for name, _ in edit.sets if name in taken and name not in same]
        if clash and not _gives_way(edit, arguments):
            note = f"{clash[0]} is given, too: decide which of the two is meant"
            settled[place] = ask(edit.rule, edit.argument, note)
            continue
        taken.update(others)
        settled[place] = replace(edit, sets=others)
    return [settled[place] for place in range(len(edits))]


def _gives_way(edit: Edit, arguments: Mapping[str, Value]) -> bool:
    return arguments.get(edit.argument, "") is None and edit.argument in dict(edit.sets)
