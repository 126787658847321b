"""Classes of a file: which are called by Lightning, and what their methods take and use."""

import ast
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.changes import ClassOutline, ProjectFacts
from polymodal.upgrade.names import canonical
from polymodal.upgrade.python_source import EQUAL, Source, dotted

Kind = Literal["module", "callback", "datamodule", "hf-trainer", ""]
ROOTS: dict[str, Kind] = {
    "LightningModule": "module",
    "LightningDataModule": "datamodule",
    "Callback": "callback",
}
CALLBACKS = "pytorch_lightning.callbacks."


def outlines(tree: ast.Module) -> dict[str, ClassOutline]:
    """Return bases and methods of the classes of a file, by name."""
    imported = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            base = f"{node.module}." if isinstance(node, ast.ImportFrom) and node.module else ""
            imported.update({alias.asname or alias.name: base + alias.name for alias in node.names})
    result = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            heads = [ast.unparse(base).partition(".") for base in node.bases]
            bases = tuple(imported.get(head, head) + dot + rest for head, dot, rest in heads)
            defined = {child.name for child in node.body if isinstance(child, ast.FunctionDef)}
            result[node.name] = ClassOutline(bases, frozenset(defined))
    return result


def kind_of_name(facts: ProjectFacts, name: str) -> Kind:
    """Return the kind of Lightning class that a class of the project is, by its name."""
    return _kind_of_base(name, facts, frozenset()) if name in facts.classes else ""


def lightning_classes(facts: ProjectFacts) -> set[str]:
    """Return the names of all classes of a project that derive from Lightning."""
    return {name for name in facts.classes if kind_of_name(facts, name)}


def kind_of(source: Source, node: cst.ClassDef) -> Kind:
    """Return the kind of Lightning class that a class is; empty if none."""
    for arg in node.bases:
        base = source.qualified(arg.value) or dotted(arg.value)
        if kind := _kind_of_base(base, source.facts, frozenset({node.name.value})):
            return kind
    return ""


def _kind_of_base(base: str, facts: ProjectFacts, seen: frozenset[str]) -> Kind:
    name = canonical(base)
    tail = name.rpartition(".")[2]
    if name in ("transformers.Trainer", "transformers.Seq2SeqTrainer"):
        return "hf-trainer"
    if name.startswith("pytorch_lightning."):
        return "callback" if name.startswith(CALLBACKS) else ROOTS.get(tail, "")
    outline = facts.classes.get(tail)
    if outline is None or tail in seen:
        return ""
    for parent in outline.bases:
        if kind := _kind_of_base(parent, facts, seen | {tail}):
            return kind
    return ""


def has_heirs(facts: ProjectFacts, name: str, method: str) -> bool:
    """Return whether a subclass in the project overrides a method."""
    return any(
        method in outline.methods and name in (base.rpartition(".")[2] for base in outline.bases)
        for other_name, outline in facts.classes.items()
        if other_name != name
    )


def base_with(facts: ProjectFacts, name: str, sought: Iterable[str]) -> str:
    """Return the base class in the project that has one of some methods, or an empty string."""
    seen, ahead = {name}, [name]
    while ahead:
        outline = facts.classes.get(ahead.pop())
        for base in outline.bases if outline is not None else ():
            tail = base.rpartition(".")[2]
            if tail in facts.classes and tail not in seen:
                if facts.classes[tail].methods & {*sought}:
                    return tail
                seen.add(tail)
                ahead.append(tail)
    return ""


def methods(node: cst.ClassDef) -> dict[str, cst.FunctionDef]:
    """Return the methods of a class by name."""
    body = node.body.body
    return {child.name.value: child for child in body if isinstance(child, cst.FunctionDef)}


def parameters(method: cst.FunctionDef) -> list[cst.Param]:
    """Return the parameters of a method, keyword-only ones last."""
    params = method.params
    return [*params.posonly_params, *params.params, *params.kwonly_params]


def parameter_names(method: cst.FunctionDef) -> list[str]:
    """Return the names of a method's parameters."""
    return [parameter.name.value for parameter in parameters(method)]


def uses(node: cst.CSTNode, name: str) -> bool:
    """Return whether code reads a name; attributes and keywords do not count."""
    return any(name_node.value == name for name_node in names(node))


def names(node: cst.CSTNode) -> Iterator[cst.Name]:
    """Yield the names that code reads or sets, but not attributes or keywords."""
    if isinstance(node, cst.Name):
        yield node
    elif isinstance(node, cst.Attribute | cst.Arg):
        yield from names(node.value)
    else:
        for child in node.children:
            yield from names(child)


def own_nodes(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield the nodes of a function, but not of functions inside it."""
    for child in node.children:
        if not isinstance(child, cst.FunctionDef | cst.Lambda | cst.ClassDef):
            yield child
            yield from own_nodes(child)


def returns(method: cst.FunctionDef) -> list[cst.Return]:
    """Return the return statements of a function that give a value."""
    without_value = m.Return(value=None) | m.Return(value=m.Name("None"))
    statements = [child for child in own_nodes(method.body) if isinstance(child, cst.Return)]
    return [statement for statement in statements if not m.matches(statement, without_value)]


def without_parameters(method: cst.FunctionDef, dropped: Iterable[str]) -> cst.FunctionDef:
    """Remove parameters from a method."""
    gone = set(dropped)
    params = method.params
    remaining = [param for param in params.params if param.name.value not in gone]
    by_name = [param for param in params.kwonly_params if param.name.value not in gone]
    if len(remaining) < len(params.params) and remaining and params.params[-1] not in remaining:
        has_more = by_name or isinstance(params.star_arg, cst.Param) or params.star_kwarg
        last = params.params[-1].comma if not has_more else remaining[-1].comma
        remaining[-1] = remaining[-1].with_changes(
            comma=last, whitespace_after_param=params.params[-1].whitespace_after_param
        )
    return method.with_changes(params=params.with_changes(params=remaining, kwonly_params=by_name))


def with_parameters(
    method: cst.FunctionDef, new: Iterable[str], default: str = ""
) -> cst.FunctionDef:
    """Append parameters to a method."""
    params = method.params
    value = cst.parse_expression(default) if default else None
    equal = EQUAL if default else cst.MaybeSentinel.DEFAULT
    extra = [cst.Param(cst.Name(name), default=value, equal=equal) for name in new]
    return method.with_changes(params=params.with_changes(params=[*params.params, *extra]))


def call_of_self(method: str) -> m.Call:
    """Return a matcher of `self.method(...)`."""
    return m.Call(func=m.Attribute(value=m.Name("self"), attr=m.Name(method)))


def calls_self(node: cst.CSTNode, method: str) -> bool:
    """Return whether code calls `self.method(...)`."""
    return bool(m.findall(node, call_of_self(method)))


def attributes_set(node: cst.CSTNode) -> set[str]:
    """Return the attributes of `self` that code assigns to."""
    of_self = m.Attribute(value=m.Name("self"))
    targets: list[Any] = list(m.findall(node, m.AssignTarget() | m.AnnAssign()))
    attributes: list[Any] = [
        match for target in targets for match in m.findall(target.target, of_self)
    ]
    return {match.attr.value for match in attributes}
