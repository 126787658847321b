"""Calls of constructors whose arguments have changed."""

from collections.abc import Mapping, Sequence
from typing import Any

import libcst as cst
import libcst.matchers as m
from libcst.metadata import ImportAssignment

from polymodal.upgrade.arguments import rewrite_arguments
from polymodal.upgrade.edits import ArgEdit, Call, Expression, Value, contains
from polymodal.upgrade.names import canonical, localised
from polymodal.upgrade.python_imports import current_path
from polymodal.upgrade.python_source import (
    EQUAL,
    Source,
    argument,
    dotted,
    keyword_arg,
    keyword_of,
    lay_out_args,
    reason_for,
)
from polymodal.upgrade.python_trainer import TRAINER, moved_checkpoint
from polymodal.upgrade.rules import rule_by_id, rules

SUPER_INIT = m.Attribute(value=m.Call(func=m.Name("super")), attr=m.Name("__init__"))
NO_LITERAL = object()
STARRED = (cst.StarredElement, cst.StarredDictElement)
# First positional argument of metrics, unless it was the threshold.
FIRST = "num_classes"
THRESHOLD_FIRST = (".Accuracy", ".HammingDistance", ".StatScores")
# Functions take predictions and targets before their options.
DATA_FIRST = 2
# PyTorch's AdamW has other defaults than the one of transformers had.
ADAMW = "transformers.AdamW", "transformers.optimization.AdamW"
ADAMW_DEFAULTS = {"eps": "1e-6", "weight_decay": "0.0"}


def target_of(source: Source, call: cst.Call) -> str:
    """Return the current name of the class or function that a call is of; may be empty."""
    if isinstance(call.func, cst.Call):  # the result of a call is called: hydra.main(...)(job)
        return ""
    if m.matches(call.func, SUPER_INIT):
        cls = source.ancestor(call, cst.ClassDef)
        if cls is None or len(cls.bases) != 1:
            return ""
        name = source.qualified(cls.bases[0].value)
    else:
        name = source.qualified(call.func)
    return canonical(current_path(source, name)[0]) if name else ""


def rewrite_call(source: Source, old: cst.Call, new: cst.Call) -> cst.Call:
    """Rewrite the arguments of a constructor."""
    target = target_of(source, old)
    if target and canonical(source.qualified(old.func)) in ADAMW:
        return _adamw(source, old, new)
    if not any(rule.is_about(target) for rule in rules("argument")):
        return new
    args = [*_named_first(target, new.args)]
    values = {
        keyword_of(arg): value_of(source, before.value)
        for arg, before in zip(args, old.args, strict=True)
        if arg.keyword is not None
    }
    if any(arg.star == "**" for arg in args):
        return _with_keywords_elsewhere(source, old, new, target, values)
    moved = moved_checkpoint(source, old) if target == TRAINER else None
    if moved is not None:
        note = "the checkpoint is an argument of fit; gone since 2.0"
        after = f"fit(ckpt_path={source.code(moved[0].value)})"
        source.note("trainer-resume-from-checkpoint", moved[0], source.code(moved[0]), after, note)
        args = [arg for arg in args if keyword_of(arg) != "resume_from_checkpoint"]
        values.pop("resume_from_checkpoint")
    new_args = _Arguments(source, old, args).apply(rewrite_arguments(target, values))
    if new_args == list(new.args):
        return new
    return new.with_changes(args=lay_out_args(new_args, new.args) if new_args else [])


def _named_first(target: str, args: Sequence[cst.Arg]) -> Sequence[cst.Arg]:
    """Name the first argument of a metric, whose position `task` takes."""
    if not args or args[0].keyword is not None or args[0].star:
        return args
    if target.endswith(THRESHOLD_FIRST) or ".functional." in target:
        return args
    has_task = any(rule.action == "task" and rule.is_about(target) for rule in rules("argument"))
    if not has_task or isinstance(args[0].value, cst.SimpleString):
        return args
    return [args[0].with_changes(keyword=cst.Name(FIRST), equal=EQUAL), *args[1:]]


