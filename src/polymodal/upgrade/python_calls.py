"""Calls of constructors whose arguments have changed."""

from collections.abc import Mapping, Sequence
from typing import Any

import libcst as cst
import libcst.matchers as m
from libcst.metadata import ImportAssignment

from polymodal.upgrade.arguments import rewrite_arguments
from polymodal.upgrade.edits import Call, Edit, Expression, Value
from polymodal.upgrade.python_imports import now
from polymodal.upgrade.python_names import canonical, localised
from polymodal.upgrade.python_source import (
    Source,
    argument,
    dotted,
    rule_of,
    why,
    words_between,
)
from polymodal.upgrade.python_trainer import TRAINER, moved_checkpoint
from polymodal.upgrade.rules import rules

SUPER_INIT = m.Attribute(value=m.Call(func=m.Name("super")), attr=m.Name("__init__"))
EQUAL = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
NO_LITERAL = object()
# The first argument of a score that was given by its place, where it was not the threshold.
FIRST = "num_classes"
THRESHOLD_FIRST = ("Accuracy", "HammingDistance", "StatScores")
# Functions get predictions and targets before their options.
DATA_FIRST = 2
# PyTorch's optimiser of the same name has other defaults than the one of transformers had.
ADAMW = "transformers.AdamW", "transformers.optimization.AdamW"
ADAMW_DEFAULTS = {"eps": "1e-6", "weight_decay": "0.0"}


def target_of(source: Source, call: cst.Call) -> str:
    """Returns the class or function that a call is of, as it is called now; may be empty."""
    if isinstance(call.func, cst.Call):  # what a call returns is called: hydra.main(...)(job)
        return ""
    if m.matches(call.func, SUPER_INIT):
        cls = source.class_around(call)
        if cls is None or len(cls.bases) != 1:
            return ""
        name = source.qualified(cls.bases[0].value)
    else:
        name = source.qualified(call.func)
    return canonical(now(source, name)[0]) if name else ""


def rewrite_call(source: Source, old: cst.Call, new: cst.Call) -> cst.Call:
    """Rewrites the arguments of a constructor.

    Args:
        source: The file.
        old: The call as it was.
        new: The call as it is now.
    """
    target = target_of(source, old)
    if not target:
        return new
    if canonical(source.qualified(old.func)) in ADAMW:
        return _adamw(source, old, new)
    if not _has_rules(target):
        return new
    args = [*_named_first(target, new.args)]
    values = {
        one.keyword.value: value_of(source, before.value)
        for one, before in zip(args, old.args, strict=True)
        if one.keyword is not None
    }
    if any(one.star == "**" for one in args):
        return _with_keywords_elsewhere(source, old, new, target, values)
    moved = moved_checkpoint(source, old) if target == TRAINER else None
    if moved is not None:
        note = "the checkpoint is an argument of fit; gone since 2.0"
        said = f"fit(ckpt_path={source.code(moved[0].value)})"
        source.note("trainer-resume-from-checkpoint", moved[0], source.code(moved[0]), said, note)
        args = [one for one in args if one.keyword is None or not _is(one, moved[0])]
        values.pop("resume_from_checkpoint")
    edits = rewrite_arguments(target, values)
    made = _Arguments(source, old, args).apply(edits)
    if made == list(new.args):
        return new
    return new.with_changes(args=words_between(made, new.args) if made else [])


def _has_rules(target: str) -> bool:
    return any(rule.is_about(target) for rule in rules("argument"))


def _is(one: cst.Arg, other: cst.Arg) -> bool:
    assert one.keyword is not None
    assert other.keyword is not None
    return one.keyword.value == other.keyword.value


def _named_first(target: str, args: Sequence[cst.Arg]) -> Sequence[cst.Arg]:
    """Gives the first argument of a score its name, which `task` would take the place of."""
    tail = target.rpartition(".")[2]
    if not args or args[0].keyword is not None or args[0].star:
        return args
    about = [rule for rule in rules("argument") if rule.action == "task" and rule.is_about(target)]
    if not about or isinstance(args[0].value, cst.SimpleString):
        return args
    if tail in THRESHOLD_FIRST or ".functional." in target:
        return args
    first = args[0].with_changes(keyword=cst.Name(FIRST), equal=EQUAL)
    return [first, *args[1:]]


def _with_keywords_elsewhere(
    source: Source, old: cst.Call, new: cst.Call, target: str, values: Mapping[str, Value]
) -> cst.Call:
    """Says what would change, where more arguments come from a mapping."""
    for edit in rewrite_arguments(target, values):
        if edit.argument not in values:
            continue
        arg = argument(old, edit.argument)
        assert arg is not None
        note = f"other arguments come from a mapping: {edit.note or edit.rule.remedy}"
        source.note(edit.rule.id, arg, source.code(arg), None, note)
    return new


