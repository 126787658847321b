"""Imports of names that have moved, and every reference to them."""

from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import ImportAssignment

from polymodal.upgrade.python_names import (
    PACKAGE_RULE,
    canonical,
    follow,
    keeps_unified,
    localised,
)
from polymodal.upgrade.python_source import Source, chain, dotted, rule_of, why
from polymodal.upgrade.rules import Rule

# Hooks no longer get it; where it is the annotation of something else, a list is what it was.
OUTPUTS = "pytorch_lightning.utilities.types.EPOCH_OUTPUT"
LIBRARIES = (
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "torchmetrics",
    "transformers",
    "hydra",
    "omegaconf",
)


@dataclass(frozen=True)
class Binding:
    """What one name of an import statement stands for, and what it will stand for.

    Args:
        local: The name in the file.
        old: What it refers to.
        new_local: The name that it has after the upgrade.
        new: What that refers to.
        rule: Which rule says so, if one does.
        is_gone: Whether there is nothing that takes its place.
    """

    local: str
    old: str
    new_local: str
    new: str
    rule: Rule | None
    is_gone: bool


def now(source: Source, name: str) -> tuple[str, Rule | None]:
    """Tells where a name is in the installed releases.

    Args:
        source: The file.
        name: Dotted path, as the file imports it.

    Returns:
        Dotted path, the same where nothing has changed and empty where it is gone, and the rule
        that says so; without one where only the package is another.
    """
    if name.partition(".")[0] not in LIBRARIES:
        return name, None
    plain = canonical(name)
    found = follow(plain, source.text)
    if found is not None and found.name is None:
        return "", found.rule
    unified = keeps_unified(source.facts.lightning)
    if found is None and (unified or plain == name):
        return name, None
    new = plain if found is None else found.name or ""
    return localised(new, unified=unified), found.rule if found is not None else None


def rewrite_line(
    source: Source, old: cst.SimpleStatementLine, new: cst.SimpleStatementLine
) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.SimpleStatementLine] | cst.RemovalSentinel:
    """Rewrites a line that is one import statement.

    Args:
        source: The file.
        old: The line as it was.
        new: The line as it is now.

    Returns:
        One line, or several where its names now come from several modules.
    """
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
    rest = [cst.SimpleStatementLine([one]) for one in lines[1:]]
    return cst.FlattenSentinel([first, *rest]) if rest else first


def _plain(source: Source, statement: cst.Import) -> cst.Import:
    """Rewrites `import a.b` and `import a.b as c`."""
    aliases = []
    for alias in statement.names:
        old = dotted(alias.name)
        new, rule = now(source, old)
        if new not in (old, ""):
            _tell(source, statement, rule, f"import {old}", f"import {new}")
            alias = alias.with_changes(name=chain(new))
        aliases.append(alias)
    return statement.with_changes(names=aliases)


def _from(source: Source, statement: cst.ImportFrom) -> Sequence[cst.BaseSmallStatement] | None:
    """Rewrites `from a import b, c`; None where nothing changes."""
    module = dotted(statement.module) if statement.module is not None else ""
    if isinstance(statement.names, cst.ImportStar):
        new, _ = now(source, module)
        if new in (module, ""):
            return None
        note = why(rule_of("import-star"))
        source.note("import-star", statement, f"{module}.*", f"{new}.*", note)
        return [statement.with_changes(module=chain(new))]
    bindings = [bind(source, module, one) for one in statement.names]
    _report(source, statement, bindings)
    if all(one.new == one.old and canonical(one.old) != OUTPUTS for one in bindings):
        return None
    groups: dict[str, list[Binding]] = {}
    for one in bindings:
        if canonical(one.old) != OUTPUTS:
            head, _, tail = (one.old if one.is_gone else one.new).rpartition(".")
            group = groups.setdefault(head or tail, [])
            if one not in group:
                group.append(one)
    lines: list[cst.BaseSmallStatement] = []
    for head, group in groups.items():
        whole = len(groups) == 1 and len(group) == len(bindings)
        lines += _lines(statement, head, group, whole=whole)
    return lines


def _lines(
    statement: cst.ImportFrom, head: str, group: Sequence[Binding], *, whole: bool
) -> list[cst.BaseSmallStatement]:
    """Writes the import of the names of one module."""
    roots = [one for one in group if one.new == head and not one.is_gone]
    lines: list[cst.BaseSmallStatement] = [_import(one) for one in roots]
    names = [one for one in group if one not in roots]
    if whole and not roots:
        assert not isinstance(statement.names, cst.ImportStar)
        pairs = zip(names, statement.names, strict=True)
        kept = [_renamed(one, alias) for one, alias in pairs]
        return [statement.with_changes(module=chain(head), names=kept)]
    if names:
        aliases = [_alias(one) for one in names]
        lines.append(cst.ImportFrom(module=chain(head), names=aliases))
    return lines


