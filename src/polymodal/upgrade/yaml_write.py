"""Values as YAML text, and changes of a mapping in the form that it has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from polymodal.upgrade.edits import Call, Expression, Value
from polymodal.upgrade.yaml_text import ANCHOR, Document, Edit, Entry, Keep

Pairs = Sequence[tuple[str, Value]]


@dataclass(frozen=True)
class Item:
    """An item of a list.

    Args:
        lines: As lines of a block: comments, and from the hyphen on the item.
        in_line: As it stands between brackets.
    """

    lines: tuple[str, ...]
    in_line: str


@dataclass
class MappingChange:
    """What becomes of the entries of one mapping.

    Args:
        replaced: Place of an entry to what stands in its place; nothing where it is left out.
        behind: Place of an entry to what is added behind it.
    """

    replaced: dict[int, Pairs] = field(default_factory=dict)
    behind: dict[int, Pairs] = field(default_factory=dict)


def scalar(value: Value, like: str = "", in_line: bool = False) -> str:
    """Returns a value on one line of YAML.

    Args:
        value: Plain value, list, mapping, or an interpolation.
        like: The old value; its quotes are kept.
        in_line: Whether it stands between brackets, where commas and braces part values.

    Example:
        >>> scalar("16-mixed", '"16"'), scalar(None), scalar([0, 1]), scalar({"a": True})
        ('"16-mixed"', 'null', '[0, 1]', '{a: true}')
    """
    if isinstance(value, Expression | Item):
        return value.text if isinstance(value, Expression) else value.in_line
    if isinstance(value, list | tuple):
        return "[" + ", ".join(scalar(one, in_line=True) for one in value) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{scalar(k)}: {scalar(v, in_line=True)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, str) and like[:1] in ("'", '"') and like[:1] not in value:
        return like[0] + value + like[0]
    dumped = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    text = str(dumped.strip().removesuffix("...").strip())
    if in_line and isinstance(value, str) and text == value and set(text) & set(",[]{}"):
        return "'" + value.replace("'", "''") + "'"
    return text


def item_of(call: Call, style: str) -> Item:
    """Returns an object as an item of a list.

    Args:
        call: The object.
        style: `_target_` for Hydra, `class_path` for LightningCLI.
    """
    options = [f"{name}: {scalar(value, in_line=True)}" for name, value in call.arguments.items()]
    block, line = options, options
    if style == "class_path" and options:
        block = ["init_args:", *("  " + one for one in options)]
        line = ["init_args: {" + ", ".join(options) + "}"]
    name = f"{style}: {call.target}"
    lines = (f"- {name}", *("  " + one for one in block))
    return Item(lines, "{" + ", ".join([name, *line]) + "}")


def edits_of(document: Document, mapping: Any, change: MappingChange) -> list[Edit]:
    """Returns the changes of the text that change a mapping.

    Args:
        document: The document.
        mapping: Node of the mapping.
        change: What becomes of its entries.
    """
    all_entries = [Entry(key, value, place) for place, (key, value) in enumerate(mapping.value)]
    gone = {place for place, pairs in change.replaced.items() if not pairs}
    if len(gone) == len(all_entries):
        first, *others = all_entries
        added = [one for pairs in change.behind.values() for one in pairs]
        written = _whole(document, first, added, mapping.flow_style)
        last = all_entries[-1] if mapping.flow_style else first
        edit = (first.key.start_mark.index, document.span(last)[1], written)
        places = set() if mapping.flow_style else {one.place for one in others}
        return [edit, *_removals(document, all_entries, places)]
    made: list[Edit] = []
    if mapping.flow_style:
        made += _removals_in_line(document, all_entries, gone)
    else:
        made += _removals(document, all_entries, gone)
    for one in all_entries:
        if change.replaced.get(one.place):
            made += _replacement(document, one, change.replaced[one.place], mapping.flow_style)
        if one.place in change.behind:
            made.append(_addition(document, one, change.behind[one.place], mapping.flow_style))
    return made


def _whole(document: Document, first: Entry, added: Pairs, in_line: bool) -> str:
    """A mapping of which no entry is left."""
    if in_line:
        return ", ".join(f"{name}: {scalar(value, in_line=True)}" for name, value in added)
    indent = document.newline + document.indent(first.key)
    return indent.join(line for name, value in added for line in _lines(name, value)) or "{}"


def _removals(document: Document, all_entries: list[Entry], gone: set[int]) -> list[Edit]:
    """Whole lines; of a list's item its first keys, so that the hyphen stays."""
    made: list[Edit] = []
    first = all_entries[0].key.start_mark.index
    head = document.text[document.line_start(first) : first]
    leading = 0
    if head.strip():
        while leading in gone:
            leading += 1
        if leading:
            made.append((first, all_entries[leading].key.start_mark.index, ""))
    for place in sorted(gone):
        if place >= leading:
            start = document.line_start(all_entries[place].key.start_mark.index)
            end = document.line_end(document.span(all_entries[place])[1])
            if end < len(document.text):
                end += len(document.newline)
            else:  # the last line has no break; that of the line before goes
                start = document.line_end(start - 1) if start else 0
            made.append((start, end, ""))
    return made


def _removals_in_line(document: Document, all_entries: list[Entry], gone: set[int]) -> list[Edit]:
    made: list[Edit] = []
    kept = [one.place for one in all_entries if one.place not in gone]
    for place in sorted(gone):
        start, end = all_entries[place].key.start_mark.index, document.span(all_entries[place])[1]
        if place < kept[-1]:
            end = all_entries[place + 1].key.start_mark.index
        else:
            start = document.span(all_entries[place - 1])[1]
        made.append((start, end, ""))
    return made


def _replacement(document: Document, one: Entry, pairs: Pairs, in_line: bool) -> list[Edit]:
    (name, value), *more = pairs
    made: list[Edit] = []
    if name != one.name:
        made.append((one.key.start_mark.index, one.key.end_mark.index, name))
    if value is not Keep:
        start, end = document.span(one)
        raw = document.text[start:end]
        anchor = ANCHOR.match(raw)
        like = raw[anchor.end() :] if anchor else raw
        new = (anchor.group() if anchor else "") + scalar(value, like, in_line)
        colon = document.text.index(":", one.key.end_mark.index) + 1
        if "\n" in document.text[colon:start] or start == colon:
            start, new = colon, " " + new
        made.append((start, end, new))
    if more:
        made.append(_addition(document, one, more, in_line))
    return made


def _addition(document: Document, one: Entry, pairs: Pairs, in_line: bool) -> Edit:
    """Entries behind another one."""
    end = document.span(one)[1]
    if in_line:
        return (
            end,
            end,
            "".join(f", {name}: {scalar(value, in_line=True)}" for name, value in pairs),
        )
    at = document.line_end(end)
    indent = document.indent(one.key)
    lines = [line for name, value in pairs for line in _lines(name, value)]
    return at, at, "".join(document.newline + indent + line for line in lines)


def _lines(name: str, value: Value) -> list[str]:
    if isinstance(value, list) and value and all(isinstance(one, Item) for one in value):
        return [f"{name}:", *("  " + line for one in value for line in one.lines)]
    return [f"{name}: {scalar(value)}"]
