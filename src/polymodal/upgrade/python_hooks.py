"""Hooks that Lightning no longer calls, or calls with other arguments."""

from collections.abc import Callable, Mapping

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.python_bodies import (
    after_method,
    at_end,
    at_head,
    statements,
    with_method,
)
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
from polymodal.upgrade.python_source import Source, rule_of, why
from polymodal.upgrade.rules import Rule, rules

# How many parameters, with `self`, a hook has that is given them by their place.
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
    """Rewrites the hooks of a class.

    Args:
        source: The file.
        old: The class as it was.
        new: The class as it is now.

    Returns:
        The class; the same where Lightning does not call it.
    """
    kind = kind_of(source, old)
    if not kind:
        return new
    if kind == "module":
        _tell_of_magic_keys(source, old)
        _tell_of_splits(source, old)
        _tell_of_optimisers(source, old)
        new = rewrite_outputs(source, old, new)
    for rule in rules("form"):
        if rule.id.startswith("hook-") and kind in rule.classes and rule.action in ACTIONS:
            for hook in rule.old:
                if hook in methods(new) and hook in methods(old):
                    new = ACTIONS[rule.action](source, rule, old, new, hook)
    return new


def _tell_of_splits(source: Source, old: cst.ClassDef) -> None:
    """Says that truncated backpropagation is no longer built in, where a class asks for it."""
    rule = rule_of("module-truncated-bptt")
    for one in old.body.body:
        if m.matches(one, m.SimpleStatementLine(body=[SPLITS])):
            source.note(rule.id, one, source.code(one), None, why(rule))


def _tell_of_optimisers(source: Source, old: cst.ClassDef) -> None:
    """Says that several optimisers need manual optimisation, where a class has them."""
    method = methods(old).get("configure_optimizers")
    if method is None or "automatic_optimization" in source.code(old):
        return
    rule = rule_of("several-optimisers")
    for one in returns(method):
        several = m.matches(one.value, SEVERAL) if one.value is not None else False
        if several or any(_has_frequency(found) for found in m.findall(one, m.Dict())):
            source.note(rule.id, one, source.code(one), None, why(rule))


def _has_frequency(node: cst.CSTNode) -> bool:
    keys = {_key(one) for one in getattr(node, "elements", ())}
    return {"optimizer", "frequency"} <= keys


def _key(element: cst.CSTNode) -> object:
    """Returns the key of an element of a mapping, where it is written out."""
    key = getattr(element, "key", None)
    return key.evaluated_value if isinstance(key, cst.SimpleString) else None


def _node(old: cst.ClassDef, hook: str) -> cst.FunctionDef:
    """Returns the old method, for its line."""
    return methods(old)[hook]


def _signature(method: cst.FunctionDef) -> str:
    return f"{method.name.value}({', '.join(parameter_names(method))})"


def _tell(
    source: Source, rule: Rule, node: cst.FunctionDef, written: str | None, note: str = ""
) -> None:
    source.note(rule.id, node, _signature(node), written, why(rule, note))


def _ask(
    source: Source, rule: Rule, old: cst.ClassDef, new: cst.ClassDef, hook: str
) -> cst.ClassDef:
    _tell(source, rule, _node(old, hook), None)
    return new


def _rename(
    source: Source, rule: Rule, old: cst.ClassDef, new: cst.ClassDef, hook: str
) -> cst.ClassDef:
    """Gives a hook its new name, and the parameters that the new one has more."""
    target, node = _target(rule, hook), _node(old, hook)
    if target in methods(new):
        _tell(source, rule, node, None, f"{target} is there, too: move what this one does into it")
        return new
    method = methods(new)[hook].with_changes(name=cst.Name(target))
    if rule.only:
        taken = parameter_names(method)
        if len(taken) != 3:
            _tell(source, rule, node, None, f"write {target}(self, trainer, pl_module, ...)")
            return new
        before = [one for one in rule.only if one not in taken]
        method = with_parameters(method, before)
    _tell(source, rule, node, _signature(method))
    return with_method(new, hook, method)


def _target(rule: Rule, hook: str) -> str:
    place = rule.old.index(hook)
    return str(rule.new[place if len(rule.new) == len(rule.old) else 0])


def _add(
    source: Source, rule: Rule, old: cst.ClassDef, new: cst.ClassDef, hook: str
) -> cst.ClassDef:
    """Adds parameters that a hook is given now."""
    if rule.new:
        return _rename(source, rule, old, new, hook)
    method = methods(new)[hook]
    missing = [one for one in rule.only or () if one not in parameter_names(method)]
    if len(parameter_names(method)) >= ARITY.get(hook, len(parameter_names(method)) + 1):
        return new  # it has them all, by other names
    if not missing or method.params.star_kwarg or isinstance(method.params.star_arg, cst.Param):
        return new
    made = with_parameters(method, missing, "None" if rule.neutral == (None,) else "")
    _tell(source, rule, _node(old, hook), _signature(made))
    return with_method(new, hook, made)


def _drop(
    source: Source, rule: Rule, old: cst.ClassDef, new: cst.ClassDef, hook: str
) -> cst.ClassDef:
    """Takes out parameters that a hook is no longer given."""
    method, node = methods(new)[hook], _node(old, hook)
    gone = [one for one in rule.only or () if one in parameter_names(method)]
    if not gone:
        return new
    used = [one for one in gone if uses(method.body, one)]
    if used:
        note = f"{', '.join(used)} is used: {rule.note or 'write the method without it'}"
        _tell(source, rule, node, None, note)
        return new
    made = without_parameters(method, gone)
    _tell(source, rule, node, _signature(made), rule.reason)
    return with_method(new, hook, made)


