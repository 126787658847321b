"""A YAML text, and edits that leave every other character as it is."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from polymodal.config.provenance import LOADER

TextEdit = tuple[int, int, str]  # start, end, new text
KEEP = object()  # the unchanged value of an entry
ANCHOR = re.compile(r"&\S+[ \t]+")
ALIAS = re.compile(r"[ \t]*(\*[^\s,\]}]+)")
WIDTH = 70  # maximum length of a value in a report


@dataclass(frozen=True)
class YamlEntry:
    """Key and value nodes of a mapping, and the index of the entry."""

    key: Any
    value: Any
    index: int

    @property
    def name(self) -> str:
        """The key as text."""
        return str(self.key.value)


@dataclass
class Document:
    """A YAML text, read with positions."""

    text: str
    roots: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        reader = YAML(typ="rt", pure=True)
        self.roots = [root for root in reader.compose_all(self.text) if root is not None]
        self.newline = "\r\n" if "\r\n" in self.text else "\n"
        self._starts = [0, *(match.end() for match in re.finditer("\n", self.text))]

    def nodes(self) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Yield all nodes, each once, with the keys that lead to it."""
        seen: set[int] = set()

        def visit(node: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
            if id(node) in seen:
                return
            seen.add(id(node))
            yield keys, node
            for item in entries(node):
                yield from visit(item.value, (*keys, item.name))
            for index, item in enumerate(node.value if isinstance(node, SequenceNode) else ()):
                yield from visit(item, (*keys, str(index)))

        for root in self.roots:
            yield from visit(root, ())

    def line(self, index: int) -> int:
        """Return the line of a position, from 1."""
        return bisect_right(self._starts, index)

    def line_of(self, node: Any) -> int:
        """Return the line of a node, from 1."""
        return self.line(node.start_mark.index)

    def raw(self, entry: YamlEntry) -> str:
        """Return the text of a value."""
        start, end = self.span(entry)
        return self.text[start:end]

    def span(self, entry: YamlEntry) -> tuple[int, int]:
        """Return where a value starts and ends; both are behind the colon if it is empty."""
        behind = self.text.index(":", entry.key.end_mark.index) + 1
        if entry.value.start_mark.index < entry.key.start_mark.index:  # an alias of an earlier node
            alias = ALIAS.match(self.text, behind)
            return (alias.start(1), alias.end(1)) if alias else (behind, behind)
        if (
            isinstance(entry.value, ScalarNode)
            and entry.value.value == ""
            and not entry.value.style
        ):
            return behind, behind
        return entry.value.start_mark.index, self.end(entry.value)

    def end(self, node: Any) -> int:
        """Return where a node ends, without trailing blanks and comments."""
        if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
            last = node.value[-1]
            if isinstance(node, SequenceNode):
                return self.end(last)
            key, value = last
            return self.span(YamlEntry(key, value, len(node.value) - 1))[1]
        start, end = int(node.start_mark.index), int(node.end_mark.index)
        return start + len(self.text[start:end].rstrip())

    def line_start(self, index: int) -> int:
        """Return the start of the line of a position."""
        return self.text.rfind("\n", 0, index) + 1

    def line_end(self, index: int) -> int:
        """Return the end of the line of a position, before its line break."""
        end = self.text.find("\n", index)
        end = len(self.text) if end < 0 else end
        return end - 1 if end and self.text[end - 1] == "\r" else end

    def indent(self, node: Any) -> str:
        """Return the blanks that align with a node."""
        start = int(node.start_mark.index)
        return " " * (start - self.line_start(start))

    def insertion(self, position: int, indent: str, lines: Iterable[str]) -> TextEdit:
        """Return an edit that adds indented lines behind the end of a line."""
        return position, position, "".join(self.newline + indent + line for line in lines)


def entries(node: Any) -> Iterator[YamlEntry]:
    """Yield the entries of a mapping, without merge keys; nothing for other nodes."""
    if isinstance(node, MappingNode):
        for index, (key, value) in enumerate(node.value):
            if isinstance(key, ScalarNode) and key.value != "<<":
                yield YamlEntry(key, value, index)


def entry(node: Any, name: str) -> YamlEntry | None:
    """Return the last entry of a key, as readers do."""
    return next((item for item in reversed(list(entries(node))) if item.name == name), None)


def to_plain(node: Any) -> Any:
    """Return a node as plain values, as Hydra reads them; interpolations stay texts."""
    if isinstance(node, MappingNode):
        return {to_plain(item.key): to_plain(item.value) for item in entries(node)}
    if isinstance(node, SequenceNode):
        return [to_plain(item) for item in node.value]
    if node.style in ("'", '"', "|", ">"):
        return node.value
    try:
        return yaml.load(node.value, Loader=LOADER)
    except (yaml.YAMLError, ValueError):
        return node.value


def shorten(text: str) -> str:
    """Return a text on one line, cut off at `WIDTH`."""
    short = " ".join(text.split())
    return short if len(short) <= WIDTH else short[: WIDTH - 1] + "…"


def apply_edits(text: str, edits: Iterable[TextEdit]) -> tuple[str, list[int]]:
    """Apply edits that do not overlap.

    Returns the new text, and for each of its lines the line of the old text, both from 1.
    """
    pieces, lines, at, old_line = [], [1], 0, 1
    for start, end, new in sorted(edits, key=lambda edit: (edit[0], edit[1])):
        assert at <= start, "changes overlap"
        unchanged = text[at:start]
        lines += range(old_line + 1, old_line + unchanged.count("\n") + 1)
        old_line += unchanged.count("\n")
        lines += [_line_of(line, text, old_line) for line in new.split("\n")[1:]]
        pieces += [unchanged, new]
        old_line += text.count("\n", start, end)
        at = end
    lines += range(old_line + 1, old_line + text.count("\n", at) + 1)
    return "".join([*pieces, text[at:]]), lines


def _line_of(new: str, text: str, near: int) -> int:
    """Return the line of a text that a new line was moved from; the nearest one if it is new."""
    content = new.strip().removeprefix("- ")
    same = [n for n, line in enumerate(text.split("\n"), 1) if content and line.strip() == content]
    return min(same, key=lambda number: abs(number - near), default=near)