def _with_keywords_elsewhere(
    source: Source, old: cst.Call, new: cst.Call, target: str, values: Mapping[str, Value]
) -> cst.Call:
    for edit in rewrite_arguments(target, values):
        if (arg := argument(old, edit.argument)) is not None:
            note = f"other arguments come from a mapping: {edit.note or edit.rule.hint}"
            source.note(edit.rule.id, arg, source.code(arg), None, note)
    return new


class _Arguments:
    def __init__(self, source: Source, call: cst.Call, args: Sequence[cst.Arg]) -> None:
        self._source, self._call, self._args = source, call, list(args)
        self._is_function = ".functional." in target_of(source, call)

    def apply(self, edits: Sequence[ArgEdit]) -> list[cst.Arg]:
        done = [edit for edit in edits if self._is_possible(edit)]
        by_name = {edit.argument: edit for edit in done}
        before, self._args = self._args, []
        for arg in before:
            edit = by_name.pop(keyword_of(arg), None) if arg.keyword is not None else None
            self._args += [arg] if edit is None else self._edited(edit, arg)
        start = sum(arg.keyword is None for arg in self._args)
        for edit in by_name.values():
            self._args[start:start] = self._edited(edit, None)
        for edit in done:
            if edit.callback is not None:
                self._add(edit.callback)
        return self._args

    def _is_possible(self, edit: ArgEdit) -> bool:
        """Return whether an edit can be made; note it otherwise."""
        is_unnamed_task = edit.argument == "task" and self._unknown_first()
        can_add = edit.callback is None or edit.rule.harmless or self._takes_callbacks()
        if not edit.is_undecided and not is_unnamed_task and can_add:
            return True
        is_missing = argument(self._call, edit.argument) is None
        note = edit.note or edit.rule.hint
        if edit.callback is not None:
            note = f"add {self._written(edit.callback)} to what callbacks is made of"
        if is_missing and edit.rule.action == "task" and self._unknown_first():
            note = f"give its arguments their names; {note}"
        self._note(edit, None, note)
        return False

    def _note(self, edit: ArgEdit, after: str | None, note: str) -> None:
        where = argument(self._call, edit.argument) or self._call
        before = self._source.code(where)
        if where is self._call:
            before = f"{self._source.code(self._call.func)}() without {edit.argument}"
        self._source.note_rule(edit.rule, where, before, after, note)

    def _edited(self, edit: ArgEdit, arg: cst.Arg | None) -> list[cst.Arg]:
        new = [_keyword(name, self._written(value)) for name, value in edit.sets]
        written = [self._source.module.code_for_node(arg) for arg in new]
        if edit.callback is not None and self._takes_callbacks():
            written.append(f"callbacks=[{self._written(edit.callback)}]")
        self._note(edit, ", ".join(written), edit.note)
        if arg is None or not new:
            return new
        if len(new) > 1:
            return [*new[:-1], new[-1].with_changes(comma=arg.comma)]
        old = argument(self._call, edit.argument)
        is_same = old is not None and contains(edit.sets[0][1], [value_of(self._source, old.value)])
        value = arg.value if is_same else new[0].value
        return [arg.with_changes(keyword=new[0].keyword, value=value)]

    def _unknown_first(self) -> bool:
        given = sum(arg.keyword is None for arg in self._args)
        return given > (DATA_FIRST if self._is_function else 0)

    def _takes_callbacks(self) -> bool:
        given = argument(self._call, "callbacks")
        return given is None or isinstance(given.value, cst.List) or dotted(given.value) == "None"

    def _add(self, callback: Call | Expression) -> None:
        text = self._written(callback)
        keywords = [keyword_of(arg) for arg in self._args]
        if "callbacks" not in keywords:
            self._args.append(_keyword("callbacks", f"[{text}]"))
            return
        index = keywords.index("callbacks")
        arg = self._args[index]
        if isinstance(arg.value, cst.List):
            value = _with_element(arg.value, cst.parse_expression(text))
            self._args[index] = arg.with_changes(value=value)
        elif dotted(arg.value) == "None":
            self._args[index] = arg.with_changes(value=cst.parse_expression(f"[{text}]"))

    def _written(self, value: Value) -> str:
        if isinstance(value, Expression):
            return value.text
        if isinstance(value, Call):
            args = ", ".join(f"{k}={self._written(v)}" for k, v in value.arguments.items())
            return f"{name_of(self._source, value.target)}({args})"
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if isinstance(value, list):
            return "[" + ", ".join(self._written(item) for item in value) + "]"
        if isinstance(value, Mapping):
            pairs = (f"{self._written(k)}: {self._written(v)}" for k, v in value.items())
            return "{" + ", ".join(pairs) + "}"
        return repr(value)


