"""A Python file, parsed: what its names refer to, where they stand, what was changed in it."""

import ast
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

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
from polymodal.upgrade.changes import Change, Facts
from polymodal.upgrade.rules import Rule, rules

CONFLICT = re.compile(r"^(<<<<<<< |>>>>>>> )", re.MULTILINE)


def parse(text: str, path: Path) -> cst.Module:
    """Parses a file of Python, losing nothing of its text.

    Args:
        text: What stands in it.
        path: Where it lies, for messages.

    Returns:
        The tree.

    Raises:
        ConfigError: Where it holds the marks of a merge, or is no Python.
    """
    try:
        return cst.parse_module(text)
    except cst.ParserSyntaxError as error:
        raise _no_python(text, path, error) from None


def _no_python(text: str, path: Path, error: cst.ParserSyntaxError) -> ConfigError:
    mark = CONFLICT.search(text)
    if mark is not None:
        line = text.count("\n", 0, mark.start()) + 1
        return ConfigError(
            f"{path}, line {line}: the marks of a merge that was not finished",
            expected="Python that parses",
            hint="resolve the conflict, then upgrade",
        )
    place, words = error.raw_line, str(error.message).strip().splitlines()[0]
    try:
        ast.parse(text)
    except SyntaxError as found:
        place, words = found.lineno or place, found.msg
    return ConfigError(
        f"{path}, line {place}: {words}",
        expected="Python 3 that parses",
        hint="mend the file, then upgrade",
    )


class Source:
    """A parsed file and the changes made to it.

    Args:
        text: What stands in it.
        path: Where it lies.
        facts: What the files of its tree know of one another.
    """

    def __init__(self, text: str, path: Path, facts: Facts) -> None:
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
        """Returns the line on which a node of the old tree begins."""
        return int(self._positions[node].start.line)

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """Returns what a node of the old tree stands in."""
        found = self._parents.get(node)
        return found if isinstance(found, cst.CSTNode) else None

    def class_around(self, node: cst.CSTNode) -> cst.ClassDef | None:
        """Returns the class in which a node of the old tree stands."""
        found = self.parent(node)
        while found is not None and not isinstance(found, cst.ClassDef):
            found = self.parent(found)
        return found

    def scope(self, node: cst.CSTNode) -> Scope | None:
        """Returns the scope of a node of the old tree."""
        found = self._scopes.get(node)
        return found if isinstance(found, Scope) else None

    def code(self, node: cst.CSTNode) -> str:
        """Returns a node's text on one line."""
        return " ".join(self.module.code_for_node(node).split()).rstrip(", ")

    def note(
        self, rule: str, node: cst.CSTNode, found: str, written: str | None, note: str = ""
    ) -> None:
        """Keeps a change.

        Args:
            rule: Id of the rule.
            node: Node of the old tree.
            found: What stands there.
            written: What takes its place; None where it is left alone.
            note: What a person has to know.
        """
        change = Change(rule, self.line(node), found, written, note)
        if change not in self.changes:
            self.changes.append(change)

    def need(self, statement: str) -> None:
        """Asks for an import statement at the head of the file."""
        if statement not in self.new_imports:
            self.new_imports.append(statement)

    def qualified(self, node: cst.CSTNode) -> str:
        """Tells what an imported name or attribute refers to.

        Args:
            node: Name, attribute or call of the old tree.

        Returns:
            Dotted path; empty where it was not imported, or where two imports disagree.
        """
        scope = self.scope(node)
        if scope is None:
            return ""
        names = scope.get_qualified_names_for(node)
        dotted = {one.name for one in names if one.source is QualifiedNameSource.IMPORT}
        return dotted.pop() if len(dotted) == 1 and len(names) == 1 else ""

    def assigned(self, node: cst.Name) -> Sequence[Any]:
        """Returns the assignments that a local name may stand for."""
        scope = self.scope(node)
        return () if scope is None else tuple(scope[node.value])

    def assigned_calls(self, node: cst.Name) -> tuple[cst.Call, ...]:
        """Returns the calls whose result a local name may hold."""
        calls = []
        for one in self.assigned(node):
            if not isinstance(one, Assignment) or isinstance(one, ImportAssignment):
                continue
            parent = self.parent(one.node)
            statement = self.parent(parent) if isinstance(parent, cst.AssignTarget) else parent
            value = getattr(statement, "value", None)
            if isinstance(statement, cst.Assign | cst.AnnAssign) and isinstance(value, cst.Call):
                calls.append(value)
        return tuple(calls)


@cache
def rule_of(name: str) -> Rule:
    """Returns the first rule of an id."""
    return next(one for one in rules() if one.id == name)


def why(rule: Rule, note: str = "") -> str:
    """Says why a rule asks for a change, and since when."""
    since = f"gone since {rule.removed}" if rule.removed else f"old since {rule.deprecated}"
    reason = "" if rule.reason == "gone" else rule.reason
    return "; ".join(dict.fromkeys(one for one in (reason, since, note or rule.note) if one))


def dotted(node: cst.CSTNode) -> str:
    """Returns the text of a chain of names, such as `self.trainer`; empty for all else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr.value}" if head else ""
    return ""


def chain(text: str) -> cst.Name | cst.Attribute:
    """Makes a chain of names from its text."""
    node = cst.parse_expression(text)
    assert isinstance(node, cst.Name | cst.Attribute)
    return node


def literal(node: cst.CSTNode) -> object:
    """Returns the value of a literal; the node itself where it is none."""
    if isinstance(node, cst.SimpleString):
        return node.evaluated_value
    if isinstance(node, cst.Integer | cst.Float):
        return node.evaluated_value
    if isinstance(node, cst.Name) and node.value in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[node.value]
    return node


def argument(call: cst.Call, keyword: str) -> cst.Arg | None:
    """Returns an argument of a call by its keyword."""
    for one in call.args:
        if one.keyword is not None and one.keyword.value == keyword:
            return one
    return None


def words_between(args: Sequence[cst.Arg], old: Sequence[cst.Arg]) -> list[cst.Arg]:
    """Puts commas and line breaks between arguments as they stood between those of before.

    Args:
        args: The arguments to be.
        old: Those of before, in their order.

    Returns:
        The arguments; the last one ends as the last one did.
    """
    if not args or not old:
        return [one.with_changes(comma=cst.MaybeSentinel.DEFAULT) for one in args]
    between = _plain_comma(old[0].comma)
    made = [
        one
        if isinstance(one.comma, cst.Comma) and one is not old[-1]
        else one.with_changes(comma=between)
        for one in args[:-1]
    ]
    last = args[-1].with_changes(
        comma=old[-1].comma, whitespace_after_arg=old[-1].whitespace_after_arg
    )
    return [*made, last]


def _plain_comma(comma: cst.Comma | cst.MaybeSentinel) -> cst.Comma:
    """Returns a comma that breaks the line as another one does, without its comments."""
    if not isinstance(comma, cst.Comma):
        return cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    space = comma.whitespace_after
    if isinstance(space, cst.ParenthesizedWhitespace):
        first = space.first_line.with_changes(comment=None, whitespace=cst.SimpleWhitespace(""))
        space = space.with_changes(first_line=first, empty_lines=())
    return cst.Comma(whitespace_after=space)
