"""What code asks of a Trainer or a LightningModule: attributes, methods, keywords."""

from collections.abc import Sequence
from functools import cache

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.python_classes import (
    attributes_set,
    kind_of,
    kind_of_name,
    methods,
)
from polymodal.upgrade.python_imports import now
from polymodal.upgrade.python_names import canonical
from polymodal.upgrade.python_source import (
    Source,
    argument,
    chain,
    dotted,
    literal,
    rule_of,
    why,
    words_between,
)
from polymodal.upgrade.rules import Rule, rules

TRAINER = "pytorch_lightning.Trainer"
MAKERS = (TRAINER, f"{TRAINER}.from_argparse_args", "hydra.utils.instantiate")


@cache
def _known() -> dict[tuple[str, str], Rule]:
    """Returns the rules of attributes by who has them and what they are called."""
    found = {}
    for rule in rules("form"):
        if not rule.id.startswith("hook-"):
            for owner in rule.classes:
                found.update({(owner, name): rule for name in rule.old})
    return found


def owner_of(source: Source, node: cst.BaseExpression) -> str:
    """Tells what an expression is, as far as Lightning goes.

    Args:
        source: The file.
        node: Expression of the old tree.

    Returns:
        `trainer`, the kind of class that `self` is, or empty.
    """
    if isinstance(node, cst.Attribute):
        return "trainer" if node.attr.value == "trainer" and _uses_lightning(source) else ""
    if not isinstance(node, cst.Name):
        return ""
    if node.value == "self":
        cls = source.class_around(node)
        return kind_of(source, cls) if cls is not None else ""
    if kind := kind_of_name(
        source.facts, (source.qualified(node) or node.value).rpartition(".")[2]
    ):
        return kind
    makers = [canonical(now(source, source.qualified(c.func))[0]) for c in _makers(source, node)]
    if makers:
        return (
            "trainer"
            if all(one in MAKERS for one in makers)
            and (node.value == "trainer" or TRAINER in makers)
            else ""
        )
    return "trainer" if node.value == "trainer" and _uses_lightning(source) else ""


def _makers(source: Source, node: cst.Name) -> Sequence[cst.Call]:
    return source.assigned_calls(node)


def _uses_lightning(source: Source) -> bool:
    return "pytorch_lightning" in source.text or "lightning.pytorch" in source.text


def rewrite_attribute(
    source: Source, old: cst.Attribute, new: cst.BaseExpression
) -> cst.BaseExpression:
    """Rewrites an attribute that is gone, or is called otherwise now.

    Args:
        source: The file.
        old: The attribute as it was.
        new: The attribute as it is now.
    """
    if not isinstance(new, cst.Attribute):
        return new
    name = old.attr.value
    owner = owner_of(source, old.value) if name in {key for _, key in _known()} else ""
    rule = _known().get((owner, name))
    if rule is None or rule.action not in ("rename", "ask"):
        return new
    if owner != "trainer" and _is_own(source, old, name):
        return new
    found = source.code(old)
    if rule.action == "ask" or isinstance(source.parent(old), cst.AssignTarget):
        _tell(source, rule, old, found, None)
        return new
    written = f"{dotted(old.value)}.{rule.new[0]}"
    _tell(source, rule, old, found, written)
    made = chain(f"x.{rule.new[0]}")
    return _on(made, new.value)


def _on(made: cst.BaseExpression, head: cst.BaseExpression) -> cst.BaseExpression:
    """Puts an expression in the place of the first name of a chain."""
    if not isinstance(made, cst.Attribute):
        return head
    return made.with_changes(value=_on(made.value, head))


def _is_own(source: Source, node: cst.Attribute, name: str) -> bool:
    """Tells whether a class has an attribute of its own by that name."""
    cls = source.class_around(node)
    if isinstance(node.value, cst.Name):
        known = source.facts.classes.get(node.value.value)
        if known is not None and name in known.methods:
            return True
    if cls is None:
        return False
    if name == "truncated_bptt_steps":
        return False
    in_body = m.findall(cls.body, m.AssignTarget(target=m.Name(name)))
    return name in attributes_set(cls) or name in methods(cls) or bool(in_body)


def _tell(source: Source, rule: Rule, node: cst.CSTNode, found: str, written: str | None) -> None:
    source.note(rule.id, node, found, written, why(rule))


def rewrite_assignment(source: Source, old: cst.Assign, new: cst.Assign) -> cst.BaseSmallStatement:
    """Rewrites `self.hparams = hparams`, which Lightning refuses.

    Args:
        source: The file.
        old: The assignment as it was.
        new: The assignment as it is now.
    """
    target = old.targets[0].target
    if len(old.targets) != 1 or dotted(target) != "self.hparams":
        return new
    assert isinstance(target, cst.Attribute)
    rule = _known().get((owner_of(source, target.value), "hparams"))
    if rule is None:
        return new
    value = source.code(old.value)
    if not _is_in_init(source, old):
        _tell(source, rule, old, f"self.hparams = {value}", None)
        return new
    written = f"self.save_hyperparameters({value})"
    _tell(source, rule, old, f"self.hparams = {value}", written)
    return cst.Expr(cst.Call(chain("self.save_hyperparameters"), [cst.Arg(new.value)]))