def _import(one: Binding) -> cst.Import:
    alias = cst.AsName(cst.Name(one.new_local)) if one.new_local != one.new else None
    return cst.Import([cst.ImportAlias(chain(one.new), alias)])


def _alias(one: Binding) -> cst.ImportAlias:
    tail = (one.old if one.is_gone else one.new).rpartition(".")[2]
    alias = cst.AsName(cst.Name(one.new_local)) if one.new_local != tail else None
    return cst.ImportAlias(cst.Name(tail), alias)


def _renamed(one: Binding, alias: cst.ImportAlias) -> cst.ImportAlias:
    """Writes a new name, but keeps commas, comments and line breaks."""
    fresh = _alias(one)
    if fresh.asname is not None and alias.asname is not None:
        return alias.with_changes(name=fresh.name)
    return alias.with_changes(name=fresh.name, asname=fresh.asname)


def bind(source: Source, module: str, alias: cst.ImportAlias) -> Binding:
    """Tells what a name of `from module import name` stands for, before and after."""
    name = dotted(alias.name)
    old = f"{module}.{name}"
    new, rule = now(source, old)
    is_gone = not new
    new = new or old
    tail = new.rpartition(".")[2]
    if alias.asname is not None:
        local = new_local = dotted(alias.asname.name)
    else:
        local = name
        # A module that became a package of its own keeps the name that the file calls it by.
        keep = "." not in new or (tail != name and _is_taken(source, tail, new))
        new_local = name if keep else tail
    return Binding(local, old, new_local, new, rule, is_gone)


def _is_taken(source: Source, name: str, meaning: str) -> bool:
    """Tells whether a name already means something else at the head of the file."""
    scope = source.scope(source.module.body[0]) if source.module.body else None
    if scope is None:
        return False
    for one in scope[name]:
        if not isinstance(one, ImportAssignment):
            return True
        for found in one.get_qualified_names_for(name):
            if now(source, found.name)[0] != meaning:
                return True
    return False


def _report(source: Source, statement: cst.ImportFrom, bindings: Sequence[Binding]) -> None:
    for one in bindings:
        if canonical(one.old) == OUTPUTS:
            _tell(source, statement, one.rule, one.old, "")
        elif one.is_gone:
            _tell(source, statement, one.rule, one.old, None)
        elif one.new != one.old:
            _tell(source, statement, one.rule, one.old, one.new)


def _tell(
    source: Source, node: cst.CSTNode, rule: Rule | None, found: str, written: str | None
) -> None:
    if rule is None:
        note = "one package for all files: classes of the two differ, though their code is the same"
        source.note(PACKAGE_RULE, node, found, written, note)
        return
    source.note(rule.id, node, found, written, why(rule))


def rewrite_reference(
    source: Source, old: cst.Name | cst.Attribute, new: cst.BaseExpression
) -> cst.BaseExpression:
    """Rewrites a name, or a chain of names, that refers to what has moved.

    Args:
        source: The file.
        old: The chain as it was.
        new: The chain as it is now.

    Returns:
        The new chain; the same where it refers to nothing that has moved.
    """
    text = dotted(old)
    name = source.qualified(old) if text else ""
    if not name or name.partition(".")[0] not in LIBRARIES:
        return new
    if canonical(name) == OUTPUTS:
        return cst.Name("list")
    target, rule = now(source, name)
    root, _, rest = text.partition(".")
    base = name[: len(name) - len(rest) - 1] if rest else name
    if not target:
        if base != name and now(source, base)[0]:
            _tell(source, old, rule, text, None)  # others are told of where they are imported
        return new
    if target == name and now(source, base)[0] == base:
        return new
    written = _written(source, old, root, base, target)
    if written == text:
        return new
    if base != name and now(source, base)[1] != rule:
        _tell(source, old, rule, text, written)
    return chain(written)


def _written(source: Source, old: cst.CSTNode, root: str, base: str, target: str) -> str:
    """Writes a name as the file can say it after its imports were rewritten."""
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
    """Tells by which name the root of a chain goes after the upgrade, and what that is."""
    scope = source.scope(node)
    for one in scope[root] if scope is not None else ():
        if not isinstance(one, ImportAssignment):
            continue
        statement = one.node
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
                    return root, now(source, dotted(alias.name))[0] or base
                if alias.asname is None and dotted(alias.name).partition(".")[0] == root:
                    new = (now(source, dotted(alias.name))[0] or base).partition(".")[0]
                    return new, new
    return root, base
