"""A parsed Python file: what its names refer to, where they are, and its changes."""

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import libcst as cst
from libcst.metadata import (
    Assignment,
    ImportAssignment,
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    QualifiedNameSource,
    Scope,
    ScopeProvider,
)

from polymodal.errors import ConfigError
from polymodal.upgrade.changes import Change, ProjectFacts
from polymodal.upgrade.rules import Rule

NodeT = TypeVar("NodeT", bound=cst.CSTNode)
EQUAL = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
CONFLICT = re.compile(r"^(<<<<<<< |>>>>>>> )", re.MULTILINE)


def parse(text: str, path: Path) -> cst.Module:
    """Parse a Python file with all of its formatting.

    Raises:
        ConfigError: It holds conflict markers, or is not valid Python.
    """
    try:
        ast.parse(text)
        return cst.parse_module(text)
    except (SyntaxError, cst.ParserSyntaxError) as error:
        mark = CONFLICT.search(text)
        if mark is not None:
            line, reason = text.count("\n", 0, mark.start()) + 1, "an unfinished merge"
        elif isinstance(error, SyntaxError):
            line, reason = error.lineno or 1, error.msg
        else:
            line, reason = error.raw_line, str(error.message).strip().splitlines()[0]
        hint = f"{'resolve the conflict' if mark else 'fix the file'}, then upgrade"
        message = f"{path}, line {line}: {reason}"
        raise ConfigError(message, expected="Python 3 that parses", hint=hint) from None


class Source:
    """A parsed file and the changes made to it; nodes are those of the old tree."""

    def __init__(self, text: str, path: Path, facts: ProjectFacts) -> None:
        self.text, self.path, self.facts = text, path, facts
        wrapper = MetadataWrapper(parse(text, path), unsafe_skip_copy=True)
        self.module = wrapper.module
        wrapper.resolve_many((PositionProvider, ParentNodeProvider, ScopeProvider))  # in one walk
        self._positions: Mapping[cst.CSTNode, Any] = wrapper.resolve(PositionProvider)
        self._parents: Mapping[cst.CSTNode, Any] = wrapper.resolve(ParentNodeProvider)
        self._scopes = wrapper.resolve(ScopeProvider)
        self.changes: list[Change] = []
        self.new_imports: list[str] = []

    def line(self, node: cst.CSTNode) -> int:
        """Return the line of a node, from 1."""
        return int(self._positions[node].start.line)

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """Return the parent of a node."""
        parent = self._parents.get(node)
        return parent if isinstance(parent, cst.CSTNode) else None

    def ancestor(self, node: cst.CSTNode, kind: type[NodeT]) -> NodeT | None:
        """Return the nearest node of a kind that contains a node."""
        parent = self.parent(node)
        while parent is not None and not isinstance(parent, kind):
            parent = self.parent(parent)
        return parent

    def scope(self, node: cst.CSTNode) -> Scope | None:
        """Return the scope of a node."""
        scope = self._scopes.get(node)
        return scope if isinstance(scope, Scope) else None

    def code(self, node: cst.CSTNode) -> str:
        """Return a node's text on one line."""
        return " ".join(self.module.code_for_node(node).split()).rstrip(", ")

    def note(
        self, rule: str, node: cst.CSTNode, before: str, after: str | None, note: str = ""
    ) -> None:
        """Add a change; `after` is None if a person has to decide."""
        change = Change(rule, self.line(node), before, after, note)
        if change not in self.changes:
            self.changes.append(change)

    def note_rule(
        self, rule: Rule, node: cst.CSTNode, before: str, after: str | None, note: str = ""
    ) -> None:
        """Add a change with the reason of its rule, and a note or else that of the rule."""
        self.note(rule.id, node, before, after, reason_for(rule, note))

    def need(self, statement: str) -> None:
        """Ask for an import statement."""
        if statement not in self.new_imports:
            self.new_imports.append(statement)

    def qualified(self, node: cst.CSTNode) -> str:
        """Return the dotted path of an imported name; empty if it is not imported or ambiguous."""
        scope = self.scope(node)
        if scope is None:
            return ""
        names = scope.get_qualified_names_for(node)
        dotted = {item.name for item in names if item.source is QualifiedNameSource.IMPORT}
        return dotted.pop() if len(dotted) == 1 and len(names) == 1 else ""

    def assigned(self, node: cst.Name) -> Sequence[Any]:
        """Return the assignments that a local name may refer to."""
        scope = self.scope(node)
        return () if scope is None else tuple(scope[node.value])

    def assigned_calls(self, node: cst.Name) -> tuple[cst.Call, ...]:
        """Return the calls whose result a local name may hold."""
        calls = []
        for assignment in self.assigned(node):
            if not isinstance(assignment, Assignment) or isinstance(assignment, ImportAssignment):
                continue
            parent = self.parent(assignment.node)
            statement = self.parent(parent) if isinstance(parent, cst.AssignTarget) else parent
            value = getattr(statement, "value", None)
            if isinstance(statement, cst.Assign | cst.AnnAssign) and isinstance(value, cst.Call):
                calls.append(value)
        return tuple(calls)


