"""Hydra's headers, defaults lists and sweepers, as 1.0 to 1.2 had them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polymodal.upgrade.changes import Change, Facts
from polymodal.upgrade.yaml_arguments import Step
from polymodal.upgrade.yaml_sweeper import sweeper_steps
from polymodal.upgrade.yaml_text import (
    Document,
    Edit,
    Entry,
    entries,
    entry,
    is_mapping,
    is_scalar,
    is_sequence,
    plain,
    shown,
)

HEADER = re.compile(r"[ \t]*#[ \t]*@package[ \t]+(\S+)[^\n]*\n?")
ROOTS = ("conf", "configs", "config")
CHDIR_NOTE = "keeps relative paths in the run's folder, as before 1.2; leave it out if none need it"


def gather_hydra(document: Document, facts: Facts) -> None:
    """Notes whether headers are written as Hydra 1.0 had them.

    Args:
        document: The document.
        facts: Is added to.
    """
    header = _header(document.text)
    facts.hydra_1_0 |= header is not None and ("_group_" in header[1] or "_name_" in header[1])


def has_header(text: str) -> bool:
    """Tells whether a file says where Hydra puts it.

    Args:
        text: Its text.
    """
    return _header(text) is not None


def hydra_steps(document: Document, path: Path, facts: Facts, had_header: bool) -> Iterator[Step]:
    """Finds what Hydra no longer reads as it did.

    Args:
        document: The document.
        path: Its file; its folders are Hydra's groups.
        facts: What the tree's files know of one another.
        had_header: Whether the file, as it was found, says where Hydra puts it.

    Yields:
        Changes.
    """
    if not document.roots or not is_mapping(document.roots[0]):
        return
    root, group = document.roots[0], _group(path)
    yield from _package(document, root, path, group, facts.hydra_1_0 and not had_header)
    yield from _defaults(document, root, group, facts)
    if group == () and facts.chdir:
        yield from _chdir(document, root)
    yield from sweeper_steps(document)


def _group(path: Path) -> tuple[str, ...] | None:
    """The group of a file: empty for the main configurations, None outside of Hydra's folders."""
    folders = path.parts[:-1]
    places = [n for n, folder in enumerate(folders) if folder in ROOTS]
    return folders[places[-1] + 1 :] if places else None


def _header(text: str) -> tuple[re.Match[str], str] | None:
    at = 0
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        line = text[at:end]
        found = HEADER.match(text, at)
        if found is not None:
            return found, found.group(1)
        if line.strip() and not line.lstrip().startswith("#"):
            return None
        at = end
    return None


def _package(
    document: Document, root: Any, path: Path, group: tuple[str, ...] | None, lacks_header: bool
) -> Iterator[Step]:
    header = _header(document.text)
    keys = [one.name for one in entries(root)]
    if header is None:
        if lacks_header and group and group[0] != "hydra" and keys and keys != ["defaults"]:
            note = "its keys belonged to the root in 1.0: add # @package _global_ if they still do"
            yield _said("hydra-missing-header", document, 0, "no header", None, note)
        return
    found, package = header
    start, end = found.start(), found.end()
    if package == "_group_":
        if document.text[end : end + 1] == "\n" and start == 0:
            end += 1
        yield Step(
            ((start, end, ""),),
            (Change("hydra-package-header", document.line(start), found.group().strip(), ""),),
        )
    elif "_group_" in package or "_name_" in package:
        if group is None:
            note = "write the package itself: the group, dots for slashes, and the file's name"
            words = found.group().strip()
            yield _said("hydra-package-header", document, start, words, None, note)
            return
        new = package.replace("_group_", ".".join(group)).replace("_name_", path.stem)
        at = found.start(1)
        change = Change("hydra-package-header", document.line(start), package, f"# @package {new}")
        yield Step(((at, found.end(1), new),), (change,))
    elif package == "_global_" and group and "_target_" in keys:
        note = "nobody reads _target_ at the root: leave the header out, or name the section"
        yield _said(
            "hydra-header-global-target", document, start, found.group().strip(), None, note
        )


