"""The proof of an upgrade: every section that was rewritten binds to the installed signature."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polymodal.config.partial_resolve import UNRESOLVED
from polymodal.config.provenance import SourceLocation
from polymodal.diagnostics import Diagnostic, from_error
from polymodal.errors import ConfigError
from polymodal.security.targets import resolve_target
from polymodal.upgrade.rules import PACKAGES
from polymodal.upgrade.tree import YAML, Tree
from polymodal.upgrade.yaml_sections import Section, sections
from polymodal.upgrade.yaml_text import Document, entries, is_mapping, is_sequence, plain

Bind = Callable[[Mapping[str, Any], str, Callable[..., Any]], Iterator[Diagnostic]]
KNOWN = tuple(name for names in PACKAGES.values() for name in names)


@dataclass(frozen=True)
class Proof:
    """Which sections bind.

    Args:
        count: How many sections of the changed files were looked at.
        findings: What does not bind, with its place.
        num_bound: How many of them bind.
    """

    count: int
    findings: tuple[Diagnostic, ...]

    num_bound: int


def prove(tree: Tree, bind: Bind) -> Proof:
    """Binds the sections of all changed YAML files to the installed signatures.

    Args:
        tree: What an upgrade made.
        bind: Yields what keeps options (with their key) from being arguments of a callable.

    Returns:
        How many sections there are, and what does not bind.
    """
    findings: list[Diagnostic] = []
    count = num_bound = 0
    for one in tree.changed:
        if one.path.suffix in YAML:
            document = Document(one.rewritten.text)
            for section in sections(document, one.path):
                if section.target.startswith(KNOWN) and section.options is not None:
                    found = list(_bind(bind, document, section, one.path))
                    findings += found
                    count += 1
                    num_bound += not found
    return Proof(count, tuple(findings), num_bound)


def _bind(bind: Bind, document: Document, section: Section, path: Path) -> Iterator[Diagnostic]:
    key = ".".join(section.path) or path.stem
    values = {"_target_": section.target, **_values(section.options)}
    values.pop("defaults", None)
    try:
        target = _resolved(section.target, key)
        findings = list(bind(values, key, target))
    except ConfigError as error:
        findings = [from_error(error, "target", f"{key}._target_")]
    for one in findings:
        if section.is_whole or one.rule not in ("unknown option", "missing option"):
            yield replace(one, origin=SourceLocation(path, _line(document, section, one.key)))


def _resolved(name: str, key: str) -> Callable[..., Any]:
    if not name.startswith("transformers."):
        return resolve_target(name, key)
    module, _, attribute = name.rpartition(".")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        raise ConfigError(f"{key}: there is no {name}") from None
    return found


def _values(node: Any) -> dict[str, Any]:
    return {one.name: _value(one.value) for one in entries(node) if one.name != "_target_"}


def _value(node: Any) -> Any:
    if is_mapping(node):
        return _values(node)
    if is_sequence(node):
        return [_value(one) for one in node.value]
    value = plain(node)
    return UNRESOLVED if isinstance(value, str) and ("${" in value or value == "???") else value


def _line(document: Document, section: Section, key: str) -> int:
    name = key.rpartition(".")[2]
    nodes = {one.name: one.key for one in entries(section.options)}
    node = nodes.get(name, section.named.key if section.named else section.options)
    return document.line(node.start_mark.index)
