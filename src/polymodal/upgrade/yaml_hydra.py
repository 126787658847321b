"""Headers, defaults lists and sweepers of Hydra 1.0 to 1.2."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from polymodal.upgrade.changes import Change, ProjectFacts
from polymodal.upgrade.yaml_arguments import Step, step
from polymodal.upgrade.yaml_text import (
    Document,
    TextEdit,
    YamlEntry,
    entries,
    entry,
    shorten,
    to_plain,
)
from polymodal.upgrade.yaml_write import MappingChange, edits_of

HEADER = re.compile(
    r"(?:[ \t\r]*(?:#.*)?\n)*?"  # blank lines and comments
    r"(?P<line>[ \t]*#[ \t]*@package[ \t]+(?P<package>\S+).*\n?)"
)
ROOTS = ("conf", "configs", "config")
SEARCH_RULE = "hydra-search-space"
PLAIN = re.compile(r"[A-Za-z_][\w./-]*|-?\d+(\.\d+)?([eE][+-]?\d+)?")
CHDIR_NOTE = "keeps relative paths in the run's folder, as before 1.2; leave it out if none need it"


def gather_headers(document: Document, facts: ProjectFacts) -> None:
    """Note whether package headers have the form of Hydra 1.0."""
    header = HEADER.match(document.text)
    package = header["package"] if header is not None else ""
    facts.hydra_1_0 |= "_group_" in package or "_name_" in package


def has_header(text: str) -> bool:
    """Return whether a file has a package header."""
    return HEADER.match(text) is not None


def hydra_steps(
    document: Document, path: Path, facts: ProjectFacts, had_header: bool
) -> Iterator[Step]:
    """Yield changes of what Hydra reads differently; `had_header` is about the original file."""
    if not document.roots or not isinstance(document.roots[0], MappingNode):
        return
    root, group = document.roots[0], _group(path)
    yield from _package(document, root, path, group, facts.hydra_1_0 and not had_header)
    yield from _defaults(document, root, group, facts)
    if group == () and facts.chdir:
        yield from _chdir(document, root)
    yield from _sweepers(document)


def _group(path: Path) -> tuple[str, ...] | None:
    """Return the group of a file: empty for main configurations, None outside of them."""
    folders = path.parts[:-1]
    indices = [n for n, folder in enumerate(folders) if folder in ROOTS]
    return folders[indices[-1] + 1 :] if indices else None


def _package(
    document: Document, root: Any, path: Path, group: tuple[str, ...] | None, lacks_header: bool
) -> Iterator[Step]:
    rule, header = "hydra-package-header", HEADER.match(document.text)
    keys = [item.name for item in entries(root)]
    if header is None:
        if lacks_header and group and group[0] != "hydra" and keys and keys != ["defaults"]:
            note = "its keys belonged to the root in 1.0: add # @package _global_ if they still do"
            yield step("hydra-missing-header", 1, "no header", None, note=note)
        return
    package, before = header["package"], header["line"].strip()
    (start, end), line = header.span("line"), document.line(header.start("line"))
    if package == "_group_":
        if document.text[end : end + 1] == "\n" and start == 0:
            end += 1
        yield step(rule, line, before, "", (start, end, ""))
    elif "_group_" in package or "_name_" in package:
        if group is None:
            note = "write the package itself: the group, dots for slashes, and the file's name"
            yield step(rule, line, before, None, note=note)
            return
        new = package.replace("_group_", ".".join(group)).replace("_name_", path.stem)
        yield step(rule, line, package, f"# @package {new}", (*header.span("package"), new))
    elif package == "_global_" and group and "_target_" in keys:
        note = "_target_ at the root is not read: leave the header out, or name the section"
        yield step("hydra-header-global-target", line, before, None, note=note)


def _defaults(
    document: Document, root: Any, group: tuple[str, ...] | None, facts: ProjectFacts
) -> Iterator[Step]:
    defaults = entry(root, "defaults")
    if (
        defaults is None
        or not isinstance(defaults.value, SequenceNode)
        or defaults.value.flow_style
    ):
        return
    items = defaults.value.value
    for item in items:
        yield from _item(document, item)
    has_self = any(isinstance(item, ScalarNode) and item.value == "_self_" for item in items)
    others = [item for item in entries(root) if item.name != "defaults"]
    if facts.hydra_1_0 and group == () and items and others and not has_self:
        at = items[0].start_mark.index
        start = document.text.rindex("-", 0, at)
        indent = " " * (start - document.line_start(start))
        edit = (start, start, f"- _self_{document.newline}{indent}")
        yield step("hydra-self", document.line(start), "no _self_", "- _self_", edit)


def _item(document: Document, item: Any) -> Iterator[Step]:
    keys = list(entries(item))
    optional = next((item for item in keys if item.name == "optional"), None)
    if optional is not None and len(keys) == 2:
        group = next(item for item in keys if item is not optional)
        word = "optional " if to_plain(optional.value) is True else ""
        yield _optional(document, group, optional, word)
    elif len(keys) == 1 and keys[0].name.startswith(("hydra/", "/hydra/")):
        at = keys[0].key.start_mark.index
        name = keys[0].name
        edit = (at, at, "override ")
        yield step("hydra-override", document.line(at), name, f"override {name}", edit)


def _optional(document: Document, group: YamlEntry, optional: YamlEntry, word: str) -> Step:
    at, name = group.key.start_mark.index, group.name
    value = shorten(document.raw(group))
    if group.index == 0:
        end = document.line_end(document.span(group)[1])
        last = document.line_end(document.span(optional)[1])
        edits: tuple[TextEdit, ...] = ((at, at, word), (end, last, ""))
    else:
        edits = ((optional.key.start_mark.index, at, word),)
    before = f"{name}: {value}, optional: {document.raw(optional)}"
    return step("hydra-optional", document.line(at), before, f"{word}{name}: {value}", *edits)


def _chdir(document: Document, root: Any) -> Iterator[Step]:
    """Ask for the old default in the main configuration."""
    if entry(root, "defaults") is None and entry(root, "hydra") is None:
        return
    hydra = entry(root, "hydra")
    job = entry(hydra.value, "job") if hydra else None
    if job is not None and entry(job.value, "chdir") is not None:
        return
    rule, before = "hydra-chdir", "no hydra.job.chdir"
    if job is not None and _is_block(job.value):
        node, lines = job.value, ["chdir: true"]
    elif hydra is not None and _is_block(hydra.value):
        node, lines = hydra.value, ["job:", "  chdir: true"]
    elif hydra is not None:
        note = f"write hydra.job.chdir: true: {CHDIR_NOTE}"
        yield step(rule, document.line_of(hydra.key), before, None, note=note)
        return
    else:
        node, lines = root, ["", "hydra:", "  job:", "    chdir: true"]
    end = document.line_end(document.end(node))
    indent = "" if node is root else document.indent(node.value[0][0])
    edit = document.insertion(end, indent, lines)
    yield step(rule, document.line(end), before, "chdir: true", edit, note=CHDIR_NOTE)


def _is_block(node: Any) -> bool:
    return isinstance(node, MappingNode) and not node.flow_style


def _sweepers(document: Document) -> Iterator[Step]:
    """Write the search space of hydra-optuna-sweeper as overrides in `params`."""
    for _, node in document.nodes():
        space = entry(node, "search_space")
        if space is not None and isinstance(space.value, MappingNode):
            yield from _search_space(document, node, space)


def _search_space(document: Document, sweeper: Any, space: YamlEntry) -> Iterator[Step]:
    ranges = [(item, _override(to_plain(item.value))) for item in entries(space.value)]
    if not any(isinstance(item.value, MappingNode) for item, _ in ranges):
        return  # of another program
    line = document.line_of(space.key)
    unknown = [item.name for item, override in ranges if override is None]
    if unknown or entry(sweeper, "params") is not None:
        note = f"write {unknown[0]} as in params by hand" if unknown else "params is given, too"
        yield step(SEARCH_RULE, line, "search_space", None, note=note)
        return
    change = MappingChange({item.index: [(item.name, override)] for item, override in ranges})
    key = (space.key.start_mark.index, space.key.end_mark.index, "params")
    changes = [Change(SEARCH_RULE, line, "search_space", "params")]
    for item, override in ranges:
        after = f"{item.name}: {override}"
        changes.append(Change(SEARCH_RULE, document.line_of(item.key), item.name, after))
    yield Step((key, *edits_of(document, space.value, change)), tuple(changes))


def _override(given: Any) -> str | None:
    """Return a range as an override; None if there is none for it."""
    if not isinstance(given, Mapping):
        return None
    kind, low, high = given.get("type"), given.get("low"), given.get("high")
    if kind == "categorical" and isinstance(given.get("choices"), list):
        choices = [_choice(choice) for choice in given["choices"]]
        return None if None in choices else f"choice({', '.join(map(str, choices))})"
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    if kind == "float" and given.get("step") is None:
        interval = f"interval({low}, {high})"
        return f"tag(log, {interval})" if given.get("log") else interval
    if kind == "int" and not given.get("log"):
        step = given.get("step")
        return f"range({low}, {high})" if step is None else f"range({low}, {high}, step={step})"
    return f"tag(log, int(interval({low}, {high})))" if kind == "int" else None


def _choice(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, int | float | str):
        return None
    text = str(value)
    if PLAIN.fullmatch(text):
        return text
    return f"'{text}'" if "'" not in text else None