class _Arguments:
    """The arguments of a call, while they are edited.

    Args:
        source: The file.
        call: The call as it was.
        args: Its arguments.
    """

    def __init__(self, source: Source, call: cst.Call, args: Sequence[cst.Arg]) -> None:
        self._source, self._call, self._args = source, call, list(args)
        self._is_function = ".functional." in target_of(source, call)

    def apply(self, edits: Sequence[Edit]) -> list[cst.Arg]:
        """Returns the arguments after their edits."""
        done = [edit for edit in edits if self._is_possible(edit)]
        by_name = {edit.argument: edit for edit in done}
        before, self._args = self._args, []
        for arg in before:
            edit = by_name.pop(arg.keyword.value, None) if arg.keyword is not None else None
            self._args += [arg] if edit is None else self._edited(edit, arg)
        start = sum(one.keyword is None for one in self._args)
        for edit in by_name.values():
            self._args[start:start] = self._edited(edit, None)
        for edit in done:
            if edit.callback is not None:
                self._add(edit.callback)
        return self._args

    def _is_possible(self, edit: Edit) -> bool:
        """Tells whether an edit can be made; says so where it cannot."""
        is_missing = argument(self._call, edit.argument) is None
        if not edit.is_undecided and self._can_add(edit):
            return True
        note = edit.note or edit.rule.remedy
        if edit.callback is not None:
            note = f"add {self._written(edit.callback)} to what callbacks is made of"
        if is_missing and edit.rule.action == "task" and self._unknown_first():
            note = f"give its arguments their names; {note}"
        self._tell(edit, None, note)
        return False

    def _tell(self, edit: Edit, written: str | None, note: str) -> None:
        where = argument(self._call, edit.argument) or self._call
        found = self._source.code(where)
        if where is self._call:
            found = f"{self._source.code(self._call.func)}() without {edit.argument}"
        self._source.note(edit.rule.id, where, found, written, why(edit.rule, note))

    def _edited(self, edit: Edit, arg: cst.Arg | None) -> list[cst.Arg]:
        """Returns what takes the place of an argument."""
        new = [_keyword(name, self._written(value)) for name, value in edit.sets]
        written = [self._source.module.code_for_node(one) for one in new]
        if edit.callback is not None and self._has_place():
            written.append(f"callbacks=[{self._written(edit.callback)}]")
        self._tell(edit, ", ".join(written), edit.note)
        if arg is None or not new:
            return new
        if len(new) > 1:
            return [*new[:-1], new[-1].with_changes(comma=arg.comma)]
        value = self._value(edit, arg, new[0])
        return [arg.with_changes(keyword=new[0].keyword, value=value)]

    def _value(self, edit: Edit, arg: cst.Arg, new: cst.Arg) -> cst.BaseExpression:
        """Keeps the expression where only the name has changed."""
        old = argument(self._call, edit.argument)
        value = edit.sets[0][1]
        before = value_of(self._source, old.value) if old is not None else NO_LITERAL
        same = type(before) is type(value) and before == value
        return arg.value if same else new.value

    def _unknown_first(self) -> bool:
        given = sum(one.keyword is None for one in self._args)
        return given > (DATA_FIRST if self._is_function else 0)

    def _place(self, name: str) -> int | None:
        for place, one in enumerate(self._args):
            if one.keyword is not None and one.keyword.value == name:
                return place
        return None

    def _can_add(self, edit: Edit) -> bool:
        if edit.argument == "task" and self._unknown_first():
            return False
        return edit.callback is None or edit.rule.harmless or self._has_place()

    def _has_place(self) -> bool:
        """Tells whether a callback can be added to a list of them that stands in the call."""
        given = argument(self._call, "callbacks")
        return given is None or isinstance(given.value, cst.List) or dotted(given.value) == "None"

    def _add(self, callback: Call | Expression) -> None:
        """Adds a callback to the list of them, where there is a place for it."""
        place = self._place("callbacks")
        text = self._written(callback)
        if place is None:
            self._args.append(_keyword("callbacks", f"[{text}]"))
            return
        value = self._args[place].value
        made: cst.BaseExpression = cst.parse_expression(f"[{text}]")
        if isinstance(value, cst.List):
            made = _with_element(value, cst.parse_expression(text))
        elif dotted(value) != "None":
            return
        self._args[place] = self._args[place].with_changes(value=made)

    def _written(self, value: Value) -> str:
        """Writes a value as Python."""
        if isinstance(value, Expression):
            return value.text
        if isinstance(value, Call):
            args = ", ".join(f"{k}={self._written(v)}" for k, v in value.arguments.items())
            return f"{name_of(self._source, value.target)}({args})"
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if isinstance(value, list):
            return "[" + ", ".join(self._written(one) for one in value) + "]"
        if isinstance(value, Mapping):
            pairs = (f"{self._written(k)}: {self._written(v)}" for k, v in value.items())
            return "{" + ", ".join(pairs) + "}"
        return repr(value)


