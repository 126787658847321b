"""Imports of names that have moved, and references to them."""

from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import ImportAssignment

from polymodal.upgrade.names import PACKAGE_RULE, canonical, follow, keeps_unified, localised
from polymodal.upgrade.python_source import Source, chain, dotted, reason_for
from polymodal.upgrade.rules import Rule, rule_by_id

# Hooks no longer get it; elsewhere, its annotation becomes a list.
OUTPUTS = "pytorch_lightning.utilities.types.EPOCH_OUTPUT"
LIBRARIES = (
    *("pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics"),
    *("transformers", "hydra", "omegaconf"),
)


@dataclass(frozen=True)
class Binding:
    """A name of an import statement before and after the upgrade."""

    local: str  # name in the file
    old: str  # dotted path that it refers to
    new_local: str  # name in the file afterwards
    new: str  # dotted path afterwards
    rule: Rule | None  # the rule that applies, if any
    is_gone: bool  # whether nothing replaces it


def current_path(source: Source, name: str) -> tuple[str, Rule | None]:
    """Return where a name is in the installed releases, and the rule that applies.

    The path is unchanged if it has not moved and empty if it was removed; the rule is None if only
    the package differs.
    """
    if name.partition(".")[0] not in LIBRARIES:
        return name, None
    plain = canonical(name)
    move = follow(plain, source.text)
    if move is not None and move.name is None:
        return "", move.rule
    unified = keeps_unified(source.facts.lightning)
    if move is None and (unified or plain == name):
        return name, None
    new = plain if move is None else move.name or ""
    return localised(new, unified=unified), move.rule if move is not None else None


def rewrite_line(
    source: Source, old: cst.SimpleStatementLine, new: cst.SimpleStatementLine
) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.SimpleStatementLine] | cst.RemovalSentinel:
    """Rewrite a line that is one import statement, into several if its names have moved apart."""
    statement = old.body[0]
    if len(old.body) != 1:
        return new
    if isinstance(statement, cst.Import):
        return new.with_changes(body=[_plain(source, statement)])
    if not isinstance(statement, cst.ImportFrom) or statement.relative:
        return new
    lines = _from(source, statement)
    if lines is None:
        return new
    if not lines:
        return cst.RemoveFromParent()
    first = new.with_changes(body=[lines[0]])
    rest = [cst.SimpleStatementLine([line]) for line in lines[1:]]
    return cst.FlattenSentinel([first, *rest]) if rest else first


def _plain(source: Source, statement: cst.Import) -> cst.Import:
    aliases = []
    for alias in statement.names:
        old = dotted(alias.name)
        new, rule = current_path(source, old)
        if new not in (old, ""):
            _note(source, statement, rule, f"import {old}", f"import {new}")
            alias = alias.with_changes(name=chain(new))
        aliases.append(alias)
    return statement.with_changes(names=aliases)


def _from(source: Source, statement: cst.ImportFrom) -> Sequence[cst.BaseSmallStatement] | None:
    module = dotted(statement.module) if statement.module is not None else ""
    if isinstance(statement.names, cst.ImportStar):
        new, _ = current_path(source, module)
        if new in (module, ""):
            return None
        note = reason_for(rule_by_id("import-star"))
        source.note("import-star", statement, f"{module}.*", f"{new}.*", note)
        return [statement.with_changes(module=chain(new))]
    bindings = [bind(source, module, alias) for alias in statement.names]
    for binding in bindings:
        is_outputs = canonical(binding.old) == OUTPUTS
        if is_outputs or binding.is_gone or binding.new != binding.old:
            after = "" if is_outputs else None if binding.is_gone else binding.new
            _note(source, statement, binding.rule, binding.old, after)
    if all(item.new == item.old and canonical(item.old) != OUTPUTS for item in bindings):
        return None
    groups: dict[str, list[Binding]] = {}
    for binding in bindings:
        if canonical(binding.old) != OUTPUTS:
            head, _, tail = (binding.old if binding.is_gone else binding.new).rpartition(".")
            group = groups.setdefault(head or tail, [])
            if binding not in group:
                group.append(binding)
    lines: list[cst.BaseSmallStatement] = []
    for head, group in groups.items():
        is_complete = len(groups) == 1 and len(group) == len(bindings)
        lines += _lines(statement, head, group, is_complete=is_complete)
    return lines


def _lines(
    statement: cst.ImportFrom, head: str, group: Sequence[Binding], *, is_complete: bool
) -> list[cst.BaseSmallStatement]:
    roots = [binding for binding in group if binding.new == head and not binding.is_gone]
    lines: list[cst.BaseSmallStatement] = [cst.Import([_alias(root, root.new)]) for root in roots]
    names = [binding for binding in group if binding not in roots]
    if is_complete and not roots:
        assert not isinstance(statement.names, cst.ImportStar)
        pairs = zip(names, statement.names, strict=True)
        aliases = [_renamed(binding, alias) for binding, alias in pairs]
        return [statement.with_changes(module=chain(head), names=aliases)]
    if names:
        aliases = [_alias(binding) for binding in names]
        lines.append(cst.ImportFrom(module=chain(head), names=aliases))
    return lines