def _defaults(
    document: Document, root: Any, group: tuple[str, ...] | None, facts: Facts
) -> Iterator[Step]:
    defaults = entry(root, "defaults")
    if defaults is None or not is_sequence(defaults.value) or defaults.value.flow_style:
        return
    items = defaults.value.value
    for item in items:
        yield from _item(document, item)
    has_self = any(is_scalar(one) and one.value == "_self_" for one in items)
    others = [one for one in entries(root) if one.name != "defaults"]
    if facts.hydra_1_0 and group == () and items and others and not has_self:
        at = items[0].start_mark.index
        start = document.text.rindex("-", 0, at)
        indent = " " * (start - document.line_start(start))
        new = f"- _self_{document.newline}{indent}"
        yield Step(
            ((start, start, new),),
            (Change("hydra-self", document.line(start), "no _self_", "- _self_"),),
        )


def _item(document: Document, item: Any) -> Iterator[Step]:
    """An item of a defaults list."""
    keys = list(entries(item))
    optional = next((one for one in keys if one.name == "optional"), None)
    if optional is not None and len(keys) == 2:
        group = next(one for one in keys if one is not optional)
        word = "optional " if plain(optional.value) is True else ""
        yield _optional(document, group, optional, word)
    elif len(keys) == 1 and keys[0].name.startswith(("hydra/", "/hydra/")):
        at = keys[0].key.start_mark.index
        name = keys[0].name
        change = Change("hydra-override", document.line(at), name, f"override {name}")
        yield Step(((at, at, "override "),), (change,))


def _optional(document: Document, group: Entry, optional: Entry, word: str) -> Step:
    at, name = group.key.start_mark.index, group.name
    value = shown(document.raw(group))
    if group.place == 0:
        end = document.line_end(document.span(group)[1])
        last = document.line_end(document.span(optional)[1])
        edits: tuple[Edit, ...] = ((at, at, word), (end, last, ""))
    else:
        edits = ((optional.key.start_mark.index, at, word),)
    found = f"{name}: {value}, optional: {document.raw(optional)}"
    line = document.line(at)
    return Step(edits, (Change("hydra-optional", line, found, f"{word}{name}: {value}"),))


def _chdir(document: Document, root: Any) -> Iterator[Step]:
    """The main configuration asks for what was the default."""
    if entry(root, "defaults") is None and entry(root, "hydra") is None:
        return
    hydra = entry(root, "hydra")
    job = entry(hydra.value, "job") if hydra else None
    if job is not None and entry(job.value, "chdir") is not None:
        return
    newline, lines, at = document.newline, ["hydra:", "  job:", "    chdir: true"], 0
    if job is not None and is_mapping(job.value) and not job.value.flow_style:
        at, lines = _behind(document, job), [document.indent(_first(job)) + "chdir: true"]
    elif hydra is not None and is_mapping(hydra.value) and not hydra.value.flow_style:
        indent = document.indent(_first(hydra))
        at, lines = _behind(document, hydra), [indent + "job:", indent + "  chdir: true"]
    elif hydra is not None:
        yield _said(
            "hydra-chdir", document, hydra.key.start_mark.index, "no hydra.job.chdir", None,
            f"write hydra.job.chdir: true: {CHDIR_NOTE}",
        )  # fmt: skip
        return
    else:
        at, lines = document.line_end(document.end(root)), ["", *lines]
    edit = (at, at, "".join(newline + line for line in lines))
    change = Change(
        "hydra-chdir", document.line(at), "no hydra.job.chdir", "chdir: true", CHDIR_NOTE
    )
    yield Step((edit,), (change,))


def _first(one: Entry) -> Any:
    return one.value.value[0][0]


def _behind(document: Document, one: Entry) -> int:
    return document.line_end(document.end(one.value))


def _said(
    rule: str, document: Document, at: int, found: str, written: str | None, note: str
) -> Step:
    return Step((), (Change(rule, document.line(at), found, written, note),))