def _keyword(name: str, text: str) -> cst.Arg:
    return cst.Arg(cst.parse_expression(text), keyword=cst.Name(name), equal=EQUAL)


def _with_element(node: cst.List, value: cst.BaseExpression) -> cst.List:
    """Adds an element to a list, which stays on one line or on several."""
    elements = list(node.elements)
    if not elements:
        return node.with_changes(elements=[cst.Element(value)])
    last = elements[-1]
    between = (
        elements[0].comma
        if len(elements) > 1
        else cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    )
    elements[-1] = last.with_changes(comma=between)
    return node.with_changes(elements=[*elements, cst.Element(value, comma=last.comma)])


def name_of(source: Source, target: str) -> str:
    """Writes the name of a class so that the file can say it, and imports it if it must.

    Args:
        source: The file.
        target: Dotted path, canonical.
    """
    scope = source.scope(source.module.body[0]) if source.module.body else None
    unified = "lightning.pytorch" in source.text and "pytorch_lightning" not in source.text
    new = localised(target, unified=unified and now(source, "lightning.pytorch")[0] != TRAINER)
    found = ""
    for one in scope.assignments if scope is not None else ():
        if not isinstance(one, ImportAssignment):
            continue
        for bound in one.get_qualified_names_for(one.name):
            base = canonical(now(source, bound.name)[0] or bound.name)
            if base == target:
                return one.name
            if target.startswith(f"{base}.") and len(base) >= len(found):
                found, new = base, one.name + target[len(base) :]
    if not found:
        module, _, name = new.rpartition(".")
        source.need(f"from {module} import {name}")
        return name
    return new


def value_of(source: Source, node: cst.BaseExpression) -> Value:
    """Reads a literal; all else is an expression.

    Args:
        source: The file.
        node: Expression of the old tree.
    """
    text = source.module.code_for_node(node)
    if isinstance(node, cst.Call):
        return Expression(text, target_of(source, node))
    if isinstance(node, cst.Name) and (made := source.assigned_calls(node)):
        targets = {target_of(source, one) for one in made}
        return Expression(text, targets.pop() if len(targets) == 1 else "")
    if isinstance(node, cst.List | cst.Tuple) and not isinstance(node, cst.Tuple):
        values = [value_of(source, one.value) for one in node.elements]
        return (
            values
            if all(isinstance(one, cst.Element) for one in node.elements)
            else (Expression(text))
        )
    if isinstance(node, cst.Dict):
        return _mapping(source, node, text)
    value = _plain(node)
    return Expression(text) if value is NO_LITERAL else value


def _mapping(source: Source, node: cst.Dict, text: str) -> Value:
    found: dict[Any, Value] = {}
    for one in node.elements:
        key = _plain(one.key) if isinstance(one, cst.DictElement) else NO_LITERAL
        if key is NO_LITERAL:
            return Expression(text)
        found[key] = value_of(source, one.value)
    return found


def _plain(node: cst.BaseExpression) -> Any:
    if isinstance(node, cst.SimpleString | cst.Integer | cst.Float):
        return node.evaluated_value
    if isinstance(node, cst.Name):
        return {"True": True, "False": False, "None": None}.get(node.value, NO_LITERAL)
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        value = _plain(node.expression)
        return -value if isinstance(value, int | float) else NO_LITERAL
    return NO_LITERAL


def _adamw(source: Source, old: cst.Call, new: cst.Call) -> cst.Call:
    """Writes out the defaults that transformers' optimiser had."""
    args = [one for one in new.args if one.keyword is None or one.keyword.value != "correct_bias"]
    given = {one.keyword.value for one in args if one.keyword is not None}
    about = rule_of("hf-adamw-defaults")
    if any(one.star for one in args) or sum(one.keyword is None for one in args) > 2:
        source.note(about.id, old, source.code(old.func), None, why(about))
        return new
    added = [_keyword(k, v) for k, v in ADAMW_DEFAULTS.items() if k not in given]
    bias = argument(old, "correct_bias")
    note = why(about)
    if bias is not None and dotted(bias.value) != "True":
        note += "; it always corrects the bias, which correct_bias=False did not"
    if not added and bias is None:
        return new
    written = ", ".join(source.module.code_for_node(one) for one in added)
    source.note(about.id, old, source.code(old.func), written, note)
    return new.with_changes(args=words_between([*args, *added], new.args))
