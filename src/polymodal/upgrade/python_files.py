"""Upgrade a Python file: names, calls, hooks and scores; the rest stays byte for byte."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        facts.lightning |= {module.partition(".")[0] for module in modules} & set(PACKAGES)
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
    """Apply the function of each kind of node, inner nodes first."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def on_visit(self, node: cst.CSTNode) -> bool:
        return not isinstance(node, cst.Import | cst.ImportFrom)  # rewritten as whole lines

    def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
        rewrite = REWRITES.get(type(original_node))
        return rewrite(self._source, original_node, updated_node) if rewrite else updated_node


def _rewrite_name(source: Source, old: cst.Name, new: cst.Name) -> cst.BaseExpression:
    parent = source.parent(old)
    is_keyword = isinstance(parent, cst.Arg) and parent.keyword is old
    return (
        new if is_keyword or isinstance(parent, DEFINING) else rewrite_reference(source, old, new)
    )


def _rewrite_chain(source: Source, old: cst.Attribute, new: cst.Attribute) -> cst.BaseExpression:
    updated: cst.BaseExpression = new
    if not isinstance(source.parent(old), cst.Attribute):
        updated = rewrite_reference(source, old, new)
    return rewrite_attribute(source, old, new) if updated is new else updated


def _rewrite_any_call(source: Source, old: cst.Call, new: cst.Call) -> cst.BaseExpression:
    for rewrite in (rewrite_entry, rewrite_call):
        if (updated := rewrite(source, old, new)) is not new:
            return updated
    return rewrite_method_call(source, old, new)


# Parents of names that do not read a name.
DEFINING = (
    *(cst.Attribute, cst.Param, cst.AssignTarget, cst.FunctionDef, cst.ClassDef),
    *(cst.AsName, cst.NameItem),
)
REWRITES: dict[type[cst.CSTNode], Callable[[Source, Any, Any], Any]] = {
    cst.SimpleStatementLine: rewrite_line,
    cst.Name: _rewrite_name,
    cst.Attribute: _rewrite_chain,
    cst.Assign: rewrite_assignment,
    cst.Call: _rewrite_any_call,
    cst.SimpleString: rename_score,
    cst.ClassDef: rewrite_class,
}
