"""Check that every rewritten section binds to the installed signature."""

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, SequenceNode

from polymodal.config.partial_resolve import UNRESOLVED
from polymodal.config.provenance import SourceLocation
from polymodal.diagnostics import Diagnostic, from_error
from polymodal.errors import ConfigError
from polymodal.security.targets import resolve_target
from polymodal.upgrade.rules import PACKAGES
from polymodal.upgrade.tree import YAML, Tree
from polymodal.upgrade.yaml_sections import Section, sections
from polymodal.upgrade.yaml_text import Document, entries, entry, to_plain

Bind = Callable[[Mapping[str, Any], str, Callable[..., Any]], Iterator[Diagnostic]]
KNOWN = tuple(name for names in PACKAGES.values() for name in names)


@dataclass(frozen=True)
class Proof:
    """Sections of changed files that were checked, problems, and number of sections without any."""

    count: int
    findings: tuple[Diagnostic, ...]
    num_bound: int


def prove(tree: Tree, bind: Bind) -> Proof:
    """Bind the sections of all changed YAML files to the installed signatures by `bind`."""
    findings: list[Diagnostic] = []
    count = num_bound = 0
    for file in tree.changed:
        if file.path.suffix in YAML:
            document = Document(file.rewrite.text)
            for section in sections(document, file.path):
                if section.target.startswith(KNOWN) and section.options is not None:
                    diagnostics = list(_bind(bind, document, section, file.path))
                    findings += diagnostics
                    count += 1
                    num_bound += not diagnostics
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
    for finding in findings:
        if section.is_complete or finding.rule not in ("unknown option", "missing option"):
            option = entry(section.options, finding.key.rpartition(".")[2]) or section.named
            line = document.line_of(option.key if option else section.options)
            yield replace(finding, origin=SourceLocation(path, line))


def _resolved(name: str, key: str) -> Callable[..., Any]:
    if not name.startswith("transformers."):
        return resolve_target(name, key)
    try:
        resolved: Callable[..., Any] = pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        raise ConfigError(f"{key}: there is no {name}") from None
    return resolved


def _values(node: Any) -> dict[str, Any]:
    return {item.name: _value(item.value) for item in entries(node) if item.name != "_target_"}


def _value(node: Any) -> Any:
    if isinstance(node, MappingNode):
        return _values(node)
    if isinstance(node, SequenceNode):
        return [_value(item) for item in node.value]
    value = to_plain(node)
    return UNRESOLVED if isinstance(value, str) and ("${" in value or value == "???") else value