def _default(
    source: Source, rule: Rule, old: cst.ClassDef, new: cst.ClassDef, hook: str
) -> cst.ClassDef:
    """Gives parameters a default that a hook is given only sometimes."""
    method = methods(new)[hook]
    changed = [
        one.with_changes(
            default=cst.Integer("0"),
            equal=cst.MaybeSentinel.DEFAULT
            if one.annotation
            else cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")),
        )
        if one.name.value in (rule.only or ()) and one.default is None
        else one
        for one in method.params.params
    ]
    if all(a is b for a, b in zip(changed, method.params.params, strict=True)):
        return new
    made = method.with_changes(params=method.params.with_changes(params=changed))
    _tell(source, rule, _node(old, hook), "dataloader_idx=0")
    return with_method(new, hook, made)


def _split(
    source: Source, rule: Rule, old: cst.ClassDef, new: cst.ClassDef, hook: str
) -> cst.ClassDef:
    """Puts a hook of each kind of epoch in the place of the one for all."""
    end = hook.removeprefix("on_epoch_")
    targets = [f"on_{stage}_epoch_{end}" for stage in ("train", "validation", "test")]
    taken = [one for one in targets if one in methods(new)]
    node = _node(old, hook)
    name = f"_{hook}" if taken else targets[0]
    count = len(parameter_names(methods(new)[hook]))
    new = with_method(new, hook, methods(new)[hook].with_changes(name=cst.Name(name)))
    for one in taken:
        given = ", ".join(parameter_names(methods(new)[one])[1:count])
        new = _also_calling(new, one, given, f"self.{name}({given})")
    lines = statements(*(f"{one} = {name}" for one in targets if one not in (*taken, name)))
    if lines:
        lines[0] = lines[0].with_changes(leading_lines=[cst.EmptyLine(indent=False)])
    _tell(source, rule, node, ", ".join(targets))
    return after_method(new, name, *lines)


def _also_calling(node: cst.ClassDef, hook: str, given: str, line: str) -> cst.ClassDef:
    """Has a hook say one more line when it is done, however it ends."""
    method = methods(node)[hook]
    if not m.findall(method.body, m.Return()):
        return with_method(node, hook, at_end(method, line))
    inner = f"_{hook}"
    text = (
        f"def {hook}(self{', ' + given if given else ''}):\n    self.{inner}({given})\n    {line}\n"
    )
    outer = cst.parse_statement(text)
    blank = [cst.EmptyLine(indent=False)]
    node = with_method(node, hook, method.with_changes(name=cst.Name(inner)))
    return after_method(node, inner, outer.with_changes(leading_lines=blank))


def _interrupt(
    source: Source, rule: Rule, old: cst.ClassDef, new: cst.ClassDef, hook: str
) -> cst.ClassDef:
    """Has the hook of all exceptions do what the one of the keyboard did."""
    method = methods(new)[hook]
    if not isinstance(method.body, cst.IndentedBlock):
        return _ask(source, rule, old, new, hook)
    made = _rename(source, rule, old, new, hook)
    if made is new:
        return new
    guard = "if not isinstance(exception, KeyboardInterrupt):\n    return\n"
    target = _target(rule, hook)
    return with_method(made, target, at_head(methods(made)[target], guard))


def _state(
    source: Source, rule: Rule, old: cst.ClassDef, new: cst.ClassDef, hook: str
) -> cst.ClassDef:
    """Turns what a callback saves of itself into its state."""
    method, node, target = methods(new)[hook], _node(old, hook), _target(rule, hook)
    taken = parameter_names(method)
    if hook == "on_save_checkpoint" and not returns(method):
        if len(taken) == 3:
            made = with_parameters(method, ["checkpoint"])
            _tell(source, rule, node, _signature(made))
            return with_method(new, hook, made)
        return new
    others = [one for one in taken[1:] if one not in ("callback_state", "state")]
    if hook == "on_load_checkpoint" and len(taken) == 4 and others[-1:] == ["checkpoint"]:
        return new
    if target in methods(new) or any(uses(method.body, one) for one in others):
        note = f"what it returned is {target} now, without trainer and module"
        _tell(source, rule, node, None, note)
        return new
    made = without_parameters(method, others).with_changes(name=cst.Name(target))
    _tell(source, rule, node, _signature(made))
    return with_method(new, hook, made)


def _tell_of_magic_keys(source: Source, old: cst.ClassDef) -> None:
    """Says which returned mappings hold keys that are no longer logged."""
    for name, method in methods(old).items():
        if not name.endswith(("_step", "_epoch_end", "_step_end")):
            continue
        for one in returns(method):
            keys = m.findall(one, m.DictElement(key=m.SimpleString()))
            found = [
                str(key.key.evaluated_value)
                for key in keys
                if isinstance(key, cst.DictElement) and isinstance(key.key, cst.SimpleString)
            ]
            if magic := [key for key in found if key in rule_of("magic-keys").old]:
                note = why(rule_of("magic-keys"))
                source.note("magic-keys", one, f"return {', '.join(magic)}", None, note)


Action = Callable[[Source, Rule, cst.ClassDef, cst.ClassDef, str], cst.ClassDef]
ACTIONS: Mapping[str, Action] = {
    "ask": _ask,
    "rename": _rename,
    "add": _add,
    "drop": _drop,
    "default": _default,
    "split": _split,
    "interrupt": _interrupt,
    "state": _state,
}
