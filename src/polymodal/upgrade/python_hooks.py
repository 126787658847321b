"""Hooks that Lightning no longer calls, or calls with other arguments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.python_bodies import after_method, at_end, at_head, statements, with_method
from polymodal.upgrade.python_classes import (
    kind_of,
    methods,
    parameter_names,
    returns,
    uses,
    with_parameters,
    without_parameters,
)
from polymodal.upgrade.python_outputs import rewrite_outputs
from polymodal.upgrade.python_source import EQUAL, Source
from polymodal.upgrade.rules import Rule, rule_by_id, rules

# Number of parameters, with `self`, of hooks that are called with positional arguments.
ARITY = {
    "get_metrics": 3,
    "on_after_batch_transfer": 3,
    "on_before_batch_transfer": 3,
    "training_step": 4,
    "transfer_batch_to_device": 4,
}
# `return a, b`, `return [a, b]` and `return [a, b], [...]`, but not `return [a], [b]`.
ONE = m.Element(value=~(m.List() | m.Tuple()))
TWO = m.List(elements=[ONE, m.AtLeastN(ONE, n=1)]) | m.Tuple(elements=[ONE, m.AtLeastN(ONE, n=1)])
SEVERAL = TWO | m.Tuple(elements=[m.Element(value=TWO), m.ZeroOrMore()])
NAMED = m.Name("truncated_bptt_steps")
SPLITS = m.Assign(targets=[m.AssignTarget(target=NAMED)]) | m.AnnAssign(target=NAMED)


def rewrite_class(source: Source, old: cst.ClassDef, new: cst.ClassDef) -> cst.ClassDef:
    """Rewrite the hooks of a class that derives from Lightning."""
    kind = kind_of(source, old)
    if not kind:
        return new
    if kind == "module":
        _note_magic_keys(source, old)
        for statement in old.body.body:
            if m.matches(statement, m.SimpleStatementLine(body=[SPLITS])):
                rule = rule_by_id("module-truncated-bptt")
                source.note_rule(rule, statement, source.code(statement), None)
        _note_several_optimisers(source, old)
        new = rewrite_outputs(source, old, new)
    for rule in rules("form"):
        if rule.id.startswith("hook-") and kind in rule.classes and rule.action in ACTIONS:
            for name in rule.old:
                if name in methods(new) and name in methods(old):
                    new = ACTIONS[rule.action](_Hook(source, rule, new, methods(old)[name]))
    return new


def _note_several_optimisers(source: Source, old: cst.ClassDef) -> None:
    method = methods(old).get("configure_optimizers")
    if method is None or "automatic_optimization" in source.code(old):
        return
    for statement in returns(method):
        several = m.matches(statement.value, SEVERAL) if statement.value is not None else False
        mappings: Any = m.findall(statement, m.Dict())
        keys = ({*map(_key, mapping.elements)} for mapping in mappings)
        if several or any({"optimizer", "frequency"} <= of_one for of_one in keys):
            rule = rule_by_id("several-optimisers")
            source.note_rule(rule, statement, source.code(statement), None)


def _key(element: cst.CSTNode) -> object:
    key = getattr(element, "key", None)
    return key.evaluated_value if isinstance(key, cst.SimpleString) else None


def _note_magic_keys(source: Source, old: cst.ClassDef) -> None:
    rule = rule_by_id("magic-keys")
    for name, method in methods(old).items():
        if not name.endswith(("_step", "_epoch_end", "_step_end")):
            continue
        for statement in returns(method):
            elements = m.findall(statement, m.DictElement(key=m.SimpleString()))
            if magic := [str(key) for key in map(_key, elements) if key in rule.old]:
                source.note_rule(rule, statement, f"return {', '.join(magic)}", None)


@dataclass(frozen=True)
class _Hook:
    """A hook that a rule is about: its class as it is now, and its method as it was."""

    source: Source
    rule: Rule
    cls: cst.ClassDef
    old: cst.FunctionDef

    @property
    def name(self) -> str:
        return self.old.name.value

    @property
    def method(self) -> cst.FunctionDef:
        return methods(self.cls)[self.name]

    @property
    def target(self) -> str:
        index = self.rule.old.index(self.name)
        return str(self.rule.new[index if len(self.rule.new) == len(self.rule.old) else 0])

    @staticmethod
    def signature(method: cst.FunctionDef) -> str:
        return f"{method.name.value}({', '.join(parameter_names(method))})"

    def note(self, after: str | None, note: str = "") -> cst.ClassDef:
        self.source.note_rule(self.rule, self.old, self.signature(self.old), after, note)
        return self.cls

    def replace(self, method: cst.FunctionDef, note: str = "") -> cst.ClassDef:
        self.note(self.signature(method), note)
        return with_method(self.cls, self.name, method)


def _rename(hook: _Hook) -> cst.ClassDef:
    """Rename a hook, and append its new parameters."""
    target = hook.target
    if target in methods(hook.cls):
        return hook.note(None, f"{target} exists, too: move what this one does into it")
    method = hook.method.with_changes(name=cst.Name(target))
    if hook.rule.only:
        taken = parameter_names(method)
        if len(taken) != 3:
            return hook.note(None, f"write {target}(self, trainer, pl_module, ...)")
        method = with_parameters(method, [name for name in hook.rule.only if name not in taken])
    return hook.replace(method)


def _add(hook: _Hook) -> cst.ClassDef:
    if hook.rule.new:
        return _rename(hook)
    method, taken = hook.method, parameter_names(hook.method)
    missing = [name for name in hook.rule.only or () if name not in taken]
    if len(taken) >= ARITY.get(hook.name, len(taken) + 1):
        return hook.cls  # it has them all, by other names
    if not missing or method.params.star_kwarg or isinstance(method.params.star_arg, cst.Param):
        return hook.cls
    default = "None" if hook.rule.neutral == (None,) else ""
    return hook.replace(with_parameters(method, missing, default))


def _drop(hook: _Hook) -> cst.ClassDef:
    gone = [name for name in hook.rule.only or () if name in parameter_names(hook.method)]
    if not gone:
        return hook.cls
    if used := [name for name in gone if uses(hook.method.body, name)]:
        note = f"{', '.join(used)} is used: {hook.rule.note or 'write the method without it'}"
        return hook.note(None, note)
    return hook.replace(without_parameters(hook.method, gone), hook.rule.reason)


def _default(hook: _Hook) -> cst.ClassDef:
    """Give a default to parameters that are passed only sometimes."""
    params = hook.method.params
    changed = [
        param.with_changes(
            default=cst.Integer("0"), equal=cst.MaybeSentinel.DEFAULT if param.annotation else EQUAL
        )
        if param.name.value in (hook.rule.only or ()) and param.default is None
        else param
        for param in params.params
    ]
    if all(a is b for a, b in zip(changed, params.params, strict=True)):
        return hook.cls
    hook.note("dataloader_idx=0")
    method = hook.method.with_changes(params=params.with_changes(params=changed))
    return with_method(hook.cls, hook.name, method)


def _split(hook: _Hook) -> cst.ClassDef:
    """Replace the hook of all epochs by one for each kind of epoch."""
    end = hook.name.removeprefix("on_epoch_")
    targets = [f"on_{stage}_epoch_{end}" for stage in ("train", "validation", "test")]
    taken = [target for target in targets if target in methods(hook.cls)]
    name = f"_{hook.name}" if taken else targets[0]
    count = len(parameter_names(hook.method))
    new = with_method(hook.cls, hook.name, hook.method.with_changes(name=cst.Name(name)))
    for target in taken:
        given = ", ".join(parameter_names(methods(new)[target])[1:count])
        new = _also_calling(new, target, given, f"self.{name}({given})")
    added = [target for target in targets if target not in (*taken, name)]
    lines = statements(*(f"{target} = {name}" for target in added))
    if lines:
        lines[0] = lines[0].with_changes(leading_lines=[cst.EmptyLine(indent=False)])
    hook.note(", ".join(targets))
    return after_method(new, name, *lines)


def _also_calling(node: cst.ClassDef, hook: str, given: str, line: str) -> cst.ClassDef:
    """Append a line to a hook; wrap the hook if it may return early."""
    method = methods(node)[hook]
    if not m.findall(method.body, m.Return()):
        return with_method(node, hook, at_end(method, line))
    inner, head = f"_{hook}", f"def {hook}(self{', ' + given if given else ''}):"
    outer = cst.parse_statement(f"{head}\n    self.{inner}({given})\n    {line}\n")
    blank = [cst.EmptyLine(indent=False)]
    node = with_method(node, hook, method.with_changes(name=cst.Name(inner)))
    return after_method(node, inner, outer.with_changes(leading_lines=blank))


def _interrupt(hook: _Hook) -> cst.ClassDef:
    """Let the hook of all exceptions do what the hook of the keyboard did."""
    if not isinstance(hook.method.body, cst.IndentedBlock):
        return hook.note(None)
    new = _rename(hook)
    if new is hook.cls:
        return new
    guard = "if not isinstance(exception, KeyboardInterrupt):\n    return\n"
    return with_method(new, hook.target, at_head(methods(new)[hook.target], guard))


def _state(hook: _Hook) -> cst.ClassDef:
    """Turn the checkpoint hooks of a callback into its `state_dict` and `load_state_dict`."""
    method, taken = hook.method, parameter_names(hook.method)
    if hook.name == "on_save_checkpoint" and not returns(method):
        is_short = len(taken) == 3
        return hook.replace(with_parameters(method, ["checkpoint"])) if is_short else hook.cls
    others = [name for name in taken[1:] if name not in ("callback_state", "state")]
    if hook.name == "on_load_checkpoint" and len(taken) == 4 and others[-1:] == ["checkpoint"]:
        return hook.cls
    if hook.target in methods(hook.cls) or any(uses(method.body, name) for name in others):
        return hook.note(None, f"what it returned is {hook.target} now, without trainer and module")
    method = without_parameters(method, others).with_changes(name=cst.Name(hook.target))
    return hook.replace(method)


ACTIONS: Mapping[str, Callable[[_Hook], cst.ClassDef]] = {
    "ask": lambda hook: hook.note(None),
    "rename": _rename,
    "add": _add,
    "drop": _drop,
    "default": _default,
    "split": _split,
    "interrupt": _interrupt,
    "state": _state,
}