def _is_in_init(source: Source, node: cst.CSTNode) -> bool:
    found = source.parent(node)
    while found is not None and not isinstance(found, cst.FunctionDef):
        found = source.parent(found)
    return isinstance(found, cst.FunctionDef) and found.name.value == "__init__"


def rewrite_method_call(source: Source, old: cst.Call, new: cst.Call) -> cst.BaseExpression:
    """Rewrites a call of a method of a Trainer or of `self`.

    Args:
        source: The file.
        old: The call as it was.
        new: The call as it is now.
    """
    if not isinstance(old.func, cst.Attribute) or not isinstance(new.func, cst.Attribute):
        return new
    name = old.func.attr.value
    if f"{name}()" not in _named_methods() and name not in _named_methods():
        return new
    owner = owner_of(source, old.func.value)
    if not owner:
        return new
    whole = _known().get((owner, f"{name}()"))
    if whole is not None and not old.args:
        _tell(source, whole, old, source.code(old), f"{dotted(old.func.value)}.{whole.new[0]}")
        return new.func.with_changes(attr=cst.Name(whole.new[0]))
    args = list(new.args)
    if name == "manual_backward" and len(args) > 1 and args[1].keyword is None and not args[1].star:
        _tell(source, _known()[owner, "manual_backward.optimizer"], old, source.code(old), "")
        args = [args[0], *args[2:]]
    if name == "toggle_optimizer" and len(args) > 1:
        _tell(source, _known()[owner, "toggle_optimizer.optimizer_idx"], old, source.code(old), "")
        args = args[:1]
    args = [made for one in args if (made := _keyword(source, old, owner, name, one)) is not None]
    if name == "fit" and owner == "trainer":
        args += _checkpoint(source, old)
    if len(args) == len(new.args) and all(a is b for a, b in zip(args, new.args, strict=True)):
        return new
    return new.with_changes(args=words_between(args, new.args))


@cache
def _named_methods() -> frozenset[str]:
    named = {name.partition(".")[0] for _, name in _known() if "." in name or name.endswith("()")}
    return frozenset(named | {"fit"})


def _keyword(
    source: Source, call: cst.Call, owner: str, method: str, arg: cst.Arg
) -> cst.Arg | None:
    """Rewrites one keyword of a call; None where it is left out."""
    if arg.keyword is None:
        return arg
    word = arg.keyword.value
    rule = _known().get((owner, f"{method}.{word}"))
    if rule is None:
        return arg
    if rule.action == "keyword":
        _tell(source, rule, call, f"{method}({word}=)", f"{method}({rule.new[0]}=)")
        return arg.with_changes(keyword=cst.Name(rule.new[0]))
    if rule.quiet and literal(arg.value) not in rule.quiet:
        _tell(source, rule, call, f"{method}({word}=)", None)
        return arg
    _tell(source, rule, call, f"{method}({word}=)", "")
    return None


def moved_checkpoint(source: Source, trainer: cst.Call) -> tuple[cst.Arg, cst.Call] | None:
    """Finds the `fit` to which a Trainer's `resume_from_checkpoint` can be moved.

    Args:
        source: The file.
        trainer: The call of Trainer, of the old tree.

    Returns:
        The argument, and the one call of `fit` in the same function; None where there is none, or
        where the value could differ there.
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
    for one in scope[target.value]:
        for access in one.references:
            func = source.parent(access.node)
            call = source.parent(func) if func is not None else None
            is_fit = isinstance(func, cst.Attribute) and func.attr.value == "fit"
            if is_fit and isinstance(call, cst.Call):
                fits.append((call, access.scope))
    if len(fits) != 1 or fits[0][1] is not scope or argument(fits[0][0], "ckpt_path"):
        return None
    return arg, fits[0][0]


def _is_plain(value: cst.BaseExpression) -> bool:
    """Tells whether an expression has the same value a few lines later."""
    return (
        dotted(value) not in ("", "None")
        or isinstance(value, cst.SimpleString)
        or (isinstance(value, cst.Subscript) and bool(dotted(value.value)))
    )


def _checkpoint(source: Source, fit: cst.Call) -> list[cst.Arg]:
    """Returns the argument that a call of `fit` gets from its Trainer."""
    assert isinstance(fit.func, cst.Attribute)
    if not isinstance(fit.func.value, cst.Name):
        return []
    for maker in source.assigned_calls(fit.func.value):
        moved = moved_checkpoint(source, maker)
        if moved is not None and moved[1] is fit:
            equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
            value = moved[0].value.deep_clone()
            return [cst.Arg(value, keyword=cst.Name("ckpt_path"), equal=equal)]
    return []


def tell_of_checkpoints(source: Source) -> None:
    """Says where checkpoints are read that an older release may have written.

    Args:
        source: The file.
    """
    rule = rule_of("load-weights-only")
    for call in m.findall(source.module, m.Call(func=m.Attribute(attr=m.Name(rule.old[0])))):
        if isinstance(call, cst.Call) and argument(call, "weights_only") is None:
            source.note(rule.id, call, source.code(call.func), None, why(rule))
