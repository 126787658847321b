"""Attributes, methods and keywords of a Trainer or a LightningModule."""

from functools import cache

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.names import canonical
from polymodal.upgrade.python_classes import attributes_set, kind_of, kind_of_name, methods
from polymodal.upgrade.python_imports import current_path
from polymodal.upgrade.python_source import (
    Source,
    argument,
    chain,
    dotted,
    keyword_arg,
    lay_out_args,
    literal,
)
from polymodal.upgrade.rules import Rule, rule_by_id, rules

TRAINER = "pytorch_lightning.Trainer"
MAKERS = (TRAINER, f"{TRAINER}.from_argparse_args", "hydra.utils.instantiate")


@cache
def _known() -> dict[tuple[str, str], Rule]:
    """Return the rules of attributes by owner and name."""
    table = {}
    for rule in rules("form"):
        if not rule.id.startswith("hook-"):
            for owner in rule.classes:
                table.update({(owner, name): rule for name in rule.old})
    return table


def owner_of(source: Source, node: cst.BaseExpression) -> str:
    """Return `trainer`, the kind of class that `self` is, or an empty string."""
    if isinstance(node, cst.Attribute):
        return "trainer" if node.attr.value == "trainer" and _uses_lightning(source) else ""
    if not isinstance(node, cst.Name):
        return ""
    if node.value == "self":
        cls = source.ancestor(node, cst.ClassDef)
        return kind_of(source, cls) if cls is not None else ""
    name = (source.qualified(node) or node.value).rpartition(".")[2]
    if kind := kind_of_name(source.facts, name):
        return kind
    calls = source.assigned_calls(node)
    makers = [canonical(current_path(source, source.qualified(c.func))[0]) for c in calls]
    is_named = node.value == "trainer"
    if makers:
        is_trainer = {*makers} <= {*MAKERS} and (is_named or TRAINER in makers)
    else:
        is_trainer = is_named and _uses_lightning(source)
    return "trainer" if is_trainer else ""


def _uses_lightning(source: Source) -> bool:
    return "pytorch_lightning" in source.text or "lightning.pytorch" in source.text


def rewrite_attribute(
    source: Source, old: cst.Attribute, new: cst.BaseExpression
) -> cst.BaseExpression:
    """Rewrite an attribute that was renamed or removed."""
    if not isinstance(new, cst.Attribute):
        return new
    name = old.attr.value
    owner = owner_of(source, old.value) if name in {key for _, key in _known()} else ""
    rule = _known().get((owner, name))
    if rule is None or rule.action not in ("rename", "ask"):
        return new
    if owner != "trainer" and _is_own(source, old, name):
        return new
    if rule.action == "ask" or isinstance(source.parent(old), cst.AssignTarget):
        source.note_rule(rule, old, source.code(old), None)
        return new
    source.note_rule(rule, old, source.code(old), f"{dotted(old.value)}.{rule.new[0]}")
    return _on(chain(f"x.{rule.new[0]}"), new.value)


def _on(expression: cst.BaseExpression, head: cst.BaseExpression) -> cst.BaseExpression:
    """Replace the first name of a chain by an expression."""
    if not isinstance(expression, cst.Attribute):
        return head
    return expression.with_changes(value=_on(expression.value, head))


def _is_own(source: Source, node: cst.Attribute, name: str) -> bool:
    cls = source.ancestor(node, cst.ClassDef)
    if isinstance(node.value, cst.Name):
        outline = source.facts.classes.get(node.value.value)
        if outline is not None and name in outline.methods:
            return True
    if cls is None or name == "truncated_bptt_steps":
        return False
    in_body = m.findall(cls.body, m.AssignTarget(target=m.Name(name)))
    return name in attributes_set(cls) or name in methods(cls) or bool(in_body)


def rewrite_assignment(source: Source, old: cst.Assign, new: cst.Assign) -> cst.BaseSmallStatement:
    """Rewrite `self.hparams = hparams`, which Lightning rejects."""
    target = old.targets[0].target
    if len(old.targets) != 1 or dotted(target) != "self.hparams":
        return new
    assert isinstance(target, cst.Attribute)
    rule = _known().get((owner_of(source, target.value), "hparams"))
    if rule is None:
        return new
    value = source.code(old.value)
    method = source.ancestor(old, cst.FunctionDef)
    is_in_init = method is not None and method.name.value == "__init__"
    after = f"self.save_hyperparameters({value})" if is_in_init else None
    source.note_rule(rule, old, f"self.hparams = {value}", after)
    if not is_in_init:
        return new
    return cst.Expr(cst.Call(chain("self.save_hyperparameters"), [cst.Arg(new.value)]))