def reason_for(rule: Rule, note: str = "") -> str:
    """Return why a rule asks for a change, and since when."""
    reasons = ("" if rule.reason == "gone" else rule.reason, rule.since, note or rule.note)
    return "; ".join(dict.fromkeys(text for text in reasons if text))


def dotted(node: cst.CSTNode) -> str:
    """Return the text of a chain of names, such as `self.trainer`; empty for other nodes."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr.value}" if head else ""
    return ""


def chain(text: str) -> cst.Name | cst.Attribute:
    """Parse a chain of names."""
    node = cst.parse_expression(text)
    assert isinstance(node, cst.Name | cst.Attribute)
    return node


def literal(node: cst.CSTNode) -> object:
    """Return the value of a literal, or the node itself."""
    if isinstance(node, cst.SimpleString):
        return node.evaluated_value
    if isinstance(node, cst.Integer | cst.Float):
        return node.evaluated_value
    if isinstance(node, cst.Name) and node.value in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[node.value]
    return node


def keyword_of(arg: cst.Arg) -> str:
    """Return the keyword of an argument; empty for a positional one."""
    return arg.keyword.value if arg.keyword is not None else ""


def argument(call: cst.Call, keyword: str) -> cst.Arg | None:
    """Return an argument of a call by its keyword."""
    return next((arg for arg in call.args if keyword_of(arg) == keyword), None)


def keyword_arg(name: str, value: cst.BaseExpression) -> cst.Arg:
    """Return `name=value` as an argument."""
    return cst.Arg(value, keyword=cst.Name(name), equal=EQUAL)


def lay_out_args(args: Sequence[cst.Arg], old: Sequence[cst.Arg]) -> list[cst.Arg]:
    """Separate arguments by commas and line breaks like those of the old call."""
    if not args or not old:
        return [arg.with_changes(comma=cst.MaybeSentinel.DEFAULT) for arg in args]
    between = _plain_comma(old[0].comma)
    laid_out = [
        arg
        if isinstance(arg.comma, cst.Comma) and arg is not old[-1]
        else arg.with_changes(comma=between)
        for arg in args[:-1]
    ]
    space = old[-1].whitespace_after_arg
    last = args[-1].with_changes(comma=old[-1].comma, whitespace_after_arg=space)
    return [*laid_out, last]


def _plain_comma(comma: cst.Comma | cst.MaybeSentinel) -> cst.Comma:
    """Return a comma that breaks the line as another one does, without its comments."""
    if not isinstance(comma, cst.Comma):
        return cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    space = comma.whitespace_after
    if isinstance(space, cst.ParenthesizedWhitespace):
        first = space.first_line.with_changes(comment=None, whitespace=cst.SimpleWhitespace(""))
        space = space.with_changes(first_line=first, empty_lines=())
    return cst.Comma(whitespace_after=space)
