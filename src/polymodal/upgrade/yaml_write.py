"""Values as YAML text, and edits of a mapping in its own form."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from polymodal.upgrade.edits import Call, Expression, Value
from polymodal.upgrade.yaml_text import ANCHOR, KEEP, Document, TextEdit, YamlEntry

Pairs = Sequence[tuple[str, Value]]


@dataclass(frozen=True)
class YamlItem:
    """An item of a list, as lines of a block (with comments and hyphen) and in brackets."""

    lines: tuple[str, ...]
    in_line: str


@dataclass
class MappingChange:
    """Changes of a mapping: index of an entry to replacements (empty: removed), or to additions."""

    replaced: dict[int, Pairs] = field(default_factory=dict)
    added: dict[int, Pairs] = field(default_factory=dict)


def scalar(value: Value, like: str = "", in_line: bool = False) -> str:
    """Return a value on one line of YAML, in the quotes of an old one.

    `in_line` says that it is inside brackets, where commas and braces are special.

    Example:
        >>> scalar("16-mixed", '"16"'), scalar(None), scalar([0, 1]), scalar({"a": True})
        ('"16-mixed"', 'null', '[0, 1]', '{a: true}')
    """
    if isinstance(value, Expression | YamlItem):
        return value.text if isinstance(value, Expression) else value.in_line
    if isinstance(value, list | tuple):
        return "[" + ", ".join(scalar(item, in_line=True) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + _in_line(value.items()) + "}"
    if isinstance(value, str) and like[:1] in ("'", '"') and like[:1] not in value:
        return like[0] + value + like[0]
    dumped = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    text = str(dumped.strip().removesuffix("...").strip())
    if in_line and isinstance(value, str) and text == value and set(text) & set(",[]{}"):
        return "'" + value.replace("'", "''") + "'"
    return text


def item_of(call: Call, style: str) -> YamlItem:
    """Return an object as an item of a list, in the style `_target_` or `class_path`."""
    options = [_in_line([pair]) for pair in call.arguments.items()]
    name, block, line = f"{style}: {call.target}", options, ", ".join(options)
    if style == "class_path" and options:
        block = ["init_args:", *("  " + option for option in options)]
        line = f"init_args: {{{line}}}"
    lines = (f"- {name}", *("  " + option for option in block))
    return YamlItem(lines, f"{{{name}, {line}}}" if line else f"{{{name}}}")


def _in_line(pairs: Iterable[tuple[Any, Value]]) -> str:
    return ", ".join(f"{scalar(key)}: {scalar(value, in_line=True)}" for key, value in pairs)


def edits_of(document: Document, mapping: Any, change: MappingChange) -> list[TextEdit]:
    """Return the edits of the text that change a mapping."""
    all_entries = [YamlEntry(key, value, index) for index, (key, value) in enumerate(mapping.value)]
    gone = {index for index, pairs in change.replaced.items() if not pairs}
    if len(gone) == len(all_entries):
        first, *others = all_entries
        added = [pair for pairs in change.added.values() for pair in pairs]
        new = _whole(document, first, added, mapping.flow_style)
        last = all_entries[-1] if mapping.flow_style else first
        edit = (first.key.start_mark.index, document.span(last)[1], new)
        removed = set() if mapping.flow_style else {item.index for item in others}
        return [edit, *_removals(document, all_entries, removed)]
    remove = _removals_in_line if mapping.flow_style else _removals
    edits = remove(document, all_entries, gone)
    for item in all_entries:
        if change.replaced.get(item.index):
            edits += _replacement(document, item, change.replaced[item.index], mapping.flow_style)
        if item.index in change.added:
            edits.append(_addition(document, item, change.added[item.index], mapping.flow_style))
    return edits


def _whole(document: Document, first: YamlEntry, added: Pairs, in_line: bool) -> str:
    """Return a mapping of which no old entry is left."""
    if in_line:
        return _in_line(added)
    indent = document.newline + document.indent(first.key)
    return indent.join(line for name, value in added for line in _lines(name, value)) or "{}"


def _removals(document: Document, all_entries: list[YamlEntry], gone: set[int]) -> list[TextEdit]:
    """Remove whole lines; of a list's item the first keys, so that the hyphen stays."""
    edits: list[TextEdit] = []
    first = all_entries[0].key.start_mark.index
    head = document.text[document.line_start(first) : first]
    leading = 0
    if head.strip():
        while leading in gone:
            leading += 1
        if leading:
            edits.append((first, all_entries[leading].key.start_mark.index, ""))
    for index in sorted(gone):
        if index >= leading:
            start = document.line_start(all_entries[index].key.start_mark.index)
            end = document.line_end(document.span(all_entries[index])[1])
            if end < len(document.text):
                end += len(document.newline)
            else:  # the last line has no break; remove that of the line before
                start = document.line_end(start - 1) if start else 0
            edits.append((start, end, ""))
    return edits


def _removals_in_line(
    document: Document, all_entries: list[YamlEntry], gone: set[int]
) -> list[TextEdit]:
    edits: list[TextEdit] = []
    last = max(item.index for item in all_entries if item.index not in gone)
    starts = [item.key.start_mark.index for item in all_entries]
    ends = [document.span(item)[1] for item in all_entries]
    for index in sorted(gone):
        bounds = starts[index : index + 2] if index < last else ends[index - 1 : index + 1]
        edits.append((bounds[0], bounds[1], ""))
    return edits


def _replacement(
    document: Document, item: YamlEntry, pairs: Pairs, in_line: bool
) -> list[TextEdit]:
    (name, value), *more = pairs
    edits: list[TextEdit] = []
    if name != item.name:
        edits.append((item.key.start_mark.index, item.key.end_mark.index, name))
    if value is not KEEP:
        start, end = document.span(item)
        raw = document.text[start:end]
        anchor = ANCHOR.match(raw)
        like = raw[anchor.end() :] if anchor else raw
        new = (anchor.group() if anchor else "") + scalar(value, like, in_line)
        colon = document.text.index(":", item.key.end_mark.index) + 1
        if "\n" in document.text[colon:start] or start == colon:
            start, new = colon, " " + new
        edits.append((start, end, new))
    if more:
        edits.append(_addition(document, item, more, in_line))
    return edits


def _addition(document: Document, item: YamlEntry, pairs: Pairs, in_line: bool) -> TextEdit:
    end = document.span(item)[1]
    if in_line:
        return end, end, ", " + _in_line(pairs)
    lines = (line for name, value in pairs for line in _lines(name, value))
    return document.insertion(document.line_end(end), document.indent(item.key), lines)


def _lines(name: str, value: Value) -> list[str]:
    if isinstance(value, list) and value and all(isinstance(item, YamlItem) for item in value):
        return [f"{name}:", *("  " + line for item in value for line in item.lines)]
    return [f"{name}: {scalar(value)}"]
