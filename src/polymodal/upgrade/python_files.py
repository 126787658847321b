"""Upgrade a Python file: names, calls, hooks and scores; the rest stays byte for byte."""

import ast
from pathlib import Path

import libcst as cst
from libcst.codemod import CodemodContext
from libcst.codemod.visitors import AddImportsVisitor

from polymodal.upgrade.changes import ProjectFacts, Rewrite
from polymodal.upgrade.python_calls import rewrite_call
from polymodal.upgrade.python_classes import lightning_classes, outlines
from polymodal.upgrade.python_hooks import rewrite_class
from polymodal.upgrade.python_hydra import gather_hydra, rewrite_entry
from polymodal.upgrade.python_imports import LIBRARIES, rewrite_line, rewrite_reference
from polymodal.upgrade.python_layout import break_long_lines, width_of
from polymodal.upgrade.python_metrics import gather_scores, rename_score
from polymodal.upgrade.python_source import Source, parse
from polymodal.upgrade.python_trainer import (
    note_checkpoints,
    rewrite_assignment,
    rewrite_attribute,
    rewrite_method_call,
)

PACKAGES = ("pytorch_lightning", "lightning")


def gather_python(text: str, facts: ProjectFacts, path: Path = Path("file.py")) -> None:
    """Add what other files need to know of a file to the facts of its project.

    Raises:
        ConfigError: The file is not valid Python.
    """
    parse(text, path)
    tree = ast.parse(text)
    facts.classes.update(outlines(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else ([alias.name for alias in node.names])
            )
            facts.lightning |= {module.partition(".")[0] for module in names} & set(PACKAGES)
    if "metrics" in text or "hydra" in text:
        source = Source(text, path, facts)
        gather_scores(source)
        gather_hydra(source)


def rewrite_python(text: str, path: Path, facts: ProjectFacts) -> Rewrite:
    """Rewrite a Python file for the installed releases.

    Raises:
        ConfigError: The file is not valid Python.
    """
    triggers = {*LIBRARIES, *lightning_classes(facts), *facts.renamed_scores}
    if not any(word in text for word in triggers):
        parse(text, path)
        return Rewrite(text)
    source = Source(text, path, facts)
    module = source.module.visit(_Upgrade(source))
    assert isinstance(module, cst.Module)
    if source.new_imports:
        context = CodemodContext()
        for statement in source.new_imports:
            match statement.split():
                case ["import", name]:
                    AddImportsVisitor.add_needed_import(context, name)
                case ["from", name, "import", what]:
                    AddImportsVisitor.add_needed_import(context, name, what)
        module = AddImportsVisitor(context).transform_module(module)
    if not all(change.is_undecided for change in source.changes):
        note_checkpoints(source)
    new = module.code
    if new != text:
        new = break_long_lines(text, new, width_of(path))
    return Rewrite(new, tuple(sorted(source.changes, key=lambda change: change.line)))


class _Upgrade(cst.CSTTransformer):
    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.BaseStatement | cst.FlattenSentinel[cst.BaseStatement] | cst.RemovalSentinel:
        return rewrite_line(self._source, original_node, updated_node)

    def visit_Import(self, node: cst.Import) -> bool:
        """Skip names: `rewrite_line` handles the import as a whole."""
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        return False

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
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
        if not isinstance(self._source.parent(original_node), cst.Attribute):
            updated = rewrite_reference(self._source, original_node, updated_node)
            if updated is not updated_node:
                return updated
        return rewrite_attribute(self._source, original_node, updated_node)

    def leave_Assign(
        self, original_node: cst.Assign, updated_node: cst.Assign
    ) -> cst.BaseSmallStatement:
        return rewrite_assignment(self._source, original_node, updated_node)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        updated = rewrite_entry(self._source, original_node, updated_node)
        if updated is updated_node:
            updated = rewrite_call(self._source, original_node, updated_node)
        if updated is not updated_node:
            return updated
        return rewrite_method_call(self._source, original_node, updated_node)

    def leave_SimpleString(
        self, original_node: cst.SimpleString, updated_node: cst.SimpleString
    ) -> cst.BaseExpression:
        return rename_score(self._source, original_node, updated_node)

    def leave_ClassDef(
        self, original_node: cst.ClassDef, updated_node: cst.ClassDef
    ) -> cst.BaseStatement:
        return rewrite_class(self._source, original_node, updated_node)
