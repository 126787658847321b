"""Infer from code whether a training step returns a loss or a mapping with one."""

from collections.abc import Iterator
from typing import Literal

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.python_classes import methods, own_nodes, returns

Output = Literal["loss", "mapping", ""]
LOSS = ("loss", "criterion", "cost", "objective", "elbo")
DEPTH = 4


def step_output(
    node: cst.ClassDef, method: cst.FunctionDef, value: cst.BaseExpression, depth: int = DEPTH
) -> Output:
    """Return `loss`, `mapping` or, if unknown, an empty string; follow `depth` methods."""
    if isinstance(value, cst.Dict | cst.DictComp) or m.matches(value, m.Call(func=m.Name("dict"))):
        return "mapping"
    if isinstance(value, cst.Call):
        return _called(node, value, depth)
    if isinstance(value, cst.Name):
        return _named(node, method, value.value, depth)
    if isinstance(value, cst.BinaryOperation | cst.UnaryOperation):
        return "loss"
    if isinstance(value, cst.Attribute | cst.Subscript):
        return "loss" if _sounds_like_loss(value) else ""
    return ""


def _called(node: cst.ClassDef, call: cst.Call, depth: int) -> Output:
    func = call.func
    class_methods = methods(node)
    if m.matches(func, m.Attribute(value=m.Name("self"))):
        assert isinstance(func, cst.Attribute)
        method = class_methods.get(func.attr.value)
        if method is not None and depth:
            values = [item.value for item in returns(method) if item.value is not None]
            kinds = {step_output(node, method, expression, depth - 1) for expression in values}
            return kinds.pop() if len(kinds) == 1 else ""
        return "loss" if _sounds_like_loss(func) else ""
    root = cst.Module([]).code_for_node(func).split(".")[0]
    return "loss" if root in ("F", "torch", "nn") or _sounds_like_loss(func) else ""


def _named(node: cst.ClassDef, method: cst.FunctionDef, name: str, depth: int) -> Output:
    element = m.SubscriptElement(slice=m.Index(value=m.SimpleString()))
    keyed = m.Subscript(value=m.Name(name), slice=[element])
    if m.findall(method.body, keyed):
        return "mapping"
    kinds = {
        step_output(node, method, value, depth) if value is not None else ""
        for value in _assigned(method, name)
    }
    if len(kinds) == 1 and (kind := kinds.pop()):
        return kind
    return "loss" if any(word in name.lower() for word in LOSS) and "mapping" not in kinds else ""


def _assigned(method: cst.FunctionDef, name: str) -> Iterator[cst.BaseExpression | None]:
    """Yield what is assigned to a name; None for an element of a tuple."""
    for statement in own_nodes(method.body):
        if isinstance(statement, cst.Assign):
            for target in statement.targets:
                if m.matches(target.target, m.Name(name)):
                    yield statement.value
                elif isinstance(target.target, cst.Tuple) and any(
                    m.matches(element.value, m.Name(name)) for element in target.target.elements
                ):
                    yield None
        elif isinstance(statement, cst.AnnAssign) and m.matches(statement.target, m.Name(name)):
            yield statement.value


def _sounds_like_loss(node: cst.BaseExpression) -> bool:
    text = cst.Module([]).code_for_node(node).lower()
    return any(word in text for word in LOSS)