def _alias(binding: Binding, name: str = "") -> cst.ImportAlias:
    name = name or (binding.old if binding.is_gone else binding.new).rpartition(".")[2]
    alias = cst.AsName(cst.Name(binding.new_local)) if binding.new_local != name else None
    return cst.ImportAlias(chain(name), alias)


def _renamed(binding: Binding, alias: cst.ImportAlias) -> cst.ImportAlias:
    """Write a new name, but keep commas, comments and line breaks."""
    fresh = _alias(binding)
    if fresh.asname is not None and alias.asname is not None:
        return alias.with_changes(name=fresh.name)
    return alias.with_changes(name=fresh.name, asname=fresh.asname)


def bind(source: Source, module: str, alias: cst.ImportAlias) -> Binding:
    """Return what a name of `from module import name` refers to, before and after."""
    name = dotted(alias.name)
    old = f"{module}.{name}"
    new, rule = current_path(source, old)
    is_gone = not new
    new = new or old
    tail = new.rpartition(".")[2]
    if alias.asname is not None:
        local = new_local = dotted(alias.asname.name)
    else:
        local = name
        # A module that became a package of its own keeps its local name.
        keep = "." not in new or (tail != name and _is_taken(source, tail, new))
        new_local = name if keep else tail
    return Binding(local, old, new_local, new, rule, is_gone)


def _is_taken(source: Source, name: str, meaning: str) -> bool:
    """Return whether a name already refers to something else at module level."""
    scope = source.scope(source.module.body[0]) if source.module.body else None
    if scope is None:
        return False
    for assignment in scope[name]:
        if not isinstance(assignment, ImportAssignment):
            return True
        for qualified in assignment.get_qualified_names_for(name):
            if current_path(source, qualified.name)[0] != meaning:
                return True
    return False


def _note(
    source: Source, node: cst.CSTNode, rule: Rule | None, before: str, after: str | None
) -> None:
    if rule is None:
        note = "one package for all files: classes of the two differ, though their code is the same"
        source.note(PACKAGE_RULE, node, before, after, note)
    else:
        source.note_rule(rule, node, before, after)


def rewrite_reference(
    source: Source, old: cst.Name | cst.Attribute, new: cst.BaseExpression
) -> cst.BaseExpression:
    """Rewrite a name, or a chain of names, that refers to what has moved."""
    text = dotted(old)
    name = source.qualified(old) if text else ""
    if not name or name.partition(".")[0] not in LIBRARIES:
        return new
    if canonical(name) == OUTPUTS:
        return cst.Name("list")
    target, rule = current_path(source, name)
    root, _, rest = text.partition(".")
    base = name[: len(name) - len(rest) - 1] if rest else name
    if not target:
        if base != name and current_path(source, base)[0]:
            _note(source, old, rule, text, None)  # the others are noted at their import
        return new
    if target == name and current_path(source, base)[0] == base:
        return new
    written = _written(source, old, root, base, target)
    if written == text:
        return new
    if base != name and current_path(source, base)[1] != rule:
        _note(source, old, rule, text, written)
    return chain(written)


def _written(source: Source, old: cst.CSTNode, root: str, base: str, target: str) -> str:
    new_root, new_base = _rebound(source, old, root, base)
    if target == new_base or target.startswith(f"{new_base}."):
        return new_root + target[len(new_base) :]
    module, _, name = target.rpartition(".")
    package = target.partition(".")[0]
    if module == package or _is_taken(source, name, target):
        source.need(f"import {module}")
        return target
    if package in ("torchmetrics", "pytorch_lightning"):
        source.need(f"import {package}")
        return target
    source.need(f"from {module} import {name}")
    return name


def _rebound(source: Source, node: cst.CSTNode, root: str, base: str) -> tuple[str, str]:
    """Return the new local name of the root of a chain, and what it refers to."""
    scope = source.scope(node)
    for assignment in scope[root] if scope is not None else ():
        if not isinstance(assignment, ImportAssignment):
            continue
        statement = assignment.node
        if isinstance(statement, cst.ImportFrom) and not isinstance(
            statement.names, cst.ImportStar
        ):
            module = dotted(statement.module) if statement.module is not None else ""
            for alias in statement.names:
                bound = bind(source, module, alias)
                if bound.local == root and bound.old == base:
                    return bound.new_local, bound.new
        elif isinstance(statement, cst.Import):
            for alias in statement.names:
                if alias.asname is not None and dotted(alias.asname.name) == root:
                    return root, current_path(source, dotted(alias.name))[0] or base
                if alias.asname is None and dotted(alias.name).partition(".")[0] == root:
                    new = (current_path(source, dotted(alias.name))[0] or base).partition(".")[0]
                    return new, new
    return root, base