def _keyword(name: str, text: str) -> cst.Arg:
    return keyword_arg(name, cst.parse_expression(text))


def _with_element(node: cst.List, value: cst.BaseExpression) -> cst.List:
    elements = list(node.elements)
    if not elements:
        return node.with_changes(elements=[cst.Element(value)])
    last = elements[-1]
    space = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    elements[-1] = last.with_changes(comma=elements[0].comma if len(elements) > 1 else space)
    return node.with_changes(elements=[*elements, cst.Element(value, comma=last.comma)])


def name_of(source: Source, target: str) -> str:
    """Return how a file can refer to a class, and import it if needed."""
    scope = source.scope(source.module.body[0]) if source.module.body else None
    is_unified = "lightning.pytorch" in source.text and "pytorch_lightning" not in source.text
    new = localised(target, unified=is_unified)
    longest = ""
    for assignment in scope.assignments if scope is not None else ():
        if not isinstance(assignment, ImportAssignment):
            continue
        for bound in assignment.get_qualified_names_for(assignment.name):
            base = canonical(current_path(source, bound.name)[0] or bound.name)
            if base == target:
                return assignment.name
            if target.startswith(f"{base}.") and len(base) >= len(longest):
                longest, new = base, assignment.name + target[len(base) :]
    if not longest:
        module, _, name = new.rpartition(".")
        source.need(f"from {module} import {name}")
        return name
    return new


def value_of(source: Source, node: cst.BaseExpression) -> Value:
    """Return the value of a literal, or an expression."""
    text = source.module.code_for_node(node)
    if isinstance(node, cst.Call):
        return Expression(text, target_of(source, node))
    if isinstance(node, cst.Name) and (calls := source.assigned_calls(node)):
        targets = {target_of(source, call) for call in calls}
        return Expression(text, targets.pop() if len(targets) == 1 else "")
    if isinstance(node, cst.List | cst.Dict):
        if any(isinstance(element, STARRED) for element in node.elements):
            return Expression(text)
        values = [value_of(source, element.value) for element in node.elements]
        if isinstance(node, cst.List):
            return values
        keys = [_plain(item.key) for item in node.elements if isinstance(item, cst.DictElement)]
        return Expression(text) if NO_LITERAL in keys else dict(zip(keys, values, strict=True))
    value = _plain(node)
    return Expression(text) if value is NO_LITERAL else value


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
    """Write out the defaults of transformers' AdamW."""
    args = [arg for arg in new.args if keyword_of(arg) != "correct_bias"]
    about = rule_by_id("hf-adamw-defaults")
    if any(arg.star for arg in args) or sum(arg.keyword is None for arg in args) > 2:
        source.note_rule(about, old, source.code(old.func), None)
        return new
    added = [_keyword(k, v) for k, v in ADAMW_DEFAULTS.items() if argument(old, k) is None]
    bias = argument(old, "correct_bias")
    note = reason_for(about)
    if bias is not None and dotted(bias.value) != "True":
        note += "; it always corrects the bias, which correct_bias=False did not"
    if not added and bias is None:
        return new
    written = ", ".join(source.module.code_for_node(arg) for arg in added)
    source.note(about.id, old, source.code(old.func), written, note)
    return new.with_changes(args=lay_out_args([*args, *added], new.args))
