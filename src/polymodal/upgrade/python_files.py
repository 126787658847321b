"""Upgrades a file of Python: names, calls, hooks, scores; all else stays byte for byte."""

import ast
from pathlib import Path

import libcst as cst
from libcst.codemod import CodemodContext
from libcst.codemod.visitors import AddImportsVisitor

from polymodal.upgrade.changes import Facts, Rewrite
from polymodal.upgrade.python_calls import rewrite_call
from polymodal.upgrade.python_classes import lightning_classes, outlines
from polymodal.upgrade.python_hooks import rewrite_class
from polymodal.upgrade.python_hydra import gather_hydra, rewrite_entry
from polymodal.upgrade.python_imports import (
    LIBRARIES,
    rewrite_line,
    rewrite_reference,
)
from polymodal.upgrade.python_layout import break_long_lines, width_of
from polymodal.upgrade.python_metrics import follow_score, gather_scores
from polymodal.upgrade.python_source import Source, parse
from polymodal.upgrade.python_trainer import (
    rewrite_assignment,
    rewrite_attribute,
    rewrite_method_call,
    tell_of_checkpoints,
)

PACKAGES = ("pytorch_lightning", "lightning")


def gather_python(text: str, facts: Facts, path: Path = Path("file.py")) -> None:
    """Reads what other files have to know of a file.

    Args:
        text: What stands in it.
        facts: What is known so far; gets more.
        path: Where it lies, for messages.

    Raises:
        ConfigError: It is no Python.
    """
    parse(text, path)
    tree = ast.parse(text)
    facts.classes.update(outlines(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else ([one.name for one in node.names])
            )
            facts.lightning |= {one.partition(".")[0] for one in names} & set(PACKAGES)
    if "metrics" in text or "hydra" in text:
        source = Source(text, path, facts)
        gather_scores(source)
        gather_hydra(source)


def rewrite_python(text: str, path: Path, facts: Facts) -> Rewrite:
    """Rewrites a file of Python for the installed releases.

    Args:
        text: What stands in it.
        path: Where it lies.
        facts: What the files of its tree know of one another, gathered from all of them.

    Returns:
        The file; the same text where nothing is to be changed.

    Raises:
        ConfigError: It is no Python.
    """
    words = {*LIBRARIES, *lightning_classes(facts), *facts.renamed_scores}
    if not any(word in text for word in words):
        parse(text, path)
        return Rewrite(text)
    source = Source(text, path, facts)
    module = source.module.visit(_Upgrade(source))
    assert isinstance(module, cst.Module)
    if source.new_imports:
        module = _with_imports(module, source.new_imports)
    if not all(one.is_undecided for one in source.changes):
        tell_of_checkpoints(source)
    new = module.code
    if new != text:
        new = break_long_lines(text, new, width_of(path))
    return Rewrite(new, tuple(sorted(source.changes, key=lambda one: one.line)))


def _with_imports(module: cst.Module, wanted: list[str]) -> cst.Module:
    context = CodemodContext()
    for one in wanted:
        match one.split():
            case ["import", name]:
                AddImportsVisitor.add_needed_import(context, name)
            case ["from", name, "import", what]:
                AddImportsVisitor.add_needed_import(context, name, what)
    return AddImportsVisitor(context).transform_module(module)


class _Upgrade(cst.CSTTransformer):
    """Walks through a file once, and has each part of it rewritten by who knows it.

    Args:
        source: The file.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.BaseStatement | cst.FlattenSentinel[cst.BaseStatement] | cst.RemovalSentinel:
        """Rewrites imports."""
        return rewrite_line(self._source, original_node, updated_node)

    def visit_Import(self, node: cst.Import) -> bool:
        """Keeps the names of imports as they are: their line is rewritten as a whole."""
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        """Keeps the names of imports as they are: their line is rewritten as a whole."""
        return False

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        """Rewrites a reference to what was imported."""
        parent = self._source.parent(original_node)
        if isinstance(parent, cst.Attribute | cst.Param | cst.AssignTarget) or (
            isinstance(parent, cst.Arg) and parent.keyword is original_node
        ):
            return updated_node
        if isinstance(parent, cst.FunctionDef | cst.ClassDef | cst.AsName | cst.NameItem):
            return updated_node
        return rewrite_reference(self._source, original_node, updated_node)

    def leave_Attribute(
        self, original_node: cst.Attribute, updated_node: cst.Attribute
    ) -> cst.BaseExpression:
        """Rewrites a chain of names, or what is asked of a Trainer or of `self`."""
        if not isinstance(self._source.parent(original_node), cst.Attribute):
            made = rewrite_reference(self._source, original_node, updated_node)
            if made is not updated_node:
                return made
        return rewrite_attribute(self._source, original_node, updated_node)

    def leave_Assign(
        self, original_node: cst.Assign, updated_node: cst.Assign
    ) -> cst.BaseSmallStatement:
        """Rewrites an assignment that Lightning refuses."""
        return rewrite_assignment(self._source, original_node, updated_node)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        """Rewrites the arguments of a call."""
        made = rewrite_entry(self._source, original_node, updated_node)
        if made is updated_node:
            made = rewrite_call(self._source, original_node, updated_node)
        if made is not updated_node:
            return made
        return rewrite_method_call(self._source, original_node, updated_node)

    def leave_SimpleString(
        self, original_node: cst.SimpleString, updated_node: cst.SimpleString
    ) -> cst.BaseExpression:
        """Follows the new name of a score."""
        return follow_score(self._source, original_node, updated_node)

    def leave_ClassDef(
        self, original_node: cst.ClassDef, updated_node: cst.ClassDef
    ) -> cst.BaseStatement:
        """Rewrites the hooks of a class."""
        return rewrite_class(self._source, original_node, updated_node)
