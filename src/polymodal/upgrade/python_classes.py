"""Classes of a file: which of them Lightning calls, and what their methods take and use."""

import ast
from collections.abc import Iterable, Iterator
from typing import Literal

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.changes import Facts, Outline
from polymodal.upgrade.python_names import canonical
from polymodal.upgrade.python_source import Source, dotted

Kind = Literal["module", "callback", "datamodule", "hf-trainer", ""]
ROOTS: dict[str, Kind] = {
    "LightningModule": "module",
    "LightningDataModule": "datamodule",
    "Callback": "callback",
}
# Callbacks of Lightning that users derive from.
CALLBACKS = "pytorch_lightning.callbacks."


def outlines(tree: ast.Module) -> dict[str, Outline]:
    """Returns what other files have to know of the classes of a file, by name."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            base = f"{node.module}." if isinstance(node, ast.ImportFrom) and node.module else ""
            known.update({one.asname or one.name: base + one.name for one in node.names})
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            said = [ast.unparse(one) for one in node.bases]
            heads = [one.partition(".") for one in said]
            bases = tuple(known.get(head, head) + dot + rest for head, dot, rest in heads)
            own = frozenset(one.name for one in node.body if isinstance(one, ast.FunctionDef))
            found[node.name] = Outline(bases, own)
    return found


def kind_of_name(facts: Facts, name: str) -> Kind:
    """Tells as what Lightning calls a class of the tree, by its name."""
    return _kind_of_base(name, facts, frozenset()) if name in facts.classes else ""


def lightning_classes(facts: Facts) -> set[str]:
    """Returns the names of all classes of a tree that derive from one of Lightning."""
    return {name for name in facts.classes if kind_of_name(facts, name)}


def kind_of(source: Source, node: cst.ClassDef) -> Kind:
    """Tells as what Lightning calls a class.

    Args:
        source: The file.
        node: The class, of the old tree.

    Returns:
        Which kind; empty where it derives from nothing of Lightning.
    """
    for one in node.bases:
        base = source.qualified(one.value) or dotted(one.value)
        if kind := _kind_of_base(base, source.facts, frozenset({node.name.value})):
            return kind
    return ""


def _kind_of_base(base: str, facts: Facts, seen: frozenset[str]) -> Kind:
    name = canonical(base)
    tail = name.rpartition(".")[2]
    if name in ("transformers.Trainer", "transformers.Seq2SeqTrainer"):
        return "hf-trainer"
    if name.startswith("pytorch_lightning."):
        return "callback" if name.startswith(CALLBACKS) else ROOTS.get(tail, "")
    known = facts.classes.get(tail)
    if known is None or tail in seen:
        return ""
    for one in known.bases:
        if kind := _kind_of_base(one, facts, seen | {tail}):
            return kind
    return ""


def has_heirs(facts: Facts, name: str, method: str) -> bool:
    """Tells whether another class of the tree derives from one and has a method of its own."""
    return any(
        method in one.methods and any(base.rpartition(".")[2] == name for base in one.bases)
        for other, one in facts.classes.items()
        if other != name
    )


def base_with(facts: Facts, name: str, wanted: Iterable[str]) -> str:
    """Returns the class of the tree that one derives from and that has a method, or nothing.

    Args:
        facts: What is known of the tree.
        name: The class.
        wanted: Names of methods, one of which is looked for.
    """
    seen, ahead = {name}, [name]
    while ahead:
        known = facts.classes.get(ahead.pop())
        for base in known.bases if known is not None else ():
            tail = base.rpartition(".")[2]
            if tail in facts.classes and tail not in seen:
                if facts.classes[tail].methods & {*wanted}:
                    return tail
                seen.add(tail)
                ahead.append(tail)
    return ""


def methods(node: cst.ClassDef) -> dict[str, cst.FunctionDef]:
    """Returns the methods of a class by name."""
    body = node.body.body
    return {one.name.value: one for one in body if isinstance(one, cst.FunctionDef)}


def parameters(method: cst.FunctionDef) -> list[cst.Param]:
    """Returns the parameters of a method, those by name alone last."""
    params = method.params
    return [*params.posonly_params, *params.params, *params.kwonly_params]


def parameter_names(method: cst.FunctionDef) -> list[str]:
    """Returns the names of a method's parameters."""
    return [one.name.value for one in parameters(method)]


def uses(node: cst.CSTNode, name: str) -> bool:
    """Tells whether code reads a name; attributes and keywords of that name do not count."""
    return any(one.value == name for one in names(node))


def names(node: cst.CSTNode) -> Iterator[cst.Name]:
    """Walks through the names that code reads or sets, but not attributes or keywords."""
    if isinstance(node, cst.Name):
        yield node
    elif isinstance(node, cst.Attribute | cst.Arg):
        yield from names(node.value)
    else:
        for child in node.children:
            yield from names(child)


def own_nodes(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Walks through the code of a function, but not of functions inside it."""
    for child in node.children:
        if not isinstance(child, cst.FunctionDef | cst.Lambda | cst.ClassDef):
            yield child
            yield from own_nodes(child)


def returns(method: cst.FunctionDef) -> list[cst.Return]:
    """Returns the return statements of a function that give a value."""
    found = [one for one in own_nodes(method.body) if isinstance(one, cst.Return)]
    return [one for one in found if one.value is not None and not _is_none(one.value)]


def _is_none(value: cst.BaseExpression) -> bool:
    return isinstance(value, cst.Name) and value.value == "None"


def without_parameters(method: cst.FunctionDef, dropped: Iterable[str]) -> cst.FunctionDef:
    """Returns a method that no longer takes some parameters."""
    gone = set(dropped)
    params = method.params
    kept = [one for one in params.params if one.name.value not in gone]
    by_name = [one for one in params.kwonly_params if one.name.value not in gone]
    if len(kept) < len(params.params) and kept and params.params[-1] not in kept:
        has_more = by_name or isinstance(params.star_arg, cst.Param) or params.star_kwarg
        last = params.params[-1].comma if not has_more else kept[-1].comma
        kept[-1] = kept[-1].with_changes(
            comma=last, whitespace_after_param=params.params[-1].whitespace_after_param
        )
    return method.with_changes(params=params.with_changes(params=kept, kwonly_params=by_name))


def with_parameters(
    method: cst.FunctionDef, added: Iterable[str], default: str = ""
) -> cst.FunctionDef:
    """Returns a method that takes some more parameters, after those that it takes."""
    params = method.params
    value = cst.parse_expression(default) if default else None
    space = cst.SimpleWhitespace("")
    equal = cst.AssignEqual(space, space) if default else cst.MaybeSentinel.DEFAULT
    extra = [cst.Param(cst.Name(name), default=value, equal=equal) for name in added]
    return method.with_changes(params=params.with_changes(params=[*params.params, *extra]))


def is_call_of_self(node: cst.CSTNode, method: str) -> bool:
    """Tells whether a node is `self.method(...)`."""
    return m.matches(node, m.Call(func=m.Attribute(value=m.Name("self"), attr=m.Name(method))))


def attributes_set(node: cst.CSTNode) -> set[str]:
    """Returns the attributes of `self` that code assigns to."""
    of_self = m.Attribute(value=m.Name("self"))
    targets = m.findall(node, m.AssignTarget() | m.AnnAssign())
    return {
        found.attr.value
        for one in targets
        if isinstance(one, cst.AssignTarget | cst.AnnAssign)
        for found in m.findall(one.target, of_self)
        if isinstance(found, cst.Attribute)
    }
