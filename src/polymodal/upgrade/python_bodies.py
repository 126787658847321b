"""Writes statements into functions: at their head, before they return, after `super().__init__`."""

from collections.abc import Callable, Iterable, Sequence

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.python_classes import is_call_of_self, methods

Line = cst.SimpleStatementLine
SUPER = m.Expr(
    value=m.Call(
        func=m.Attribute(
            value=m.Call(func=m.Name("super")) | m.Name() | m.Attribute(), attr=m.Name("__init__")
        )
    )
)


def statements(*texts: str) -> list[Line]:
    """Makes lines of code from their text."""
    lines = [cst.parse_statement(one) for one in texts]
    return [one for one in lines if isinstance(one, Line)]


def with_method(node: cst.ClassDef, name: str, method: cst.FunctionDef) -> cst.ClassDef:
    """Returns a class with another method in the place of one."""
    body = [
        method if isinstance(one, cst.FunctionDef) and one.name.value == name else one
        for one in node.body.body
    ]
    return node.with_changes(body=node.body.with_changes(body=body))


def after_method(node: cst.ClassDef, name: str, *new: cst.BaseStatement) -> cst.ClassDef:
    """Returns a class with more statements after one of its methods."""
    return _around_method(node, name, (), new)


def before_method(node: cst.ClassDef, name: str, method: cst.FunctionDef) -> cst.ClassDef:
    """Returns a class with one more method before another one."""
    following = next(one for one in methods(node).values() if one.name.value == name)
    blank = [cst.EmptyLine(indent=False)]
    is_first = not following.leading_lines
    method = method.with_changes(leading_lines=() if is_first else blank)
    if is_first:
        node = with_method(node, name, following.with_changes(leading_lines=blank))
    return _around_method(node, name, (method,), ())


def _around_method(
    node: cst.ClassDef,
    name: str,
    before: Iterable[cst.BaseStatement],
    after: Iterable[cst.BaseStatement],
) -> cst.ClassDef:
    body: list[cst.BaseStatement | cst.BaseSmallStatement] = []
    for one in node.body.body:
        is_place = isinstance(one, cst.FunctionDef) and one.name.value == name
        body += [*before, one, *after] if is_place else [one]
    return node.with_changes(body=node.body.with_changes(body=body))


def at_head(method: cst.FunctionDef, *texts: str) -> cst.FunctionDef:
    """Returns a method with more lines at its head, after its docstring."""
    assert isinstance(method.body, cst.IndentedBlock)
    body = method.body.body
    place = 1 if method.get_docstring() is not None else 0
    lines = [*body[:place], *map(cst.parse_statement, texts), *body[place:]]
    return method.with_changes(body=method.body.with_changes(body=lines))


def at_end(method: cst.FunctionDef, text: str) -> cst.FunctionDef:
    """Returns a method with one more line at its end."""
    assert isinstance(method.body, cst.IndentedBlock)
    lines = [*method.body.body, *statements(text)]
    return method.with_changes(body=method.body.with_changes(body=lines))


def with_attribute(node: cst.ClassDef, attribute: str, value: str) -> cst.ClassDef | None:
    """Returns a class that sets an attribute in `__init__`.

    Args:
        node: The class.
        attribute: Name of the attribute.
        value: What it is set to.

    Returns:
        The class; None where its `__init__` does not call that of its base in a line of its own.
    """
    line = f"self.{attribute} = {value}"
    for one in node.body.body:
        if isinstance(one, cst.FunctionDef) and one.name.value == "__init__":
            made = _after_super(one, line)
            return None if made is None else with_method(node, "__init__", made)
    if not isinstance(node.body, cst.IndentedBlock):
        return None
    text = (
        f"def __init__(self, *args, **kwargs):\n    super().__init__(*args, **kwargs)\n    {line}\n"
    )
    init = cst.parse_statement(text)
    assert isinstance(init, cst.FunctionDef)
    return before_method(node, next(iter(methods(node))), init)


def _after_super(init: cst.FunctionDef, line: str) -> cst.FunctionDef | None:
    if not isinstance(init.body, cst.IndentedBlock):
        return None
    body = list(init.body.body)
    for place, one in enumerate(body):
        if isinstance(one, Line) and m.matches(one.body[0], SUPER):
            body[place + 1 : place + 1] = statements(line)
            return init.with_changes(body=init.body.with_changes(body=body))
    return None


class _Returns(cst.CSTTransformer):
    """Gives the lines that return a value to a function, which writes others in their place."""

    def __init__(self, write: Callable[[cst.BaseExpression], Sequence[str]]) -> None:
        super().__init__()
        self._write = write

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        """Keeps out of functions inside the function."""
        return False

    def visit_Lambda(self, node: cst.Lambda) -> bool:
        """Keeps out of lambdas."""
        return False

    def leave_SimpleStatementLine(
        self, original_node: Line, updated_node: Line
    ) -> cst.BaseStatement | cst.FlattenSentinel[cst.BaseStatement]:
        """Rewrites a line that returns a value."""
        *before, last = updated_node.body
        if not isinstance(last, cst.Return) or last.value is None:
            return updated_node
        if isinstance(last.value, cst.Name) and last.value.value == "None":
            return updated_node
        texts = self._write(last.value)
        if not texts:
            return updated_node
        new = statements(*texts)
        if before:
            kept = before[-1].with_changes(semicolon=cst.MaybeSentinel.DEFAULT)
            new = [Line([*before[:-1], kept]), *new]
        new[0] = new[0].with_changes(leading_lines=updated_node.leading_lines)
        new[-1] = new[-1].with_changes(trailing_whitespace=updated_node.trailing_whitespace)
        return cst.FlattenSentinel(new)


def at_returns(
    method: cst.FunctionDef, write: Callable[[cst.BaseExpression], Sequence[str]]
) -> cst.FunctionDef:
    """Returns a method whose lines that return a value are written anew.

    Args:
        method: The method.
        write: Gets the value, gives the lines; none to leave it as it is.
    """
    body = method.body.visit(_Returns(write))
    assert isinstance(body, cst.BaseSuite)
    return method.with_changes(body=body)


def is_in_lines(method: cst.FunctionDef, found: Iterable[cst.Return]) -> bool:
    """Tells whether all of some return statements stand in lines of their own block."""
    inside = {
        id(one)
        for line in m.findall(method.body, m.SimpleStatementLine())
        if isinstance(line, Line)
        for one in line.body
    }
    return all(id(one) in inside for one in found)


class _Calls(cst.CSTTransformer):
    """Gives calls `self.old()` another name."""

    def __init__(self, old: str, new: str) -> None:
        super().__init__()
        self._old, self._new = old, new

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        """Renames the method called."""
        if not is_call_of_self(updated_node, self._old):
            return updated_node
        func = updated_node.func
        assert isinstance(func, cst.Attribute)
        return updated_node.with_changes(func=func.with_changes(attr=cst.Name(self._new)))


def rename_calls(node: cst.ClassDef, old: str, new: str) -> cst.ClassDef:
    """Returns a class that calls one of its methods by another name."""
    made = node.visit(_Calls(old, new))
    assert isinstance(made, cst.ClassDef)
    return made
