"""Insert statements into functions and classes."""

from collections.abc import Callable, Iterable, Sequence

import libcst as cst
import libcst.matchers as m

from polymodal.upgrade.python_classes import call_of_self, methods
from polymodal.upgrade.python_source import dotted

Line = cst.SimpleStatementLine
OWNER = m.Call(func=m.Name("super")) | m.Name() | m.Attribute()
SUPER = m.Expr(value=m.Call(func=m.Attribute(value=OWNER, attr=m.Name("__init__"))))


def statements(*texts: str) -> list[Line]:
    """Parse lines of code."""
    lines = [cst.parse_statement(text) for text in texts]
    return [line for line in lines if isinstance(line, Line)]


def with_method(node: cst.ClassDef, name: str, *new: cst.BaseStatement) -> cst.ClassDef:
    """Replace a method of a class by statements."""
    body: list[cst.BaseStatement | cst.BaseSmallStatement] = []
    for statement in node.body.body:
        is_method = isinstance(statement, cst.FunctionDef) and statement.name.value == name
        body += new if is_method else [statement]
    return node.with_changes(body=node.body.with_changes(body=body))


def after_method(node: cst.ClassDef, name: str, *new: cst.BaseStatement) -> cst.ClassDef:
    """Insert statements after a method of a class."""
    return with_method(node, name, methods(node)[name], *new)


def before_method(node: cst.ClassDef, name: str, method: cst.FunctionDef) -> cst.ClassDef:
    """Insert a method before another one."""
    following, blank = methods(node)[name], [cst.EmptyLine(indent=False)]
    if not following.leading_lines:
        following, blank = following.with_changes(leading_lines=blank), []
    return with_method(node, name, method.with_changes(leading_lines=blank), following)


def at_head(method: cst.FunctionDef, *texts: str) -> cst.FunctionDef:
    """Insert lines at the start of a method, after its docstring."""
    assert isinstance(method.body, cst.IndentedBlock)
    body = method.body.body
    index = 1 if method.get_docstring() is not None else 0
    lines = [*body[:index], *map(cst.parse_statement, texts), *body[index:]]
    return method.with_changes(body=method.body.with_changes(body=lines))


def at_end(method: cst.FunctionDef, text: str) -> cst.FunctionDef:
    """Append a line to a method."""
    assert isinstance(method.body, cst.IndentedBlock)
    lines = [*method.body.body, *statements(text)]
    return method.with_changes(body=method.body.with_changes(body=lines))


def with_attribute(node: cst.ClassDef, attribute: str, value: str) -> cst.ClassDef | None:
    """Set an attribute in `__init__` of a class.

    Returns None if `__init__` does not call that of its base in a line of its own.
    """
    line = f"self.{attribute} = {value}"
    if (init := methods(node).get("__init__")) is not None:
        new_init = _after_super(init, line)
        return None if new_init is None else with_method(node, "__init__", new_init)
    if not isinstance(node.body, cst.IndentedBlock):
        return None
    head = "def __init__(self, *args, **kwargs):\n    super().__init__(*args, **kwargs)\n"
    added = cst.parse_statement(f"{head}    {line}\n")
    assert isinstance(added, cst.FunctionDef)
    return before_method(node, next(iter(methods(node))), added)


def _after_super(init: cst.FunctionDef, line: str) -> cst.FunctionDef | None:
    if not isinstance(init.body, cst.IndentedBlock):
        return None
    body = list(init.body.body)
    for index, statement in enumerate(body):
        if isinstance(statement, Line) and m.matches(statement.body[0], SUPER):
            body[index + 1 : index + 1] = statements(line)
            return init.with_changes(body=init.body.with_changes(body=body))
    return None


class _Returns(cst.CSTTransformer):
    def __init__(self, write: Callable[[cst.BaseExpression], Sequence[str]]) -> None:
        super().__init__()
        self._write = write

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        return False

    def visit_Lambda(self, node: cst.Lambda) -> bool:
        return False

    def leave_SimpleStatementLine(
        self, original_node: Line, updated_node: Line
    ) -> cst.BaseStatement | cst.FlattenSentinel[cst.BaseStatement]:
        *before, last = updated_node.body
        if not isinstance(last, cst.Return) or last.value is None or dotted(last.value) == "None":
            return updated_node
        new = statements(*self._write(last.value))
        if not new:
            return updated_node
        if before:
            last_before = before[-1].with_changes(semicolon=cst.MaybeSentinel.DEFAULT)
            new = [Line([*before[:-1], last_before]), *new]
        new[0] = new[0].with_changes(leading_lines=updated_node.leading_lines)
        new[-1] = new[-1].with_changes(trailing_whitespace=updated_node.trailing_whitespace)
        return cst.FlattenSentinel(new)


def at_returns(
    method: cst.FunctionDef, write: Callable[[cst.BaseExpression], Sequence[str]]
) -> cst.FunctionDef:
    """Replace the lines that return a value by what `write` makes of it, if anything."""
    body = method.body.visit(_Returns(write))
    assert isinstance(body, cst.BaseSuite)
    return method.with_changes(body=body)


def is_in_lines(method: cst.FunctionDef, return_nodes: Iterable[cst.Return]) -> bool:
    """Return whether return statements are in lines of their own block."""
    lines = m.findall(method.body, m.SimpleStatementLine())
    inside = {id(child) for line in lines for child in line.children}
    return all(id(node) in inside for node in return_nodes)


def rename_calls(node: cst.ClassDef, old: str, new: str) -> cst.ClassDef:
    """Rename calls of a method within its class."""

    def renamed(call: cst.CSTNode, _: object) -> cst.CSTNode:
        assert isinstance(call, cst.Call)
        return call.with_deep_changes(call.func, attr=cst.Name(new))

    cls = m.replace(node, call_of_self(old), renamed)
    assert isinstance(cls, cst.ClassDef)
    return cls