def rewrite_method_call(source: Source, old: cst.Call, new: cst.Call) -> cst.BaseExpression:
    """Rewrite a call of a method of a Trainer or of `self`."""
    if not isinstance(old.func, cst.Attribute) or not isinstance(new.func, cst.Attribute):
        return new
    name = old.func.attr.value
    if f"{name}()" not in _named_methods() and name not in _named_methods():
        return new
    owner = owner_of(source, old.func.value)
    if not owner:
        return new
    method_rule = _known().get((owner, f"{name}()"))
    if method_rule is not None and not old.args:
        attribute = method_rule.new[0]
        after = f"{dotted(old.func.value)}.{attribute}"
        source.note_rule(method_rule, old, source.code(old), after)
        return new.func.with_changes(attr=cst.Name(attribute))
    args = list(new.args)
    if name == "manual_backward" and len(args) > 1 and args[1].keyword is None and not args[1].star:
        source.note_rule(_known()[owner, f"{name}.optimizer"], old, source.code(old), "")
        del args[1]
    if name == "toggle_optimizer" and len(args) > 1:
        source.note_rule(_known()[owner, f"{name}.optimizer_idx"], old, source.code(old), "")
        del args[1:]
    rewritten = (_keyword(source, old, owner, name, arg) for arg in args)
    args = [arg for arg in rewritten if arg is not None]
    if name == "fit" and owner == "trainer":
        args += _checkpoint(source, old)
    if [*map(id, args)] == [*map(id, new.args)]:
        return new
    return new.with_changes(args=lay_out_args(args, new.args))


@cache
def _named_methods() -> frozenset[str]:
    named = {name.partition(".")[0] for _, name in _known() if "." in name or name.endswith("()")}
    return frozenset(named | {"fit"})


def _keyword(
    source: Source, call: cst.Call, owner: str, method: str, arg: cst.Arg
) -> cst.Arg | None:
    """Rewrite a keyword of a call; None if it is removed."""
    word = arg.keyword.value if arg.keyword is not None else ""
    rule = _known().get((owner, f"{method}.{word}"))
    if rule is None:
        return arg
    before = f"{method}({word}=)"
    if rule.action == "keyword":
        source.note_rule(rule, call, before, f"{method}({rule.new[0]}=)")
        return arg.with_changes(keyword=cst.Name(rule.new[0]))
    is_undecided = bool(rule.quiet) and literal(arg.value) not in rule.quiet
    source.note_rule(rule, call, before, None if is_undecided else "")
    return arg if is_undecided else None


def moved_checkpoint(source: Source, trainer: cst.Call) -> tuple[cst.Arg, cst.Call] | None:
    """Return a Trainer's `resume_from_checkpoint` and the only `fit` in the same function.

    Returns None if there is no such call, or if the value could differ there.
    """
    arg = argument(trainer, "resume_from_checkpoint")
    assign = source.parent(trainer)
    if arg is None or not isinstance(assign, cst.Assign) or len(assign.targets) != 1:
        return None
    target = assign.targets[0].target
    scope = source.scope(trainer)
    if not isinstance(target, cst.Name) or scope is None or not _is_plain(arg.value):
        return None
    fits = []
    for assignment in scope[target.value]:
        for access in assignment.references:
            func = source.parent(access.node)
            call = source.parent(func) if func is not None else None
            is_fit = isinstance(func, cst.Attribute) and func.attr.value == "fit"
            if is_fit and isinstance(call, cst.Call):
                fits.append((call, access.scope))
    if len(fits) != 1 or fits[0][1] is not scope or argument(fits[0][0], "ckpt_path"):
        return None
    return arg, fits[0][0]


def _is_plain(value: cst.BaseExpression) -> bool:
    """Return whether an expression has the same value a few lines later."""
    return (
        dotted(value) not in ("", "None")
        or isinstance(value, cst.SimpleString)
        or (isinstance(value, cst.Subscript) and bool(dotted(value.value)))
    )


def _checkpoint(source: Source, fit: cst.Call) -> list[cst.Arg]:
    """Return the `ckpt_path` that a call of `fit` takes over from its Trainer."""
    assert isinstance(fit.func, cst.Attribute)
    if not isinstance(fit.func.value, cst.Name):
        return []
    for maker in source.assigned_calls(fit.func.value):
        moved = moved_checkpoint(source, maker)
        if moved is not None and moved[1] is fit:
            return [keyword_arg("ckpt_path", moved[0].value.deep_clone())]
    return []


def note_checkpoints(source: Source) -> None:
    """Note where checkpoints are loaded that an older release may have written."""
    rule = rule_by_id("load-weights-only")
    for call in m.findall(source.module, m.Call(func=m.Attribute(attr=m.Name(rule.old[0])))):
        if isinstance(call, cst.Call) and argument(call, "weights_only") is None:
            source.note_rule(rule, call, source.code(call.func), None)
