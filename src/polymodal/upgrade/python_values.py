"""What a training step returns: a loss, or a mapping with one; told from the code alone."""

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
    """Tells what an expression of a step is.

    Args:
        node: The class.
        method: The method in which the expression stands.
        value: The expression.
        depth: How many methods of the class may be followed.

    Returns:
        `loss`, `mapping`, or empty where the code does not tell.
    """
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
    own = methods(node)
    if m.matches(func, m.Attribute(value=m.Name("self"))):
        assert isinstance(func, cst.Attribute)
        method = own.get(func.attr.value)
        if method is not None and depth:
            values = [one.value for one in returns(method) if one.value is not None]
            kinds = {step_output(node, method, one, depth - 1) for one in values}
            return kinds.pop() if len(kinds) == 1 else ""
        return "loss" if _sounds_like_loss(func) else ""
    return "loss" if _is_of_torch(func) or _sounds_like_loss(func) else ""


def _named(node: cst.ClassDef, method: cst.FunctionDef, name: str, depth: int) -> Output:
    """Tells what a local name is, from what is assigned to it and how it is used."""
    keyed = m.Subscript(
        value=m.Name(name), slice=[m.SubscriptElement(slice=m.Index(value=m.SimpleString()))]
    )
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
    """Walks through what is assigned to a name; None for a part of a tuple."""
    for one in own_nodes(method.body):
        if isinstance(one, cst.Assign):
            for target in one.targets:
                if m.matches(target.target, m.Name(name)):
                    yield one.value
                elif isinstance(target.target, cst.Tuple) and any(
                    m.matches(part.value, m.Name(name)) for part in target.target.elements
                ):
                    yield None
        elif isinstance(one, cst.AnnAssign) and m.matches(one.target, m.Name(name)):
            yield one.value


def _sounds_like_loss(node: cst.BaseExpression) -> bool:
    text = cst.Module([]).code_for_node(node).lower()
    return any(word in text for word in LOSS)


def _is_of_torch(func: cst.BaseExpression) -> bool:
    text = cst.Module([]).code_for_node(func)
    return text.split(".")[0] in ("F", "torch", "nn")
